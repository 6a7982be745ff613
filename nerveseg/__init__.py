"""nerveseg: train, judge and apply the segmentation of peripheral nerves in MR neurography."""

__version__ = "0.1.0"
