"""Segmentation of new scans: from the scanner's file to the mask, numbers along the nerve and a picture to check."""
