"""Pictures and pages of segmentations and studies."""
