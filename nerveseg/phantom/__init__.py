"""The synthetic study: anatomy, signal, raters."""
