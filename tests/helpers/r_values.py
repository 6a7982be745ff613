"""What R computed (`reference/`), and how its JSON is read."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

R = json.loads((Path(__file__).parent / "reference" / "statistics_r.json").read_text(encoding="utf-8"))
SCORES = st.floats(0, 1).map(lambda value: round(value, 2))


def named(cases):
    return [pytest.param(case, id=case["name"]) for case in cases]


def numbers(values):
    """R's infinities and missing values are text in JSON."""
    return np.array([float(str(value).replace("NA", "nan")) for value in values])


def random_sample(n, seed=0):
    return np.random.default_rng(seed).normal(-0.02, 0.05, n)
