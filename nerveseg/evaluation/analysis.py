"""Analysis of a study: all tables, from the scores and quantities of its subjects.

scores.csv         every comparison of every subject
table1.csv .md .tex   Table 1 of the paper
locations.csv      Table 1's R-R and Auto-GT by location, where the study knows locations (paper, section 3)
sides.csv          the same by leg, where scans show both
like_for_like.csv  each rater, and the method, against the (other) raters
tests.csv          hypothesis tests and intervals
slices.csv         Dice of every slice of every comparison
quantities.csv     nerve volume and mean cross-sectional area of every mask
agreement.csv      Bland-Altman, ICC and repeatability of these
times.csv          minutes per subject
expected_dice.csv  expected and measured Dice of every subject, where a sweep was calibrated
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from nerveseg.data.classes import NERVE
from nerveseg.data.participants import BOTH
from nerveseg.evaluation.comparisons import (
    AUTOMATIC,
    CLASS,
    CONSENSUS,
    RATER_RATER,
    SCORE_COLUMNS,
    SLICE_COLUMNS,
    VOLUME,
    classes_of,
    cohorts_in_order,
)
from nerveseg.evaluation.hypotheses import hypothesis_tests, margins_changed
from nerveseg.evaluation.margins import Margins
from nerveseg.evaluation.metric_catalog import TABLE_METRICS
from nerveseg.evaluation.metrics.pair_scores import DEFINED_UNLESS_EMPTY
from nerveseg.evaluation.rater_agreement import agreement_pairs, like_for_like
from nerveseg.evaluation.risk_coverage import EXPECTED_COLUMNS
from nerveseg.evaluation.tables.agreement_table import agreement_table
from nerveseg.evaluation.tables.table1 import SET_OFF, table1

TIME_COLUMNS = ("subject", "cohort", "source", "minutes")
SUMMARY_COLUMNS = ("cohort", "source", "n", "minutes_mean", "minutes_sd")
RATERS = "raters"
NAMED = 10  # largest number of names in a sentence


@dataclass(frozen=True)
class Measurements:
    """Measurements of the subjects of a study."""

    scores: pd.DataFrame  # rows of `scores.csv`
    quantities: pd.DataFrame  # rows of `quantities.csv`
    times: pd.DataFrame  # Table with columns subject, cohort, source, minutes
    raters: Sequence[str]  # names of the raters, in the study's order
    # Rows of `slices.csv`.
    slices: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(SLICE_COLUMNS)))
    consensus: str = "majority"  # rule of the consensus, "majority" or "staple"
    # Pairs of subject ids that are one leg scanned twice, by the later scan.
    repeats: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    # Further rows of `scores.csv`: each leg of the scans of both legs, which no statistic of scans or people counts.
    legs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(SCORE_COLUMNS)))
    # Rows of `expected_dice.csv`.
    expected: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(EXPECTED_COLUMNS)))

    @property
    def cohorts(self) -> list[str]:
        """Names of the cohorts: volunteer, patient, others by name."""
        return cohorts_in_order(self.scores)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the study's order."""
        return classes_of(self.quantities)

    def of_class(self, name: str) -> "Measurements":
        """Return the measurements of one class; those of times are of all classes together."""
        tables = {key: getattr(self, key) for key in ("scores", "quantities", "slices", "legs", "expected")}
        return replace(self, **{key: own[own[CLASS] == name].reset_index(drop=True) for key, own in tables.items()})

    def subject_count(self, cohort: str) -> int:
        """Return the number of subjects in a cohort."""
        return int(self.scores.loc[self.scores["cohort"] == cohort, "subject"].nunique())


@dataclass(frozen=True)
class Analysis:
    """All tables of one class of a study; each is the content of the file of the same name, without `class`."""

    measurements: Measurements  # measurements of the class, which the tables summarise
    # Sentences under Table 1: empty masks, raters who drew a part of the subjects, an even number of raters, repeated
    # scans, what was left out, margins that were changed.
    remarks: list[str]
    table1: pd.DataFrame
    locations: pd.DataFrame
    sides: pd.DataFrame
    like_for_like: pd.DataFrame
    tests: pd.DataFrame
    agreement: pd.DataFrame
    times: pd.DataFrame
    margins_changed: str = ""  # statement that margins differ from those of the sweep, or empty
    structure: str = NERVE  # name of the class
    classes: tuple[str, ...] = (NERVE,)  # names of all classes of the study, in its order

    @property
    def label(self) -> str:
        """Name of the class as texts show it: empty for the only class of a study."""
        return self.structure if len(self.classes) > 1 else ""


def analyse(
    measurements: Measurements, margins: Margins, stored: Margins | None = None, notes: Sequence[str] = ()
) -> Analysis:
    """Compute all tables of a study with one class; margins that differ from `stored` ones are named as changed.

    Subjects without the class in any mask are left out, unless no subject has it: there is nothing to find or to miss.
    The `stored` margins are from before the results were known; `notes` are sentences on masks and subjects left out.
    """
    measurements, absent = without_absent(measurements)
    scores, raters = measurements.scores, measurements.raters
    changed = margins_changed(margins, stored)
    majority = measurements.consensus == "majority"
    ties = even_numbers(measurements.quantities, raters) if majority and len(raters) > 1 else []
    return Analysis(
        measurements=measurements,
        remarks=[
            *absent,
            *empty_masks(measurements.quantities),
            *copied_masks(scores, raters),
            *missing_raters(measurements.quantities, raters),
            *ties,
            *repeated_scans(scores),
            *undivided_scans(scores, measurements.legs),
            *notes,
            *([f"{changed[0].upper()}{changed[1:]}."] if changed else []),
        ],
        table1=_noted(table1(scores, raters), ties),
        locations=_noted(location_table(scores, raters), ties),
        sides=_noted(location_table(measurements.legs, raters, "side"), ties),
        like_for_like=like_for_like_summary(scores, raters),
        tests=hypothesis_tests(scores, raters, margins, changed, " ".join(ties)),
        agreement=agreement_table(measurements.quantities, raters, measurements.repeats),
        times=time_summary(measurements.times),
        margins_changed=changed,
    )


def _noted(table: pd.DataFrame, ties: Sequence[str]) -> pd.DataFrame:
    """Add a column with a note on the consensus to its rows."""
    notes = [" ".join(ties) if CONSENSUS in str(name).split("-") else "" for name in table.get("comparison", [])]
    return table.assign(note=pd.Series(notes, index=table.index, dtype="object"))


def without_absent(measurements: Measurements) -> tuple[Measurements, list[str]]:
    """Return the measurements of subjects in whom a mask shows the class, and a sentence on the others or nothing."""
    volumes = measurements.quantities[measurements.quantities["quantity"] == VOLUME]
    largest = volumes.groupby("subject", sort=False)["value"].max()
    absent = [str(subject) for subject in largest.index[largest == 0]]
    if not 0 < len(absent) < len(largest):
        return measurements, []
    tables = {key: getattr(measurements, key) for key in ("scores", "quantities")}
    kept = {key: table[~table["subject"].isin(absent)].reset_index(drop=True) for key, table in tables.items()}
    counted = f"{len(absent)} of {len(largest)} subjects"
    return replace(measurements, **kept), [f"No mask shows anything in {counted}, who are left out: {listed(absent)}."]


def empty_masks(quantities: pd.DataFrame) -> list[str]:
    """Return a sentence that names every empty mask, or nothing."""
    empty = quantities[(quantities["quantity"] == VOLUME) & (quantities["value"] == 0)]
    named = [
        f"sub-{subject} ({cohort}) {', '.join(rows['source'])}"
        for (cohort, subject), rows in empty.groupby(["cohort", "subject"], sort=False)
    ]
    return [f"Empty masks: {'; '.join(named)}."] if named else []


def copied_masks(scores: pd.DataFrame, raters: Sequence[str]) -> list[str]:
    """Return a sentence that names every automatic mask that is a rater's, voxel by voxel, or nothing."""
    whose = {f"{AUTOMATIC}-{rater}": rater for rater in raters}
    if len(raters) == 1:
        whose = {f"{AUTOMATIC}-{CONSENSUS}": raters[0]}
    equal = scores[(scores["metric"] == "dice") & (scores["value"] == 1.0) & scores["comparison"].isin(whose.keys())]
    named = [f"sub-{row.subject} {whose[str(row.comparison)]}" for row in equal.itertuples()]
    return [f"Automatic masks that equal a rater's, voxel by voxel: {', '.join(named)}."] if named else []


def listed(names: Sequence[str]) -> str:
    """Return names with commas, the first `NAMED` of them."""
    return f"{', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''}"


def missing_raters(quantities: pd.DataFrame, raters: Sequence[str]) -> list[str]:
    """Return a sentence per rater who did not draw every subject."""
    drawn = quantities.groupby("subject", sort=False)["source"].agg(set)
    absent = {rater: [subject for subject, sources in drawn.items() if rater not in sources] for rater in raters}
    return [
        f"{rater} did not draw {len(missing)} of {len(drawn)} subjects (GT is the others' consensus there):"
        f" {listed(list(map(str, missing)))}."
        for rater, missing in absent.items()
        if missing
    ]


def even_numbers(quantities: pd.DataFrame, raters: Sequence[str]) -> list[str]:
    """Return a sentence on subjects whom an even number of raters drew, for whom a majority vote has ties."""
    drawn = quantities[quantities["source"].isin(list(raters))].groupby("subject")["source"].nunique()
    two, even = int((drawn == 2).sum()), int(((drawn > 2) & (drawn % 2 == 0)).sum())
    of_two = (
        f"GT is the intersection of two raters in {two} of {len(drawn)} subjects: two have no majority"
        " (study.consensus=staple, or one reference rater in study.raters)."
    )
    of_even = f"GT is the vote of an even number of raters in {even} of {len(drawn)} subjects: a tie is background."
    return [sentence for sentence, count in ((of_two, two), (of_even, even)) if count]


def repeated_scans(scores: pd.DataFrame) -> list[str]:
    """Return a sentence if groups (persons) have several scans."""
    scans, units = scores["subject"].nunique(), len(scores.drop_duplicates(["cohort", "group"]))
    if scans == units:
        return []
    return [f"{scans} scans of {units} independent units (group): means count scans, tests and intervals count units."]


def undivided_scans(scores: pd.DataFrame, legs: pd.DataFrame) -> list[str]:
    """Return a sentence that names the scans of both legs without scores per leg, or nothing."""
    both = scores.loc[scores["side"] == BOTH, "subject"].unique()
    undivided = [str(subject) for subject in both if subject not in set(legs["subject"])]
    why = "the image does not tell the legs apart, or shows no nerve"
    return [f"Scans of both legs without scores per leg, as {why}: {listed(undivided)}."] if undivided else []


def location_table(scores: pd.DataFrame, raters: Sequence[str], column: str = "location") -> pd.DataFrame:
    """Compute R-R and Auto-GT by location, or by another column, which then stands after the cohort.

    The table holds the cohorts with more than one location.
    """
    known = scores.dropna(subset=column)
    tables = []
    for cohort in cohorts_in_order(known):
        locations = known[known["cohort"] == cohort].groupby(column, sort=True)
        for location, rows in locations if len(locations) > 1 else ():
            part = table1(rows, raters)
            part.insert(1, column, str(location))
            tables.append(part[part["comparison"].isin(SET_OFF)])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["cohort", column])


def like_for_like_summary(scores: pd.DataFrame, raters: Sequence[str]) -> pd.DataFrame:
    """Compute mean and sample standard deviation over subjects of the agreement with the (other) raters.

    Pairs with an empty mask are counted in `n_failed`; their distances are left out of the subject's mean, as in
    Table 1. The table is empty with a single rater.
    """
    if len(raters) < 2:
        return pd.DataFrame(columns=["cohort", "source", "n", "n_failed"])
    agreement = like_for_like(scores, raters, failed=np.nan).drop(columns=RATER_RATER)
    undefined = scores[scores["metric"].isin(DEFINED_UNLESS_EMPTY) & scores["value"].isna()]
    failed = undefined.drop_duplicates(["subject", "comparison"])
    pairs = agreement_pairs(raters)
    rows: list[dict[str, object]] = []
    for cohort in cohorts_in_order(scores):
        for source in agreement.columns:
            subjects = agreement.xs(cohort, level="cohort")[source].unstack("metric")
            own = (failed["cohort"] == cohort) & failed["comparison"].isin(pairs[source])
            n = int(subjects["dice"].notna().sum())
            row: dict[str, object] = {"cohort": cohort, "source": source, "n": n, "n_failed": int(own.sum())}
            for metric in TABLE_METRICS:
                row |= {f"{metric}_mean": subjects[metric].mean(), f"{metric}_sd": subjects[metric].std()}
            rows.append(row)
    return pd.DataFrame(rows)


def time_summary(times: pd.DataFrame) -> pd.DataFrame:
    """Compute mean and sample standard deviation of the minutes per subject from rows with `TIME_COLUMNS`.

    Per cohort there are each rater, all raters pooled as in the paper's Figure 2, and `Auto`.
    """
    automatic = times["source"] == AUTOMATIC
    pooled = times[~automatic].assign(source=RATERS)
    several = pooled if times.loc[~automatic, "source"].nunique() > 1 else pooled.iloc[:0]
    ordered = pd.concat([times[~automatic], several, times[automatic]])
    rows = [
        (cohort, source, len(minutes), minutes.mean(), minutes.std())
        for cohort in cohorts_in_order(ordered)
        for source, minutes in ordered[ordered["cohort"] == cohort].groupby("source", sort=False)["minutes"]
    ]
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))
