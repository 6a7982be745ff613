"""Reading and writing of three-dimensional images and masks with their geometry."""
