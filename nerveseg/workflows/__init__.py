"""Workflows of the commands: their steps in order, on a typed configuration, without Hydra."""
