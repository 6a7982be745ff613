"""The test of a trained fold: masks of the held-out subjects through the bundle, their scores, a picture of each."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from rich.console import Console

from nerveseg.data.folds import Fold
from nerveseg.data.slices import SliceStore
from nerveseg.data.study import Study, Subject
from nerveseg.data.volumes import read_image, read_mask
from nerveseg.evaluation.comparisons import AUTOMATIC, CONSENSUS, compare, write_scores
from nerveseg.inference.bundle import add_scores, load_bundle
from nerveseg.inference.predictor import MaskWriter, Scan, predict_scans
from nerveseg.launch.scoring import Prediction, automatic_dice, bundle_scores, load_masks
from nerveseg.launch.settings import TrainingJob
from nerveseg.notices import header_notice
from nerveseg.reporting.overlay import best_slice, overlay, save_png
from nerveseg.runs import write_text
from nerveseg.training.devices import Device
from nerveseg.training.progress import FoldProgress


def judge_fold(
    job: TrainingJob, study: Study, fold: Fold, store: SliceStore, device: Device, wandb_run: Any, console: Console
) -> None:
    """Predict and score the test subjects of a fold whose bundle is written.

    Args:
        job: The fold's job.
        study: Its study.
        fold: Its subjects.
        store: Holds the consensus masks.
        device: What to compute on.
        wandb_run: Gets the scores and pictures; None where W&B is disabled.
        console: Told the result.
    """
    predict_subjects(job, study, fold, device, console)
    scores = pd.concat(
        [
            compare(
                load_masks(
                    study,
                    subject,
                    store.consensus(subject.id),
                    Prediction(job.folder.prediction(subject.id), fold.number),
                ),
                list(study.description.raters),
            )
            for subject in fold.test
        ],
        ignore_index=True,
    )
    for subject in fold.test:
        draw_overlay(job, study, subject, store)
    add_scores(job.folder.model, bundle_scores(scores))
    if wandb_run is not None:
        _report_to_wandb(wandb_run, job, fold, scores)
    write_scores(job.folder.scores, scores)
    means = automatic_dice(scores).groupby("cohort")["value"].mean()
    console.print(
        f"{job.title}: mean test Dice " + ", ".join(f"{cohort} {value:.3f}" for cohort, value in means.items()),
        highlight=False,
    )


def predict_subjects(job: TrainingJob, study: Study, fold: Fold, device: Device, console: Console) -> None:
    """Write the mask of every test subject, made by the fold's bundle, and how long each took."""
    bundle = load_bundle(job.folder.model)
    scans = [
        Scan(subject.id, subject.images, job.folder.prediction(subject.id), study.description.geometry)
        for subject in fold.test
    ]
    writer = MaskWriter(header_notice(bundle.description.training.synthetic))
    trainer = pl.Trainer(
        accelerator=device.accelerator,
        devices=1,
        precision=device.precision,
        logger=False,
        callbacks=[writer, FoldProgress(console, job.title)],
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=job.folder.path,
    )
    predict_scans(bundle, scans, trainer, job.config["trainer"]["slices_per_batch"])
    write_text(job.folder.seconds, json.dumps(writer.seconds, indent=1) + "\n")


def draw_overlay(job: TrainingJob, study: Study, subject: Subject, store: SliceStore) -> None:
    """Picture of the slice with most nerve: the consensus and the automatic mask on the image."""
    volume = read_image(subject.image, subject.id, study.description.geometry)
    consensus = store.consensus(subject.id)
    automatic = read_mask(
        job.folder.prediction(subject.id), volume.grid, subject.id, geometry=study.description.geometry
    )
    index = best_slice(consensus, automatic)
    contours = {CONSENSUS: consensus[..., index], AUTOMATIC: automatic[..., index]}
    save_png(job.folder.overlay(subject.id), overlay(volume.array[..., index], contours))


def _report_to_wandb(wandb_run: Any, job: TrainingJob, fold: Fold, scores: pd.DataFrame) -> None:
    import wandb

    wide = scores.pivot_table(
        index=["subject", "cohort", "comparison"], columns="metric", values="value", sort=False, dropna=False
    )
    pictures = {
        f"test/overlay/sub-{subject.id}": wandb.Image(
            str(job.folder.overlay(subject.id)), caption="blue: consensus, green: automatic"
        )
        for subject in fold.test
    }
    wandb_run.log({"test/scores": wandb.Table(dataframe=wide.reset_index().dropna(how="all", axis=1)), **pictures})
    for cohort, value in automatic_dice(scores).groupby("cohort")["value"].mean().items():
        wandb_run.summary[f"test/dice/{cohort}"] = float(value)
