"""`agreement.csv`: agreement of volume and mean cross-sectional area, among raters, and between them and the method.

Per cohort and quantity: Bland-Altman of every rater pair, and of the method against the raters' mean (the method is not
counted as a rater), in percent of the pair's mean; ICC(2,1) among the raters; and, where scans were repeated, the
standard error of measurement and the smallest detectable change of every rater and of the method.

The independent unit is the group (a person): the first scan of each counts, or its first repeated pair. Where several
cohorts have repeated pairs and one has fewer than three, repeatability pools the cohorts (row with cohort "all").
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import TypeAlias

import numpy as np
import pandas as pd

from nerveseg.evaluation.comparisons import AUTOMATIC, cohorts_in_order, scans_note
from nerveseg.evaluation.statistics.agreement import bland_altman, icc_2_1, repeatability, smallest_detectable_change
from nerveseg.evaluation.statistics.samples import join_notes

AGREEMENT_COLUMNS = (
    "cohort", "quantity", "analysis", "comparison", "n", "estimate", "ci_low", "ci_high", "lower_limit",
    "lower_limit_ci_low", "lower_limit_ci_high", "upper_limit", "upper_limit_ci_low", "upper_limit_ci_high",
    "smallest_detectable_change", "note",
)  # fmt: skip
RATERS_MEAN = "raters' mean"
POOLED, POOLED_BELOW = "all", 3  # cohort of pooled repeated pairs; number of pairs below which a cohort is pooled

Pair: TypeAlias = tuple[str, str]  # subject ids of the first and the repeated scan of one leg

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
    sources = [*raters, *([AUTOMATIC] if (quantities["source"] == AUTOMATIC).any() else [])]
    first, repeated = first_scans(quantities, repeats or {}), _repeated_pairs(quantities, repeats or {})
    for cohort in dict.fromkeys([*cohorts_in_order(quantities), *repeated]):
        for quantity, values in quantities.groupby("quantity", sort=False):
            wide = values.pivot(index="subject", columns="source", values="value").reindex(columns=sources)
            own = first.loc[first["cohort"] == cohort, "subject"].unique()
            scans = values.loc[values["cohort"] == cohort, "subject"].nunique()
            note = scans_note(scans, len(own), "of whom the first scan counts")
            between = _between(wide.reindex(own), raters, note) if len(own) else ()
            for row in [*between, *_repeated(wide, *repeated.get(cohort, ([], "")))]:
                rows.append({"cohort": cohort, "quantity": quantity} | row)
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def first_scans(quantities: pd.DataFrame, repeats: Mapping[str, Pair]) -> pd.DataFrame:
    """Return the rows of the first scan of every group in each cohort; a scan that repeats another comes last."""
    subjects = quantities.drop_duplicates("subject")
    ordered = subjects.assign(repeat=subjects["subject"].isin(list(repeats))).sort_values("repeat", kind="stable")
    return quantities[quantities["subject"].isin(ordered.drop_duplicates(["cohort", "group"])["subject"])]


def _repeated_pairs(quantities: pd.DataFrame, repeats: Mapping[str, Pair]) -> dict[str, tuple[list[Pair], str]]:
    """Return the first repeated pair of every group, and a note, by cohort; pooled where a cohort has too few."""
    subjects = quantities.drop_duplicates("subject").set_index("subject")
    known = [pair for pair in repeats.values() if set(pair) <= set(subjects.index)]
    cohorts: dict[str, list[Pair]] = {}
    for pair in known:
        cohorts.setdefault(str(subjects.loc[pair[0], "cohort"]), []).append(pair)
    found = {cohort: _first_pairs(pairs, subjects["group"]) for cohort, pairs in cohorts.items()}
    counts = {cohort: len(pairs) for cohort, (pairs, _) in found.items()}
    if len(found) < 2 or min(counts.values()) >= POOLED_BELOW:
        return found
    pairs, note = _first_pairs(known, subjects["group"])
    pooled = "cohorts pooled: " + ", ".join(f"{cohort} {count}" for cohort, count in counts.items())
    name = f"{POOLED} cohorts" if POOLED in set(subjects["cohort"]) else POOLED
    enough = {cohort: found[cohort] for cohort, count in counts.items() if count >= POOLED_BELOW}
    return enough | {name: (pairs, join_notes(pooled, note))}


def _first_pairs(pairs: Sequence[Pair], groups: pd.Series) -> tuple[list[Pair], str]:
    """Return the first pair of every group, and a note on the others."""
    kept: dict[str, Pair] = {}
    for pair in pairs:
        kept.setdefault(groups[pair[0]], pair)
    counted = f"{len(pairs)} repeated pairs of {len(kept)} independent units, of whom the first pair counts"
    return list(kept.values()), counted if len(pairs) > len(kept) else ""


def _between(wide: pd.DataFrame, raters: Sequence[str], scans: str) -> Iterator[dict[str, object]]:
    """Compare raters with each other, and the method with the mean of the raters who drew the subject."""
    for first, second in combinations(raters, 2):
        yield _bland_altman(f"{second} - {first}", wide[first], wide[second], scans)
    if len(raters) > 1:
        yield _icc(wide[list(raters)], scans)
    if AUTOMATIC in wide:
        name = RATERS_MEAN if len(raters) > 1 else raters[0]
        yield _bland_altman(f"{AUTOMATIC} - {name}", wide[list(raters)].mean(axis=1), wide[AUTOMATIC], scans)


def _icc(raters: pd.DataFrame, scans: str) -> dict[str, object]:
    known = raters.dropna()
    complete = known[(known != 0).any(axis=1)]  # an absent nerve would widen the range of the subjects
    icc = icc_2_1(complete.to_numpy(dtype=np.float64))
    empty = _left_out(len(known) - len(complete), "with empty masks only")
    note = join_notes(icc.note, _left_out(len(raters) - len(known), "without a mask of each rater"), empty, scans)
    return {"analysis": "icc", "comparison": ", ".join(raters.columns)} | asdict(icc) | {"note": note}


def _bland_altman(comparison: str, reference: pd.Series, other: pd.Series, scans: str) -> dict[str, object]:
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
            scans,
        ),
    }


def _repeated(wide: pd.DataFrame, pairs: Sequence[Pair], why: str) -> Iterator[dict[str, object]]:
    """Measure the repeatability of every rater and of the method on the legs that were scanned twice."""
    for source in wide.columns if pairs else ():
        values = np.array([wide[source].reindex(list(pair)) for pair in pairs], dtype=np.float64)
        known = values[~np.isnan(values).any(axis=1)]
        result = repeatability(*known.T)
        row = {"analysis": "repeatability", "comparison": source} | asdict(result)
        note = join_notes(result.note, _left_out(len(values) - len(known), "without both masks"), why)
        yield row | {"smallest_detectable_change": smallest_detectable_change(result.estimate), "note": note}


def _left_out(subjects: int, why: str) -> str:
    return f"{subjects} subject{'s' if subjects > 1 else ''} {why} left out" if subjects else ""
