"""Numbers along the nerve: area, signal and lesion, from a mask and an affine; no network and no file but the norms."""
