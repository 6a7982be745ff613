"""What the figures of a study are drawn from: the tables of an evaluation, from memory or from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from nerveseg.errors import RunError
from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.comparisons import AUTOMATIC, CONSENSUS, cohorts_in_order, read_scores
from nerveseg.evaluation.tables.table1 import reference_table
from nerveseg.evaluation.tables.times import TIME_COLUMNS
from nerveseg.runs import find_folds

HEADING = "# Table 1, "


@dataclass(frozen=True)
class StudyTables:
    """The tables of an evaluation; each is the content of the file of its name.

    Attributes:
        title: Stands above every figure; begins with SYNTHETIC where the study is.
        scores: Rows as of `scores.csv`.
        tests: Rows as of `tests.csv`; empty without a test.
        quantities: Rows as of `quantities.csv`.
        agreement: Rows as of `agreement.csv`.
        times: Rows as of `times.csv`: means per cohort and source.
        minutes: Columns subject, cohort, source, minutes; empty where only the means are known.
        reference: A published Table 1; None without.
        training: By fold, rows as of `metrics.csv`.
    """

    title: str
    scores: pd.DataFrame
    tests: pd.DataFrame
    quantities: pd.DataFrame
    agreement: pd.DataFrame
    times: pd.DataFrame
    minutes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(TIME_COLUMNS)))
    reference: pd.DataFrame | None = None
    training: Mapping[int, pd.DataFrame] = field(default_factory=dict)

    @property
    def raters(self) -> list[str]:
        """In the study's order, which is that of the quantities."""
        return [str(name) for name in self.quantities["source"].unique() if name not in (AUTOMATIC, CONSENSUS)]

    @property
    def cohorts(self) -> list[str]:
        """Volunteer, patient, others by name."""
        return cohorts_in_order(self.scores)

    def subjects(self, cohort: str) -> int:
        """How many there are in a cohort."""
        return int(self.scores.loc[self.scores["cohort"] == cohort, "subject"].nunique())


def tables_of(
    analysis: Analysis,
    title: str,
    reference: pd.DataFrame | None = None,
    training: Mapping[int, pd.DataFrame] | None = None,
) -> StudyTables:
    """The tables as they are in memory at the end of an evaluation, with the minutes of every subject.

    Args:
        analysis: Of the study.
        title: Stands above every figure: "SYNTHETIC study phantom-demo".
        reference: A published Table 1.
        training: By fold, rows as of `metrics.csv`.
    """
    measured = analysis.measurements
    return StudyTables(
        title=title,
        scores=measured.scores,
        tests=analysis.tests,
        quantities=measured.quantities,
        agreement=analysis.agreement,
        times=analysis.times,
        minutes=measured.times,
        reference=reference,
        training=training or {},
    )


def read_tables(folder: Path) -> StudyTables:
    """The tables as they were written; of times the means alone, and the training of the folds beside the folder.

    Args:
        folder: `evaluation/` of a run.

    Raises:
        RunError: A table is missing or damaged.
    """
    options = folder / "presentation.json"
    shown = json.loads(options.read_text(encoding="utf-8")) if options.is_file() else {}
    return StudyTables(
        title=_title(folder / "table1.md"),
        scores=read_scores(folder / "scores.csv"),
        tests=_read(folder / "tests.csv"),
        quantities=_read(folder / "quantities.csv"),
        agreement=_read(folder / "agreement.csv"),
        times=_read(folder / "times.csv"),
        reference=reference_table("paper") if shown.get("reference_table") == "paper" else None,
        training=read_training(folder.parent),
    )


def read_training(cross_validation: Path) -> dict[int, pd.DataFrame]:
    """What every fold logged while it was trained.

    Args:
        cross_validation: Folder of the folds.

    Returns:
        By fold, the rows of its `metrics.csv`; folds without one are left out.
    """
    files = {fold.number: fold.path / "metrics.csv" for fold in find_folds(cross_validation)}
    return {number: _read(path) for number, path in files.items() if path.is_file()}


def _title(table: Path) -> str:
    first = table.read_text(encoding="utf-8").partition("\n")[0] if table.is_file() else ""
    return first.removeprefix(HEADING) if first.startswith(HEADING) else ""


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype={"subject": "string", "cohort": "string"})
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        raise RunError(
            "the folder of an evaluation holds its tables",
            found="no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}",
            path=path,
            remedy="write them again: python -m nerveseg.evaluate run=outputs/<name>",
        ) from error
