"""Agreement of two masks: pure functions on arrays, and all metrics at once (`score_pair`)."""
