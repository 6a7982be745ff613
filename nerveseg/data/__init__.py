"""Studies on disk, and the steps from their volumes to batches of slices."""
