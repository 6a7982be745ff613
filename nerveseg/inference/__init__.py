"""A trained model as files, and its application to volumes."""
