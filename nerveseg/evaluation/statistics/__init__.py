"""Tests, intervals and agreement of one-dimensional samples, as `Estimate` records."""
