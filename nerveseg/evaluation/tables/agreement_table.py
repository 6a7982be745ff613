"""`agreement.csv`: agreement of volume and mean cross-sectional area, among raters, and between them and the method.

Per cohort and quantity: Bland-Altman of every rater pair, and of the method against the raters' mean (the method is not
counted as a rater), in percent of the pair's mean; ICC(2,1) among the raters; and, where scans were repeated, the
standard error of measurement and the smallest detectable change of every rater and of the method.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pandas as pd

from nerveseg.evaluation.comparisons import AUTOMATIC, cohorts_in_order
from nerveseg.evaluation.statistics.agreement import bland_altman, icc_2_1, repeatability, smallest_detectable_change
from nerveseg.evaluation.statistics.samples import join_notes

AGREEMENT_COLUMNS = (
    "cohort", "quantity", "analysis", "comparison", "n", "estimate", "ci_low", "ci_high", "lower_limit",
    "lower_limit_ci_low", "lower_limit_ci_high", "upper_limit", "upper_limit_ci_low", "upper_limit_ci_high",
    "smallest_detectable_change", "note",
)  # fmt: skip
RATERS_MEAN = "raters' mean"
_INTERVALS = (
    "ci_low", "ci_high", "lower_limit_ci_low", "lower_limit_ci_high", "upper_limit_ci_low", "upper_limit_ci_high",
)  # fmt: skip


def agreement_table(
    quantities: pd.DataFrame, raters: Sequence[str], repeats: Mapping[str, tuple[str, str]] | None = None
) -> pd.DataFrame:
    """Compute the agreement of the quantities that clinicians use, from rows of `quantities.csv` of all subjects.

    `repeats` are pairs of subject ids that are one leg scanned twice, by the later scan.

    Returns:
        Columns `AGREEMENT_COLUMNS`. For "bland_altman" the estimate is the bias, in percent; for "icc" the ICC(2,1);
        for "repeatability" the standard error of measurement, in the quantity's unit.
    """
    rows: list[dict[str, object]] = []
    automatic = [AUTOMATIC] if (quantities["source"] == AUTOMATIC).any() else []
    for cohort in cohorts_in_order(quantities):
        for quantity, group in quantities[quantities["cohort"] == cohort].groupby("quantity", sort=False):
            wide = group.pivot(index="subject", columns="source", values="value").reindex(columns=[*raters, *automatic])
            for row in [*_between(wide, raters), *_repeated(wide, (repeats or {}).values())]:
                rows.append({"cohort": cohort, "quantity": quantity} | row)
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def _between(wide: pd.DataFrame, raters: Sequence[str]) -> Iterator[dict[str, object]]:
    """Compare raters with each other, and the method with the mean of the raters who drew the subject."""
    for first, second in combinations(raters, 2):
        yield _bland_altman(f"{second} - {first}", wide[first], wide[second])
    if len(raters) > 1:
        yield _icc(wide[list(raters)])
    if AUTOMATIC in wide:
        name = RATERS_MEAN if len(raters) > 1 else raters[0]
        yield _bland_altman(f"{AUTOMATIC} - {name}", wide[list(raters)].mean(axis=1), wide[AUTOMATIC])


def _icc(raters: pd.DataFrame) -> dict[str, object]:
    complete = raters.dropna()
    icc = icc_2_1(complete.to_numpy(dtype=np.float64))
    note = join_notes(icc.note, _left_out(len(raters) - len(complete), "without a mask of each rater"))
    return {"analysis": "icc", "comparison": ", ".join(raters.columns)} | asdict(icc) | {"note": note}


def _bland_altman(comparison: str, reference: pd.Series, other: pd.Series) -> dict[str, object]:
    known = pd.concat([reference, other], axis=1).dropna()
    pairs = known[(known != 0).any(axis=1)]
    result = bland_altman(*pairs.to_numpy(dtype=np.float64).T)
    return {
        "analysis": "bland_altman",
        "comparison": comparison,
        "n": result.n,
        "estimate": result.bias,
        "lower_limit": result.lower,
        "upper_limit": result.upper,
        **dict(zip(_INTERVALS, (*result.bias_ci, *result.lower_ci, *result.upper_ci), strict=True)),
        "note": join_notes(
            result.note,
            _left_out(len(reference) - len(known), "without one of the masks"),
            _left_out(len(known) - len(pairs), "with two empty masks"),
        ),
    }


def _repeated(wide: pd.DataFrame, repeats: Iterable[tuple[str, str]]) -> Iterator[dict[str, object]]:
    """Measure the repeatability of every rater and of the method on the legs that were scanned twice."""
    pairs = [pair for pair in repeats if set(pair) <= set(wide.index)]
    for source in wide.columns if pairs else ():
        values = np.array([wide[source].reindex(pair) for pair in pairs], dtype=np.float64)
        known = values[~np.isnan(values).any(axis=1)]
        result = repeatability(*known.T)
        row = {"analysis": "repeatability", "comparison": source} | asdict(result)
        note = join_notes(result.note, _left_out(len(values) - len(known), "without both masks"))
        yield row | {"smallest_detectable_change": smallest_detectable_change(result.estimate), "note": note}


def _left_out(subjects: int, why: str) -> str:
    return f"{subjects} subject{'s' if subjects > 1 else ''} {why} left out" if subjects else ""
