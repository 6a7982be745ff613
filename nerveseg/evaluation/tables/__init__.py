"""What is written and printed: Table 1, its LaTeX, agreement, times, and the summaries that follow Table 1."""
