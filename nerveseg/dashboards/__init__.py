"""Where a run is watched: loggers, what they may upload, and what is logged at the end of a run."""
