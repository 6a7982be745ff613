"""Training samples without a study: thighs of many shapes, in images of any contrast, made as they are needed."""
