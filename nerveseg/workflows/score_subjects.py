"""Masks of a study's subjects (raters, consensus, automatic) and their scores and quantities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nerveseg.console import track_progress
from nerveseg.data.consensus import leave_one_out
from nerveseg.data.study import Study, Subject
from nerveseg.data.volumes.labels import check_foreground
from nerveseg.data.volumes.volume import read_mask
from nerveseg.errors import errors_about
from nerveseg.evaluation.analysis import TIME_COLUMNS, Measurements
from nerveseg.evaluation.comparisons import (
    AUTOMATIC,
    SubjectMasks,
    automatic_dice,
    measure_masks,
    score_subject,
    slice_scores,
)
from nerveseg.inference.bundle import TestScore
from nerveseg.types import Mask


@dataclass(frozen=True)
class PredictedMask:
    """Automatic mask of a subject."""

    path: Path  # file of the mask
    fold: int | None = None  # number of the fold that predicted it, if any
    seconds: float | None = None  # time in s from reading the volume to writing the mask, where it was measured
    foreground: tuple[int, ...] | None = None  # label values that are nerve; None means every label above zero


def load_masks(
    study: Study, subject: Subject, consensus: Mask | None = None, prediction: PredictedMask | None = None
) -> SubjectMasks:
    """Read all masks of a subject; with four raters or more, also compute the consensus without each rater.

    Without a stored `consensus` (in RAS order) it is computed from the raters' masks.

    Raises:
        VolumeError, GeometryError: A mask cannot be read, or does not lie on its image's grid.
    """
    grid = study.grid(subject)
    masks = study.read_masks(subject, grid)
    automatic = None
    if prediction is not None:
        geometry = study.description.geometry
        automatic = read_mask(prediction.path, grid, subject.id, prediction.foreground, geometry)
        if prediction.fold is None:
            with errors_about(prediction.path, subject.id):
                check_foreground(automatic)
    return SubjectMasks(
        subject=subject.id,
        cohort=subject.cohort,
        location=subject.location,
        side=subject.side,
        fold=None if prediction is None else prediction.fold,
        spacing_mm=grid.ras_spacing_mm,
        raters=masks.raters,
        consensus=masks.consensus if consensus is None else consensus,
        automatic=automatic,
        consensus_without=leave_one_out(masks.raters, study.description.consensus),
        group=subject.group,
    )


def bundle_scores(scores: pd.DataFrame) -> list[TestScore]:
    """Compute the mean Dice against the consensus per cohort, for a model's description."""
    cohorts = automatic_dice(scores).groupby("cohort", sort=True)["value"]
    return [
        TestScore(cohort=str(cohort), n=len(values), dice=None if values.isna().all() else float(values.mean()))
        for cohort, values in cohorts
    ]


def measure_subjects(
    study: Study, predictions: Mapping[str, PredictedMask], consensus: Callable[[str], Mask] | None = None
) -> Measurements:
    """Measure every subject of a study, with its mask in `predictions` if it has one.

    `consensus` returns the stored consensus of a subject; by default it is computed.
    """
    scores, quantities, slices, times = [], [], [], []
    for subject in track_progress(study.subjects, "comparing"):
        prediction = predictions.get(subject.id)
        masks = load_masks(study, subject, consensus(subject.id) if consensus else None, prediction)
        scores.append(score_subject(masks, list(study.description.raters)))
        quantities.append(measure_masks(masks))
        slices.append(slice_scores(masks, list(study.description.raters)))
        times.append(_times(subject, prediction))
    return Measurements(
        scores=pd.concat(scores, ignore_index=True),
        quantities=pd.concat(quantities, ignore_index=True),
        times=pd.concat(times, ignore_index=True),
        slices=pd.concat(slices, ignore_index=True),
        raters=list(study.description.raters),
        consensus=study.description.consensus,
        repeats={subject.id: (subject.repeat_of, subject.id) for subject in study.subjects if subject.repeat_of},
    )


def _times(subject: Subject, prediction: PredictedMask | None) -> pd.DataFrame:
    minutes = dict(subject.minutes)
    if prediction is not None and prediction.seconds is not None:
        minutes[AUTOMATIC] = prediction.seconds / 60
    rows = [(subject.id, subject.cohort, source, value) for source, value in minutes.items()]
    return pd.DataFrame(rows, columns=list(TIME_COLUMNS))
