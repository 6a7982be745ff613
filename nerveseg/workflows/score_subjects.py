"""Masks of a study's subjects (raters, consensus, automatic) and their scores and quantities."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from nerveseg.console import track_progress
from nerveseg.data.classes import Classes
from nerveseg.data.consensus import class_consensus, leave_one_out
from nerveseg.data.study import Study, Subject
from nerveseg.evaluation.analysis import TIME_COLUMNS, Measurements
from nerveseg.evaluation.comparisons import (
    AUTOMATIC,
    CLASS,
    SCORE_COLUMNS,
    SubjectMasks,
    measure_masks,
    score_subject,
    slice_scores,
    subject_dice,
)
from nerveseg.types import LabelMap
from nerveseg.workflows.score_legs import both_legs, leg_scores

if TYPE_CHECKING:
    from nerveseg.inference.bundle import TestScore


@dataclass(frozen=True)
class PredictedMask:
    """Automatic mask of a subject."""

    path: Path  # file of the mask
    fold: int | None = None  # number of the fold that predicted it, if any
    seconds: float | None = None  # time in s from reading the volume to writing the mask, where it was measured
    # Classes of its label values; None stands for those of a label map that nerveseg wrote for the study.
    classes: Classes | None = None


def load_masks(
    study: Study, subject: Subject, consensus: LabelMap | None = None, prediction: PredictedMask | None = None
) -> list[SubjectMasks]:
    """Read all masks of a subject, one record per class; with four raters or more, also the consensus without each.

    Without a stored `consensus` (in RAS order) it is computed from the raters' label maps.

    Raises:
        VolumeError, GeometryError: A mask cannot be read, or does not lie on its image's grid.
    """
    grid = study.grid(subject)
    masks, classes, rule = study.read_masks(subject, grid), study.description.class_table, study.description.consensus
    agreed = masks.consensus if consensus is None else consensus
    automatic = None
    if prediction is not None:
        written = prediction.classes or classes.read_back()
        automatic = study.read_labels(prediction.path, subject.id, grid, written, check_size=prediction.fold is None)
    records = []
    for name in classes.names:
        raters = {rater: classes.mask(parts, name) for rater, parts in masks.raters.items()}
        records.append(
            SubjectMasks(
                subject=subject.id,
                cohort=subject.cohort,
                location=subject.location,
                side=subject.side,
                fold=None if prediction is None else prediction.fold,
                spacing_mm=grid.ras_spacing_mm,
                raters=raters,
                consensus=class_consensus(raters, agreed, classes, name, rule),
                automatic=None if automatic is None else classes.mask(automatic, name),
                consensus_without=leave_one_out(raters, rule),
                group=subject.group,
                structure=name,
            )
        )
    return records


def bundle_scores(scores: pd.DataFrame, result_classes: Collection[str] = ()) -> list[TestScore]:
    """Compute the mean Dice of subjects per cohort, of each over its classes, for a model's description.

    `result_classes` are the classes whose masks are results of the model, if not all.
    """
    from nerveseg.inference.bundle import TestScore  # imports torch, which takes seconds

    own = scores[scores[CLASS].isin(result_classes)] if result_classes else scores
    cohorts = subject_dice(own).groupby("cohort", sort=True)["value"]
    return [
        TestScore(cohort=str(cohort), n=len(values), dice=None if values.isna().all() else float(values.mean()))
        for cohort, values in cohorts
    ]


def measure_subjects(
    study: Study, predictions: Mapping[str, PredictedMask], consensus: Callable[[str], LabelMap] | None = None
) -> Measurements:
    """Measure every subject of a study, with its mask in `predictions` if it has one.

    `consensus` returns the stored consensus of a subject; by default it is computed.
    """
    scores, quantities, slices, times = [], [], [], []
    legs: list[pd.DataFrame] = []
    for subject in track_progress(study.subjects, "comparing"):
        prediction = predictions.get(subject.id)
        halves = both_legs(study, subject)
        for masks in load_masks(study, subject, consensus(subject.id) if consensus else None, prediction):
            scores.append(score_subject(masks, list(study.description.raters)))
            legs += leg_scores(masks, halves, list(study.description.raters))
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
        legs=pd.concat(legs, ignore_index=True) if legs else pd.DataFrame(columns=list(SCORE_COLUMNS)),
        repeats={subject.id: (subject.repeat_of, subject.id) for subject in study.subjects if subject.repeat_of},
    )


def _times(subject: Subject, prediction: PredictedMask | None) -> pd.DataFrame:
    minutes = dict(subject.minutes)
    if prediction is not None and prediction.seconds is not None:
        minutes[AUTOMATIC] = prediction.seconds / 60
    rows = [(subject.id, subject.cohort, source, value) for source, value in minutes.items()]
    return pd.DataFrame(rows, columns=list(TIME_COLUMNS))
