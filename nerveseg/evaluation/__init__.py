"""Agreement of masks: metrics, comparisons, statistics, tables."""
