"""Synthetic study: anatomy, signal, raters."""
