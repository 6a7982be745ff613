"""Test a model that learnt from made samples on all scans of the study that judges it; calibrate its expected Dice.

The network saw none of the study's subjects, so that one model is tested on the test subjects of all folds. The folds
only say which scans are left out together where the expected Dice is tested.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from nerveseg.dashboards.publish import Dashboards
from nerveseg.evaluation.comparisons import read_scores
from nerveseg.inference.bundle import add_scores, read_description
from nerveseg.inference.expected_dice import read_calibrations, write_calibrations
from nerveseg.training.devices import choose_device
from nerveseg.workflows.calibrate import calibrate_folds
from nerveseg.workflows.config import TrainConfig
from nerveseg.workflows.job import Job
from nerveseg.workflows.prepare_study import load_fold
from nerveseg.workflows.score_subjects import bundle_scores
from nerveseg.workflows.test_fold import evaluate_fold
from nerveseg.workflows.training_job import training_job


def measure_packaged(model: Path, config: TrainConfig, values: Mapping[str, Any]) -> pd.DataFrame:
    """Write scores and calibration into a model's folder; return the scores of all scans, as of `scores.csv`.

    Args:
        model: Folder of the bundle.
        config: Configuration of its training.
        values: The same in plain types.
    """
    with TemporaryDirectory(prefix="nerveseg-") as place:
        folders = []
        for fold in range(config.folds.count):
            own = config.model_copy(update={"fold": fold})
            elsewhere = own.model_copy(update={"output_root": Path(place)})
            job = training_job(Job(elsewhere, dict(values)))
            shutil.copytree(model, job.folder.model)
            evaluate_fold(job, load_fold(training_job(Job(own, dict(values)))), choose_device("cpu"), Dashboards())
            folders.append(job.folder)
        scores = pd.concat([read_scores(folder.scores) for folder in folders], ignore_index=True)
        calibrate_folds(folders, config.study.name)
        if calibrations := read_calibrations(folders[0].model):
            write_calibrations(model, calibrations.model_copy(update={"sources": {}}))  # tables that are not kept
        description = read_description(folders[0].model)
        means = bundle_scores(scores, description.result_classes)
        add_scores(model, means, description.computation, _scored(config))
    return scores


def _scored(config: TrainConfig) -> str:
    """Return what the scores are of, for the card."""
    study = config.study
    is_truth = study.synthetic and len(study.raters) == 1
    reference = "simulated truth" if is_truth else "consensus of its raters"
    return f"every scan of the {'SYNTHETIC ' if study.synthetic else ''}study {study.name}, against the {reference}"
