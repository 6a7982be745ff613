"""`agreement.csv`: do volume and mean cross-sectional area agree, between raters, and between them and the method?

Per cohort and quantity: Bland-Altman of every rater pair, and of the method against the raters' mean (the method is not
counted as a rater), in percent of the pair's mean; ICC(2,1) among the raters; and, where scans were repeated, the
standard error of measurement and the smallest detectable change of every rater and of the method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from nerveseg.evaluation.agreement import bland_altman, icc_2_1, repeatability
from nerveseg.evaluation.comparisons import AUTOMATIC

AGREEMENT_COLUMNS = (
    "cohort", "quantity", "analysis", "comparison", "n", "estimate", "ci_low", "ci_high", "lower_limit",
    "lower_limit_ci_low", "lower_limit_ci_high", "upper_limit", "upper_limit_ci_low", "upper_limit_ci_high",
    "smallest_detectable_change", "note",
)  # fmt: skip
RATERS_MEAN = "raters' mean"


def agreement_table(
    quantities: pd.DataFrame, raters: Sequence[str], repeats: Mapping[str, tuple[str, str]] | None = None
) -> pd.DataFrame:
    """Agreement of what clinicians use.

    Args:
        quantities: Rows as `quantities.measure` makes them, of all subjects.
        raters: In the study's order.
        repeats: Pairs of subject ids that are one leg scanned twice, by group.

    Returns:
        Columns `AGREEMENT_COLUMNS`. For "bland_altman" the estimate is the bias, in percent; for "icc" the ICC(2,1);
        for "repeatability" the standard error of measurement, in the quantity's unit.
    """
    rows: list[dict[str, object]] = []
    for (cohort, quantity), group in quantities.groupby(["cohort", "quantity"], sort=False):
        wide = group.pivot(index="subject", columns="source", values="value")
        for row in [*_between(wide, raters), *_repeated(wide, raters, repeats or {})]:
            rows.append({"cohort": cohort, "quantity": quantity} | row)
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def _between(wide: pd.DataFrame, raters: Sequence[str]) -> Iterator[dict[str, object]]:
    for first, second in combinations(raters, 2):
        yield _bland_altman(f"{second} - {first}", wide[first], wide[second])
    if len(raters) > 1:
        complete = wide[list(raters)].dropna()
        icc = icc_2_1(complete.to_numpy(dtype=np.float64))
        yield {
            "analysis": "icc",
            "comparison": ", ".join(raters),
            "n": icc.n,
            "estimate": icc.value,
            "ci_low": icc.ci_low,
            "ci_high": icc.ci_high,
            "note": icc.note,
        }
    if AUTOMATIC in wide:
        reference = wide[list(raters)].mean(axis=1)
        name = RATERS_MEAN if len(raters) > 1 else raters[0]
        yield _bland_altman(f"{AUTOMATIC} - {name}", reference, wide[AUTOMATIC])


def _bland_altman(comparison: str, reference: pd.Series, other: pd.Series) -> dict[str, object]:
    pairs = pd.concat([reference, other], axis=1).dropna()
    missing = len(reference) - len(pairs)
    result = bland_altman(*pairs.to_numpy(dtype=np.float64).T)
    left_out = f"{missing} subjects without a value left out" if missing else ""
    return {
        "analysis": "bland_altman",
        "comparison": comparison,
        "n": result.n,
        "estimate": result.bias,
        "ci_low": result.bias_ci[0],
        "ci_high": result.bias_ci[1],
        "lower_limit": result.lower,
        "lower_limit_ci_low": result.lower_ci[0],
        "lower_limit_ci_high": result.lower_ci[1],
        "upper_limit": result.upper,
        "upper_limit_ci_low": result.upper_ci[0],
        "upper_limit_ci_high": result.upper_ci[1],
        "note": "; ".join(note for note in (result.note, left_out) if note),
    }


def _repeated(
    wide: pd.DataFrame, raters: Sequence[str], repeats: Mapping[str, tuple[str, str]]
) -> Iterator[dict[str, object]]:
    pairs = [pair for pair in repeats.values() if set(pair) <= set(wide.index)]
    if not pairs:
        return
    for source in [*raters, *([AUTOMATIC] if AUTOMATIC in wide else [])]:
        first, second = (wide[source].reindex([pair[scan] for pair in pairs]) for scan in (0, 1))
        result = repeatability(first.to_numpy(dtype=np.float64), second.to_numpy(dtype=np.float64))
        yield {
            "analysis": "repeatability",
            "comparison": source,
            "n": result.n,
            "estimate": result.sem,
            "smallest_detectable_change": result.sdc,
            "note": result.note,
        }
