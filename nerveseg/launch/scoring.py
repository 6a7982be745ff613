"""Scores of one subject of a study: its raters, their consensus, and the automatic mask where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nerveseg.data.study import Study, Subject
from nerveseg.data.volumes import read_mask
from nerveseg.evaluation.comparisons import SubjectMasks, compare
from nerveseg.inference.bundle import TestScore
from nerveseg.types import Mask


def score_subject(
    study: Study,
    subject: Subject,
    consensus: Mask | None = None,
    prediction: Path | None = None,
    fold: int | None = None,
) -> pd.DataFrame:
    """Score every comparison that a subject's masks allow.

    Args:
        study: The subject's study.
        subject: The subject.
        consensus: In RAS order; by default it is made from the raters' masks.
        prediction: File of the automatic mask.
        fold: The fold that the automatic mask comes from.

    Returns:
        Rows as of `scores.csv`.

    Raises:
        VolumeError: A mask cannot be read.
        GeometryError: A mask does not lie on its image's grid.
    """
    grid = study.grid(subject)
    masks = study.read_masks(subject, grid)
    automatic = (
        None if prediction is None else read_mask(prediction, grid, subject.id, geometry=study.description.geometry)
    )
    return compare(
        SubjectMasks(
            subject=subject.id,
            cohort=subject.cohort,
            location=subject.location,
            side=subject.side,
            fold=fold,
            spacing_mm=grid.ras_spacing_mm,
            raters=masks.raters,
            consensus=masks.consensus if consensus is None else consensus,
            automatic=automatic,
        )
    )


def automatic_dice(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of the automatic mask's Dice against the consensus."""
    return scores[(scores["comparison"] == "Auto-GT") & (scores["metric"] == "dice")]


def bundle_scores(scores: pd.DataFrame) -> list[TestScore]:
    """Mean Dice against the consensus, per cohort, for a model's description."""
    cohorts = automatic_dice(scores).groupby("cohort", sort=True)["value"]
    return [
        TestScore(cohort=str(cohort), n=len(values), dice=None if values.isna().all() else float(values.mean()))
        for cohort, values in cohorts
    ]


def rater_names(study: Study) -> Sequence[str]:
    """The raters in the study's order."""
    return list(study.description.raters)
