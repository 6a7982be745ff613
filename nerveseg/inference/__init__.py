"""Trained models as files, and their application to volumes."""
