"""How well masks agree: metrics, comparisons, tables."""
