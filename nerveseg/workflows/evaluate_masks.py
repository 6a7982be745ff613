"""The comparison at the end: of a cross-validation from its files, of masks of any origin, or of raters alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from nerveseg.dashboards.publish import log_evaluation
from nerveseg.data.external_masks import find_predictions
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.study import Study, open_study
from nerveseg.errors import RunError, StudyError
from nerveseg.evaluation.comparisons import read_scores
from nerveseg.files import write_csv
from nerveseg.launch.compose import parse_section
from nerveseg.runs import FoldFolder, find_folds
from nerveseg.workflows.analyse_scores import EvaluationOptions, analyse_and_write, parse_evaluation_options
from nerveseg.workflows.prepare_study import prepared_slices, study_description
from nerveseg.workflows.score_subjects import PredictedMask, measure_subjects
from nerveseg.workflows.training_job import check_data, check_one_experiment, read_run_config
from nerveseg.workflows.write_report import EvaluatedStudy


class PredictedMasks(BaseModel):
    """Masks of any origin (another program, a person) of a study's subjects.

    Attributes:
        prediction: A folder of masks, or a path template with `{id}`.
        prediction_foreground: Label values that are nerve in these masks; None means every label above zero.
        missing_predictions: Whether to judge only the subjects that have a mask.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prediction: str
    prediction_foreground: tuple[int, ...] | None = None
    missing_predictions: Literal["refuse", "skip"] = "refuse"


def options_of_run(folder: Path, chosen: Mapping[str, Any], console: Console) -> EvaluationOptions:
    """How a run's own configuration wants it to be judged and shown, but for what is chosen now.

    Args:
        folder: Holds the folds.
        chosen: `margins`, `reference_table` or `report`, where they are to differ from the run's.
        console: Where tables are printed.

    Raises:
        RunError: No fold is complete, or the run's configuration is damaged.
        ConfigurationError: A margin is out of its range, or the published table is unknown.
    """
    complete = _complete_folds(folder)
    own = {"margins": {}, "reference_table": None, "report": True} | read_run_config(complete[0])
    return parse_evaluation_options(own | dict(chosen), console)


def compare_cross_validation(folder: Path, shown: EvaluationOptions) -> None:
    """Score the predictions of all complete folds again, from the files, write every table and print the main ones.

    Args:
        folder: Holds the folds.
        shown: How results are judged and shown.

    Raises:
        RunError: No fold is complete, a mask is missing, the study changed since the training, or the folds are not
            those of one cross-validation.
    """
    complete = _complete_folds(folder)
    config = check_one_experiment(complete)
    study = open_study(study_description(config["study"]))
    preprocessing = parse_section(Preprocessing, config["preprocessing"], "preprocessing")
    store = prepared_slices(study, preprocessing, Path(config["output_root"]), shown.console)
    for fold in complete:
        check_data(fold, store.key)
    tested = _all_predictions(complete)
    part = Study(study.description, tuple(subject for subject in study.subjects if subject.id in tested))
    analyse_and_write(EvaluatedStudy(part, tested, store.consensus, tuple(complete)), folder / "evaluation", shown)
    log_evaluation(folder, config, store)
    missing = sorted(set(range(config["folds"]["count"])) - {fold.number for fold in complete})
    if missing:
        numbers = ", ".join(map(str, missing))
        shown.console.print(f"Only part of the cross-validation: fold {numbers} is missing.", style="bold")
    shown.console.print(f"masks, models, pictures: {folder}/fold-<k>/", highlight=False, soft_wrap=True)


def _complete_folds(folder: Path) -> list[FoldFolder]:
    complete = [fold for fold in find_folds(folder) if fold.is_complete]
    if not complete:
        raise RunError(
            "at least one fold is complete",
            found="none",
            path=folder,
            remedy="train: the same command continues what was begun",
        )
    return complete


def _all_predictions(folds: Sequence[FoldFolder]) -> dict[str, PredictedMask]:
    """The masks of all test subjects, each from the one fold that held it out."""
    tested: dict[str, PredictedMask] = {}
    for fold in folds:
        for subject, prediction in _fold_predictions(fold).items():
            if subject in tested:
                raise RunError(
                    "a subject is tested in one fold",
                    found=f"folds {tested[subject].fold} and {fold.number}",
                    subject=subject,
                    path=fold.path,
                    remedy="these are folds of different splits: train them again under one name=",
                )
            tested[subject] = prediction
    return tested


def compare_raters(study: Study, output: Path, shown: EvaluationOptions) -> None:
    """The raters alone: pairs, and each against the consensus. Of a single rater only the quantities are written."""
    raters = list(study.description.raters)
    if len(raters) < 2:
        quantities = measure_subjects(study, {}, shown.console).quantities
        write_csv(output / "quantities.csv", quantities)
        shown.console.print(
            f"study {study.description.name}: {len(study.subjects)} subjects, one rater ({raters[0]}), who is the"
            " reference; hence no R-R. run=outputs/<name> or prediction=<folder> judges automatic masks against him.",
            highlight=False,
        )
        shown.console.print(f"volumes and areas: {output / 'quantities.csv'}", highlight=False, soft_wrap=True)
        return
    analyse_and_write(EvaluatedStudy(study), output, shown)
    for subject in study.subjects[:10]:
        voxels = int(study.read_masks(subject, study.grid(subject)).consensus.sum())
        names = ", ".join(subject.raters)
        shown.console.print(f"consensus of {names}, sub-{subject.id}: {voxels:,} voxels", highlight=False)


def compare_predictions(study: Study, masks: PredictedMasks, output: Path, shown: EvaluationOptions) -> None:
    """Masks of any origin against a study's raters, with the same tables.

    Args:
        study: The opened study.
        masks: Where they lie, and how they are read.
        output: Where the tables go.
        shown: How results are judged and shown.

    Raises:
        StudyError: No mask belongs to a subject, several belong to one, or subjects lack one.
    """
    found = find_predictions(masks.prediction, study.subjects)
    missing = [subject.id for subject in study.subjects if subject.id not in found]
    if missing and masks.missing_predictions == "refuse":
        raise StudyError(
            "every subject has a predicted mask (an empty one where the method found nothing)",
            found=f"{len(missing)} without: {', '.join(missing[:5])}",
            path=masks.prediction,
            remedy="add them, or missing_predictions=skip judges the others alone",
        )
    part = Study(study.description, tuple(subject for subject in study.subjects if subject.id in found))
    foreground = masks.prediction_foreground or None
    predictions = {subject: PredictedMask(path, foreground=foreground) for subject, path in found.items()}
    analyse_and_write(EvaluatedStudy(part, predictions), output, shown)
    if missing:
        shown.console.print(f"Not judged, without a mask: {', '.join(missing)}", style="bold", highlight=False)


def _fold_predictions(fold: FoldFolder) -> dict[str, PredictedMask]:
    """The masks of a fold's test subjects, which its scores name."""
    tested = dict.fromkeys(read_scores(fold.scores)["subject"])
    seconds = json.loads(fold.seconds.read_text(encoding="utf-8")) if fold.seconds.is_file() else {}
    for subject in tested:
        if not fold.prediction(subject).is_file():
            raise RunError(
                "a complete fold has the mask of every test subject",
                found="no such file",
                subject=subject,
                path=fold.prediction(subject),
                remedy="delete the fold's scores.csv and train again: only the test is repeated",
            )
    return {subject: PredictedMask(fold.prediction(subject), fold.number, seconds.get(subject)) for subject in tested}
