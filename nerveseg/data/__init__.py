"""Studies on disk, and the way from their volumes to batches of slices."""
