"""Test a trained fold: predict the held-out subjects through the bundle, score the masks, draw a picture of each.

Validation subjects, if the fold has any, are predicted and scored in the same way, apart from the test.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nerveseg.console import say, track_progress
from nerveseg.dashboards.publish import Dashboards, log_test, log_validation
from nerveseg.data.study import Study, Subject
from nerveseg.data.volumes.volume import read_image, write_labels
from nerveseg.evaluation.comparisons import (
    AUTOMATIC,
    CLASS,
    CONSENSUS,
    automatic_dice,
    classes_of,
    score_subject,
    write_scores,
)
from nerveseg.files import write_csv, write_text
from nerveseg.inference.bundle import add_scores, load_bundle, read_description
from nerveseg.inference.prediction_settings import Computation
from nerveseg.notices import header_notice
from nerveseg.reporting.overlay import best_slice, overlay, save_png
from nerveseg.scans.request import ScanFiles, SegmentOptions
from nerveseg.scans.segmentation import predict_files
from nerveseg.training.devices import Device
from nerveseg.workflows.calibrate import UNCERTAINTY_COLUMNS, uncertainty_rows
from nerveseg.workflows.prepare_study import FoldInput
from nerveseg.workflows.score_subjects import PredictedMask, bundle_scores, load_masks
from nerveseg.workflows.training_job import TrainingJob


def evaluate_fold(job: TrainingJob, loaded: FoldInput, device: Device, dashboards: Dashboards) -> None:
    """Predict and score the test subjects of a fold whose bundle is written; log scores, pictures and the model."""
    study, fold = loaded.study, loaded.fold
    if fold.validation:
        _predict_subjects(job, study, fold.validation, job.folder.validation_mask, device)
        validated = _scores(loaded, fold.validation, job.folder.validation_mask)
        log_validation(dashboards, validated)
        write_scores(job.folder.validation_scores, validated)
    seconds, uncertainties, computation = _predict_subjects(job, study, fold.test, job.folder.prediction, device)
    write_csv(job.folder.uncertainty, uncertainties)
    write_text(job.folder.seconds, json.dumps(seconds, indent=1) + "\n")
    scores = _scores(loaded, fold.test, job.folder.prediction, job.folder.overlay)
    result_classes = read_description(job.folder.model).result_classes
    add_scores(job.folder.model, bundle_scores(scores, result_classes), computation)
    log_test(dashboards, job.folder, scores, list(study.description.raters))
    write_scores(job.folder.scores, scores)
    say(
        f"{job.title}: mean test Dice " + ", ".join(f"{name} {value:.3f}" for name, value in _mean_dice(scores).items())
    )


def _mean_dice(scores: pd.DataFrame) -> pd.Series:
    """Return the mean Dice of each cohort (of several classes, of each class and cohort) in which any mask shows it."""
    dice, is_single = automatic_dice(scores), len(classes_of(scores)) == 1
    names = dice["cohort"] if is_single else dice[CLASS] + " " + dice["cohort"]
    return dice.groupby(names, sort=is_single)["value"].mean().dropna()


def _predict_subjects(
    job: TrainingJob, study: Study, subjects: Sequence[Subject], mask_of: Callable[[str], Path], device: Device
) -> tuple[dict[str, float], pd.DataFrame, Computation | None]:
    """Write the masks that the bundle makes.

    Returns:
        Time of each subject, in s with reading and writing; rows of `uncertainty.csv`; device and runtime.
    """
    bundle = load_bundle(job.folder.model, job.config.plugins)
    notice = header_notice(bundle.description.training.synthetic)
    seconds: dict[str, float] = {}
    uncertainties, computation = [], None
    options = SegmentOptions(
        geometry=study.description.geometry,
        accelerator=device.accelerator,
        slices_per_batch=job.config.trainer.slices_per_batch,
    )
    for subject in track_progress(subjects, f"{job.title}, test subjects"):
        started = time.perf_counter()
        image, *further = subject.images.items()
        scan, prediction = predict_files(
            ScanFiles(subject.id, image[1], channels=dict(further)),
            [bundle],
            options,
        )
        write_labels(mask_of(subject.id), prediction.classes.decode(prediction.labels), scan.grid, notice)
        seconds[subject.id] = time.perf_counter() - started
        uncertainties += uncertainty_rows(subject.id, prediction.features(scan.grid.ras_spacing_mm))
        computation = prediction.computation
    return seconds, pd.DataFrame(uncertainties, columns=list(UNCERTAINTY_COLUMNS)), computation


def _scores(
    loaded: FoldInput,
    subjects: Sequence[Subject],
    mask_of: Callable[[str], Path],
    overlay_of: Callable[[str], Path] | None = None,
) -> pd.DataFrame:
    """Score the masks of subjects; draw the consensus and the automatic mask on the slice with most nerve."""
    study, scores = loaded.study, []
    for subject in subjects:
        predicted = PredictedMask(mask_of(subject.id), loaded.fold.number)
        records = load_masks(study, subject, loaded.store.consensus(subject.id), predicted)
        scores += [score_subject(masks, list(study.description.raters)) for masks in records]
        if overlay_of:
            image = read_image(subject.image, subject.id, study.description.geometry).array
            nerves = [masks for masks in records if study.description.class_table.is_nerve(masks.structure)]
            consensus = np.any([masks.consensus for masks in nerves], axis=0)
            automatic = np.any([masks.automatic for masks in nerves if masks.automatic is not None], axis=0)
            index = best_slice(consensus, automatic)
            contours = {CONSENSUS: consensus[..., index], AUTOMATIC: automatic[..., index]}
            save_png(overlay_of(subject.id), overlay(image[..., index], contours))
    return pd.concat(scores, ignore_index=True)
