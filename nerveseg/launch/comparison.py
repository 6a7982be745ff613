"""The comparison at the end: Table 1 of a cross-validation from its files, or of raters alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.study import Study, open_study
from nerveseg.errors import ConfigurationError, RunError
from nerveseg.evaluation.comparisons import write_scores
from nerveseg.evaluation.tables import reference_table, render_table1, table1, table1_markdown
from nerveseg.launch.configuration import section
from nerveseg.launch.scoring import rater_names, score_subject
from nerveseg.launch.settings import check_data, read_run_config
from nerveseg.launch.studies import prepared_slices, study_description
from nerveseg.runs import FoldFolder, find_folds, write_text


def compare_cross_validation(folder: Path, reference: str | None, console: Console) -> None:
    """Score the predictions of all complete folds again, from the files, and write and print Table 1.

    Args:
        folder: Holds the folds.
        reference: A published table to show beside ours.
        console: Where Table 1 is printed.

    Raises:
        RunError: No fold is complete, or the study changed since the training.
    """
    folds = find_folds(folder)
    complete = [fold for fold in folds if fold.is_complete]
    if not complete:
        raise RunError(
            "at least one fold is complete",
            found="none",
            path=folder,
            remedy="train: the same command continues what was begun",
        )
    config = read_run_config(complete[0])
    missing = sorted(set(range(config["folds"]["count"])) - {fold.number for fold in complete})
    study = open_study(study_description(config["study"]))
    scores = _score_folds(study, config, complete, console)
    output = folder / "evaluation"
    table = write_tables(scores, study, output)
    _print_table(table, _reference(reference), study, console)
    if missing:
        console.print(
            f"Only part of the cross-validation: fold {', '.join(map(str, missing))} is missing.", style="bold"
        )
    console.print(f"tables: {output}\nmasks, models, pictures: {folder}/fold-<k>/", highlight=False, soft_wrap=True)


def compare_raters(study: Study, output: Path, reference: str | None, console: Console) -> None:
    """Table 1 of the raters alone: pairs, and each against the consensus.

    Raises:
        ConfigurationError: The study has one rater, so there is nothing to compare.
    """
    raters = rater_names(study)
    if len(raters) < 2:
        raise ConfigurationError(
            "raters are compared with one another, so a study needs two",
            found=", ".join(raters),
            remedy="run=outputs/<name> judges automatic masks against the one rater",
        )
    subjects = track(
        study.subjects, "comparing raters", console=console, transient=True, disable=not console.is_terminal
    )
    scores = pd.concat([score_subject(study, subject) for subject in subjects], ignore_index=True)
    table = write_tables(scores, study, output)
    _print_table(table, _reference(reference), study, console)
    _print_consensus(study, console)
    console.print(f"tables: {output}", highlight=False, soft_wrap=True)


def write_tables(scores: pd.DataFrame, study: Study, output: Path) -> pd.DataFrame:
    """Write scores.csv, table1.csv and table1.md, and return Table 1."""
    write_scores(output / "scores.csv", scores)
    table = table1(scores, rater_names(study))
    write_text(output / "table1.csv", table.to_csv(index=False, lineterminator="\n"))
    title = f"# {_title(study)}\n\n"
    write_text(output / "table1.md", title + table1_markdown(table))
    return table


def _score_folds(study: Study, config: dict[str, Any], folds: list[FoldFolder], console: Console) -> pd.DataFrame:
    preprocessing = section(Preprocessing, config["preprocessing"], "preprocessing")
    store = prepared_slices(study, preprocessing, Path(config["output_root"]), console)
    tests = []
    for fold in track(folds, "comparing", console=console, transient=True, disable=not console.is_terminal):
        check_data(fold, store.key)
        for subject in study.subjects:
            prediction = fold.prediction(subject.id)
            if prediction.is_file():
                tests.append(score_subject(study, subject, store.consensus(subject.id), prediction, fold.number))
    return pd.concat(tests, ignore_index=True)


def _reference(name: str | None) -> pd.DataFrame | None:
    if name is None:
        return None
    if name != "paper":
        raise ConfigurationError("reference_table is null or paper", found=name)
    return reference_table("paper")


def _title(study: Study) -> str:
    synthetic = "SYNTHETIC study " if study.description.synthetic else "study "
    return f"Table 1, {synthetic}{study.description.name}"


def _print_table(table: pd.DataFrame, reference: pd.DataFrame | None, study: Study, console: Console) -> None:
    console.print()
    console.print(_title(study), style="bold", highlight=False)
    console.print(render_table1(table, reference))


def _print_consensus(study: Study, console: Console) -> None:
    for subject in study.subjects[:10]:
        voxels = int(study.read_masks(subject, study.grid(subject)).consensus.sum())
        console.print(
            f"consensus of {', '.join(rater_names(study))}, sub-{subject.id}: {voxels:,} voxels", highlight=False
        )
