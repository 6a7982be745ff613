"""What has to be said with every result: that it is no medical device, and where the model has seen no real nerve."""

from __future__ import annotations

SYNTHETIC = "SYNTHETIC TRAINING DATA"
"""Stands in the descriptions of what a model trained on the phantom makes."""

NOTICE = "Not a medical device. For research only; a person who can read the images has to check every mask."


def header_notice(synthetic: bool) -> str:
    """As short as the free text of an image header has to be."""
    return f"{f'{SYNTHETIC}, ' if synthetic else ''}nerveseg, not a medical device"
