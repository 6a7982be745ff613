"""Notices that every result carries: not a medical device; trained on synthetic data."""

SYNTHETIC = "SYNTHETIC TRAINING DATA"
"""Notice in every result of a model that was trained on the phantom."""

SYNTHETIC_STUDY = "SYNTHETIC STUDY"
"""Notice on every page and figure about a simulated study."""

SYNTHETIC_START = "the weights of this model began with those of a model trained on SYNTHETIC DATA"
"""Notice in every result of a model that was trained on scans, after such a beginning (`init`)."""

NOTICE = "Not a medical device. For research only; a person who can read the images has to check every mask."


def header_notice(synthetic: bool) -> str:
    """Return the notice for the free text of an image header, which is 80 characters long in NIfTI."""
    return f"{f'{SYNTHETIC}, ' if synthetic else ''}nerveseg, not a medical device"
