"""Training one fold with Lightning."""
