"""A user's own package with networks, as `plugins=[tests.helpers.plugin_package]` opens it."""

from tests.helpers.plugin_package.nets import NeedsDepth, NormLast, TwoLayers

__all__ = ["NeedsDepth", "NormLast", "TwoLayers"]
