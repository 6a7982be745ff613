"""Biomarkers along the nerve (area, signal, lesion) from a mask and an affine."""
