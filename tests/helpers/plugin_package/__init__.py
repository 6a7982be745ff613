"""A user's own package, as `plugins=[tests.helpers.plugin_package]` opens it; `conf/` is its `--config-dir`."""

from tests.helpers.plugin_package.nets import NeedsDepth, NormLast, TwoLayers
from tests.helpers.plugin_package.training import Noise, SquaredError, StopOnce

__all__ = ["NeedsDepth", "Noise", "NormLast", "SquaredError", "StopOnce", "TwoLayers"]
