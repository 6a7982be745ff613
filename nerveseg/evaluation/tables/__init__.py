"""Tables that are written and printed: Table 1, its LaTeX, agreement, and the summaries that follow Table 1."""
