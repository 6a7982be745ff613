"""The command line: Hydra, sweeps, errors and exit codes."""
