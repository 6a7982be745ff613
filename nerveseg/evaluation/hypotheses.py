"""`tests.csv`: the hypothesis tests of a study (explained in `LEGEND`), one row per cohort, metric and test.

The paper's test (section 2.5) treats dependent pairs as independent and compares a consensus with single raters, which
favours the method; it is included for comparison with the paper. The leave-one-out contrast takes four raters or more.
Distances, whose means are dominated by a few misses, are compared by the share of subjects above a limit.

The independent unit is the group (a person): a test has one value per group, the mean over its scans, so a scan that is
repeated, or the other leg, adds no evidence.

Margins of non-inferiority are options, set before the test. P-values are adjusted after Holm within each
kind of test, over all cohorts and metrics of a class: each class is a question of its own, and its tests are those of a
study that has no other class. Every test with a margin has one verdict, from its interval: better than a
rater (above 0), no worse (above minus the margin), worse (below 0), inconclusive; or not decidable, where even a
perfect result of so few subjects would not exclude the margin.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from math import isnan, nan
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from nerveseg.evaluation.comparisons import (
    AUTOMATIC,
    AUTOMATIC_CONSENSUS,
    RATER_RATER,
    cohorts_in_order,
    rater_pairs,
    scans_note,
)
from nerveseg.evaluation.margins import Margins
from nerveseg.evaluation.metric_catalog import TABLE_METRICS
from nerveseg.evaluation.rater_agreement import RATER_CONSENSUS, left_out_agreement, like_for_like, with_failures
from nerveseg.evaluation.statistics.contrasts import (
    INTERVAL_FROM,
    contrast,
    holm,
    share_above,
    subjects_for_share,
    williams_index,
)
from nerveseg.evaluation.statistics.rank_tests import mann_whitney
from nerveseg.evaluation.statistics.samples import DECIMALS, Estimate, Sample, join_notes

TEST_COLUMNS = (
    "cohort", "metric", "test", "estimate", "ci_low", "ci_high", "p_value", "p_holm", "effect_size", "n", "n_pairs",
    "margin", "verdict", "n_needed", "p_non_inferiority", "p_non_inferiority_holm", "non_inferior", "method", "note",
)  # fmt: skip
Verdict: TypeAlias = Literal["better", "no worse", "inconclusive", "worse", "not decidable"]
OVERLAP_METRICS = ("dice", "vs")
FAR_METRIC = "hd95_mm"
CONTRAST = "contrast"
LEAVE_ONE_OUT = "contrast, leave-one-out"
SHARE_ABOVE = "share above"
AVERAGED = "averaged"

LEGEND = {
    "paper": "Auto-GT against R-R as in the paper. The estimate is the rank-biserial correlation: +1 if every Auto-GT"
    " value is larger than every R-R value, 0 if neither tends to be. It takes dependent pairs for independent and"
    " favours the method.",
    CONTRAST: "the method's mean agreement with the raters minus their mean agreement with each other: pseudomedian"
    " over subjects; above 0 the method is closer to the raters than they are to each other.",
    LEAVE_ONE_OUT: "the same against the consensus of all raters but one, for the method and the rater left out alike.",
    "williams": "Williams index, the method's mean agreement with the raters divided by theirs with each other; 1 is as"
    " close as a rater.",
    SHARE_ABOVE: "share of subjects whose mean surface HD95 to the raters is above the limit, minus the same share"
    " among the raters.",
}
"""Meaning of the estimate of each kind of test, for the readers of the table."""


CHANGED = "margins changed after the results were known"


def margins_changed(margins: Margins, stored: Margins | None) -> str:
    """Return a statement on margins that differ from those stored before the results were known, or an empty text."""
    if stored is None or stored == margins:
        return ""
    now = margins.model_dump()
    before = ", ".join(f"{name} {value:g}" for name, value in stored.model_dump().items() if value != now[name])
    return f"{CHANGED} (were {before})"


def hypothesis_tests(
    scores: pd.DataFrame, raters: Sequence[str], margins: Margins, changed: str = "", ties: str = ""
) -> pd.DataFrame:
    """Compute all tests that rows of `scores.csv` allow: none without an automatic mask or with one rater.

    The statement that margins were `changed` goes into the notes of the tests that have one, that on `ties` into the
    notes of the tests that use the consensus.

    Returns:
        Columns `TEST_COLUMNS`; n counts groups, n_pairs the rater pairs of the paper's test.
    """
    groups = scores.groupby("subject")["group"].first()
    agreement = like_for_like(scores, raters)
    rows: list[dict[str, object]] = []
    if AUTOMATIC in agreement and len(raters) > 1:
        complete, left_out = with_failures(scores), left_out_agreement(scores, raters)
        for cohort in cohorts_in_order(scores):
            rows += _paper_tests(complete[complete["cohort"] == cohort], cohort, raters)
            rows += _fair_tests(agreement, left_out, groups, cohort, margins)
    table = pd.DataFrame(rows, columns=list(TEST_COLUMNS))
    for statement, concerned in ((changed, table["margin"].notna()), (ties, table["test"] == "paper")):
        table.loc[concerned, "note"] = [join_notes(statement, note) for note in table.loc[concerned, "note"]]
    table = table.astype({"n": "Int64", "n_pairs": "Int64", "n_needed": "Int64"})
    for test in table["test"].unique():
        of_kind = table["test"] == test
        for raw, adjusted in (("p_value", "p_holm"), ("p_non_inferiority", "p_non_inferiority_holm")):
            table.loc[of_kind, adjusted] = holm(table.loc[of_kind, raw].to_numpy(dtype=np.float64))
    return table


def verdict_in_words(row: Mapping[Hashable, Any]) -> str:
    """Return the verdict of a row of `tests.csv` as every output says it; empty for a test without a margin."""
    if pd.isna(row["margin"]):
        return ""
    if row["verdict"] == "not decidable":
        return f"not decidable at this n (needs {row['n_needed']})"
    return str(row["verdict"]) + ("" if row["verdict"] == "inconclusive" else " than a rater")


def _paper_tests(scores: pd.DataFrame, cohort: str, raters: Sequence[str]) -> Iterator[dict[str, object]]:
    for metric in TABLE_METRICS:
        values = scores[scores["metric"] == metric]
        compared = values[values["comparison"].isin([AUTOMATIC_CONSENSUS, *rater_pairs(raters)])]
        defined = compared.dropna(subset="value")
        units = defined.groupby(["comparison", "group"])["value"].mean()
        ours = units.index.get_level_values("comparison") == AUTOMATIC_CONSENSUS
        result = mann_whitney(units[ours].to_numpy(np.float64), units[~ours].to_numpy(np.float64))
        undefined = len(compared) - len(defined)
        note = join_notes(
            f"{undefined} pairs of two empty masks left out" if undefined else "",
            scans_note(int((defined["comparison"] == AUTOMATIC_CONSENSUS).sum()), result.n, AVERAGED),
        )
        yield _row(cohort, metric, "paper", replace(result, estimate=result.effect_size), note)


def _fair_tests(
    agreement: pd.DataFrame, left_out: pd.DataFrame, groups: pd.Series, cohort: str, margins: Margins
) -> Iterator[dict[str, object]]:
    """Test the groups of one cohort: `like_for_like`, then `left_out_agreement` where a subject has it."""

    def contrasted(metric: str, test: str, automatic: Sample, raters: Sample, note: str) -> dict[str, object]:
        margin: float = getattr(margins, metric)
        return _row(cohort, metric, test, contrast(automatic - raters, margin), note, margin)

    for metric in OVERLAP_METRICS:
        automatic, raters, note = _units(agreement, groups, cohort, metric, RATER_RATER)
        yield contrasted(metric, CONTRAST, automatic, raters, note)
        index = replace(williams_index(automatic, raters), method="ratio of means, BCa")
        yield _row(cohort, metric, "williams", index, note)
    automatic, raters, note = _units(agreement, groups, cohort, FAR_METRIC, RATER_RATER)
    method = f"above {margins.far_mm:g} mm; Tango's score interval, McNemar's test"
    share = replace(share_above(automatic, raters, margins.far_share, margins.far_mm), method=method)
    yield _row(cohort, FAR_METRIC, SHARE_ABOVE, share, note, margins.far_share)
    for metric in OVERLAP_METRICS:
        automatic, raters, note = _units(left_out, groups, cohort, metric, RATER_CONSENSUS)
        if automatic.size:
            yield contrasted(metric, LEAVE_ONE_OUT, automatic, raters, note)


def _row(cohort: str, metric: str, test: str, result: Estimate, note: str, margin: float = nan) -> dict[str, object]:
    row = {"cohort": cohort, "metric": metric, "test": test, "margin": margin, "verdict": None, "n_needed": None}
    if not isnan(margin):
        needed = subjects_for_share(margin) if test == SHARE_ABOVE else INTERVAL_FROM
        advantage = (-result.ci_high, -result.ci_low) if test == SHARE_ABOVE else (result.ci_low, result.ci_high)
        row |= {"verdict": _verdict(result, *advantage, needed), "n_needed": needed}
    return row | asdict(result) | {"note": join_notes(result.note, note)}


def _verdict(result: Estimate, low: float, high: float, needed: int) -> Verdict:
    """Return the verdict on an advantage of the method whose interval is given."""
    low, high = round(low, DECIMALS), round(high, DECIMALS)
    if result.non_inferior:
        return "better" if low > 0 else "no worse"
    if high < 0:
        return "worse"
    return "not decidable" if result.n < needed else "inconclusive"


def _units(
    agreement: pd.DataFrame, groups: pd.Series, cohort: str, metric: str, raters: str
) -> tuple[Sample, Sample, str]:
    """Return the agreement of the method and of the raters in every group that has both; a note on the others."""
    levels = agreement.index
    rows = agreement[(levels.get_level_values("cohort") == cohort) & (levels.get_level_values("metric") == metric)]
    complete = rows.dropna(subset=[AUTOMATIC, raters])
    unit = groups.reindex(complete.index.get_level_values("subject")).to_numpy()
    units = complete[[AUTOMATIC, raters]].astype(float).groupby(unit).mean()
    automatic, manual = units.to_numpy(dtype=np.float64).T
    missing = len(rows) - len(complete)
    left_out = f"{missing} subjects with too few masks left out" if missing else ""
    return automatic, manual, join_notes(left_out, scans_note(len(complete), len(units), AVERAGED))
