"""Evaluate a cross-validation from its files, masks of any origin, or the raters of a study alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nerveseg.console import say
from nerveseg.data.classes import Classes
from nerveseg.data.external_masks import find_predictions, surplus_predictions
from nerveseg.data.study import Study, open_study
from nerveseg.errors import ConfigurationError, RunError, StudyError
from nerveseg.evaluation.analysis import listed
from nerveseg.evaluation.comparisons import read_scores
from nerveseg.files import write_csv
from nerveseg.runs import FoldFolder, find_cross_validations, find_folds
from nerveseg.workflows.analyse_scores import analyse_and_write
from nerveseg.workflows.calibrate import calibrate_folds
from nerveseg.workflows.config import EvaluateConfig, ReportConfig
from nerveseg.workflows.job import Job
from nerveseg.workflows.model_selection import show_settings
from nerveseg.workflows.prepare_study import open_configured_study, prepared_slices
from nerveseg.workflows.run_records import check_data, parse_run_config, read_run_config, read_seconds
from nerveseg.workflows.score_subjects import PredictedMask, measure_subjects
from nerveseg.workflows.training_job import check_one_experiment
from nerveseg.workflows.write_report import EvaluatedStudy


def evaluate(job: Job[EvaluateConfig]) -> None:
    """Evaluate the finished sweep, the masks or the raters that a configuration names.

    Raises:
        ConfigurationError: Options exclude each other, or none names masks.
        RunError: A sweep has no complete fold.
        StudyError: Masks do not fit the study.
    """
    config = job.config
    if (config.run is None) == (config.study is None):
        raise ConfigurationError(
            "run= (a finished sweep) or study= (masks of any origin, or raters alone)",
            found="neither" if config.run is None else "both",
            remedy="run=outputs/demo, or study=aorta, or study=... prediction=<folder>",
        )
    if config.run is not None and (config.prediction is not None or config.output is not None):
        raise ConfigurationError(
            "run= without prediction= and output=, because a run has its own masks and its own folder of tables",
            found="both",
            remedy="study=<name> prediction=<folder> output=<folder>, or run=<folder> alone",
        )
    _check_effects(config)
    if config.run is not None:
        _evaluate_run(job, config.run)
        return
    assert config.study is not None
    study = open_configured_study(config.study)
    masks = "raters" if config.prediction is None else "predictions"
    output = config.output or config.output_root / f"{masks}-{study.description.name}" / "evaluation"
    if config.prediction is None:
        compare_raters(study, output, config)
    else:
        _compare_predictions(study, config, output)


def _check_effects(config: EvaluateConfig) -> None:
    """Raise `ConfigurationError` for an option that would change nothing."""
    for option, is_given, other in (
        ("prediction_classes", config.prediction_classes is not None, "prediction"),
        ("missing_predictions", config.missing_predictions != "refuse", "prediction"),
        ("logger", bool(config.logger.targets), "run"),
    ):
        if is_given and getattr(config, other) is None:
            rule = f"{option} is an option beside {other}="
            raise ConfigurationError(rule, found=f"no {other}=", remedy=f"{other}=<folder>, or leave {option} out")


def _evaluate_run(job: Job[EvaluateConfig], run: Path) -> None:
    """Evaluate every cross-validation of a run, and rank them where there are several.

    Each margin, published table, report and form of subjects' ids is the command's if an override gives it, or else the
    run's.
    """
    named = {override.lstrip("+").partition("=")[0] for override in job.overrides}
    chosen = {key: getattr(job.config, key) for key in ReportConfig.model_fields if key in named}
    margins = {key: value for key, value in job.config.margins.model_dump().items() if f"margins.{key}" in named}
    folders = find_cross_validations(run)
    for folder in folders:
        config = read_run_config(_complete_folds(folder)[0])
        ids = {key: value for key, value in config.get("logger", {}).items() if key == "subject_ids"}
        logging = config | {"logger": ids | job.values["logger"], "plugins": job.values["plugins"]}
        options = options_of_run(folder, chosen, margins)
        compare_cross_validation(folder, options, logging if job.config.logger.targets else None)
    if len(folders) > 1:
        show_settings(run)


def options_of_run(folder: Path, chosen: Mapping[str, Any], margins: Mapping[str, float]) -> ReportConfig:
    """Return the options of the analysis from a run's own configuration, replaced by those that are chosen now.

    `margins` are single ones of the margins, by name.
    """
    options = parse_run_config(_complete_folds(folder)[0]).model_copy(update=chosen)
    return options.model_copy(update={"margins": options.margins.model_copy(update=margins)})


def compare_cross_validation(folder: Path, options: ReportConfig, logging: Mapping[str, Any] | None = None) -> None:
    """Score the masks of all complete folds again, write every table and print the main ones.

    The dashboards of the configuration `logging`, in plain types, show the evaluation.

    Raises:
        RunError: No fold is complete, a mask is missing, the study changed since the training, or the folds are not
            those of one cross-validation.
    """
    complete = _complete_folds(folder)
    check_one_experiment(complete)
    config = parse_run_config(complete[0])
    study = open_study(config.study.layout)
    store = prepared_slices(study, config.preprocessing, config.output_root)
    for fold in complete:
        check_data(fold, store.key)
    tested = _all_predictions(complete)
    expected = calibrate_folds(complete, study.description.name)
    part = Study(study.description, tuple(subject for subject in study.subjects if subject.id in tested))
    evaluated = EvaluatedStudy(part, tested, store.consensus, tuple(complete), config.margins, expected=expected)
    analyse_and_write(evaluated, folder / "evaluation", options)
    if logging:
        from nerveseg.dashboards.publish import log_evaluation  # imports Lightning, which takes seconds

        log_evaluation(folder, logging, store)
    missing = sorted(set(range(config.folds.count)) - {fold.number for fold in complete})
    if missing:
        say(f"Only part of the cross-validation: fold {', '.join(map(str, missing))} is missing.", style="bold")
    say(f"masks, models, pictures: {folder}/fold-<k>/")


def _complete_folds(folder: Path) -> list[FoldFolder]:
    complete = [fold for fold in find_folds(folder) if fold.is_complete]
    if not complete:
        raise RunError(
            "at least one fold is complete",
            found="none",
            path=folder,
            remedy="train the folds; the same command continues from the last checkpoint",
        )
    return complete


def _all_predictions(folds: Sequence[FoldFolder]) -> dict[str, PredictedMask]:
    """Return the masks of all test subjects that the scores name, each from the one fold that held it out."""
    tested: dict[str, PredictedMask] = {}
    for fold in folds:
        seconds = read_seconds(fold)
        for subject in dict.fromkeys(read_scores(fold.scores)["subject"]):
            mask = fold.prediction(subject)
            if not mask.is_file():
                raise RunError(
                    "a complete fold has the mask of every test subject",
                    found="no such file",
                    subject=subject,
                    path=mask,
                    remedy="delete the fold's scores.csv and train again: only the test is repeated",
                )
            if subject in tested:
                raise RunError(
                    "a subject is tested in one fold",
                    found=f"folds {tested[subject].fold} and {fold.number}",
                    subject=subject,
                    path=fold.path,
                    remedy="these are folds of different splits: train them again under one name=",
                )
            tested[subject] = PredictedMask(mask, fold.number, seconds.get(subject))
    return tested


def compare_raters(study: Study, output: Path, options: ReportConfig) -> None:
    """Compare pairs of raters, and each rater with the consensus; for a single rater, write the quantities only."""
    raters = list(study.description.raters)
    if len(raters) < 2:
        quantities = measure_subjects(study, {}).quantities
        write_csv(output / "quantities.csv", quantities)
        say(
            f"study {study.description.name}: {len(study.subjects)} subjects, one rater ({raters[0]}), who is the"
            " reference; hence no R-R. run=outputs/<name> or prediction=<folder> evaluates automatic masks against"
            " this rater."
        )
        say(f"volumes and areas: {output / 'quantities.csv'}")
        return
    analyse_and_write(EvaluatedStudy(study), output, options)
    for subject in study.subjects[:10]:
        voxels = np.count_nonzero(study.read_masks(subject, study.grid(subject)).consensus)
        names = ", ".join(subject.raters)
        say(f"consensus of {names}, sub-{subject.id}: {voxels:,} voxels")


def _compare_predictions(study: Study, config: EvaluateConfig, output: Path) -> None:
    """Compare masks of any origin with a study's raters, with the same tables."""
    assert config.prediction is not None
    found = find_predictions(config.prediction, study.subjects)
    missing = [subject.id for subject in study.subjects if subject.id not in found]
    if missing and config.missing_predictions == "refuse":
        raise StudyError(
            "every subject has a predicted mask (an empty one where the method found nothing)",
            found=f"{len(missing)} without: {', '.join(missing[:5])}",
            path=config.prediction,
            remedy="add them, or evaluate the other subjects only: missing_predictions=skip",
        )
    part = Study(study.description, tuple(subject for subject in study.subjects if subject.id in found))
    classes = _prediction_classes(config, study.description.class_table)
    predictions = {subject: PredictedMask(path, classes=classes) for subject, path in found.items()}
    surplus = [path.name for path in surplus_predictions(config.prediction, study.subjects)]
    left_out = {"Masks that are of no subject": surplus, "Subjects without a mask": missing}
    notes = tuple(f"{which}, not evaluated: {listed(names)}." for which, names in left_out.items() if names)
    analyse_and_write(EvaluatedStudy(part, predictions, notes=notes), output, config)


def _prediction_classes(config: EvaluateConfig, classes: Classes) -> Classes | None:
    """Return the classes of predicted masks, with the parts of the study's; raise `ConfigurationError` for others."""
    if config.prediction_classes is None:
        return None
    given = Classes.of(config.prediction_classes)
    if (given.names, given.parts) != (classes.names, classes.parts):
        raise ConfigurationError(
            "prediction_classes names the study's classes, in its order, with as many labels in common",
            found=", ".join(given.names),
            remedy="label values for " + ", ".join(classes.names),
        )
    return given
