"""Segmentation networks in plain PyTorch."""
