"""Command line: rewriting of arguments, Hydra, sweeps, errors and exit codes."""
