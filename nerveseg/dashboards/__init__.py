"""Dashboards of a run: loggers, redaction of uploads, and the results that are logged at its end."""
