"""Small studies whose masks or scores are known beforehand."""

import numpy as np
import pandas as pd

from nerveseg.data.consensus import leave_one_out, majority_vote
from nerveseg.evaluation.comparisons import SCORE_COLUMNS, SubjectMasks

SPACING_MM = (0.5, 0.5, 4.0)
METRICS = ("dice", "hd95_paper_mm", "hd95_mm", "vs")


def tidy(values, metric="dice", cohort="patient", location=None):
    """Rows of scores.csv from {comparison: [value of each subject]}; None leaves a row out."""
    rows = [
        (f"{cohort[:3]}{index}", f"{cohort[:3]}{index}", cohort, location, None, "nerve", 0, comparison, metric, value)
        for comparison, column in values.items()
        for index, value in enumerate(column)
        if value is not None
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).astype({"value": float, "location": "string"})


def tube(centre=(10, 10), radius=3.0, shape=(24, 24, 5), slices=slice(None)):
    """A straight nerve along z."""
    x, y = np.indices(shape[:2])
    mask = np.zeros(shape, dtype=bool)
    mask[..., slices] = (np.hypot(x - centre[0], y - centre[1]) <= radius)[..., np.newaxis]
    return mask


def drawn(random, size):
    """A tube that a hand of some unsteadiness drew, of a nerve of some size."""
    return tube(10 + random.normal(0, 0.6, 2), size + random.normal(0, 0.3))


def subject(name, raters, automatic=None, cohort="patient", location=None):
    """The masks of one subject with their majority vote and, from four raters on, the votes without each of them."""
    return SubjectMasks(
        subject=name,
        cohort=cohort,
        location=location,
        side=None,
        fold=None,
        spacing_mm=SPACING_MM,
        raters=raters,
        consensus=majority_vote(list(raters.values())),
        automatic=automatic,
        consensus_without=leave_one_out(raters),
    )


def cohort(names, raters, seed=0, automatic=True, **known):
    """Subjects of one cohort, each drawn by all raters, and by a method that is as good as they are."""
    random = np.random.default_rng(seed)
    sizes = random.uniform(2.5, 4.5, len(names))
    return [
        subject(
            name,
            {rater: drawn(random, size) for rater in raters},
            drawn(random, size) if automatic else None,
            **known,
        )
        for name, size in zip(names, sizes, strict=True)
    ]
