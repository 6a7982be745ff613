"""What each command does, in order, on a typed configuration; nothing here knows Hydra."""
