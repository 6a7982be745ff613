"""One new scan, from the scanner's file to its mask, the numbers along the nerve and a picture to check."""
