"""What a fold and an evaluation show on dashboards, and on which: files that lie on disk, nothing drawn again.

Where subjects' ids are hashed, figures and pages that have ids written into them stay on the machine.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning.utilities import rank_zero_only

from nerveseg.dashboards.base import Dashboard, Dashboards, JobType, RunLabel
from nerveseg.dashboards.mlflow_dashboard import MlflowDashboard
from nerveseg.dashboards.privacy import subject_names, without_paths
from nerveseg.dashboards.tensorboard_dashboard import TensorboardDashboard
from nerveseg.dashboards.wandb_dashboard import WandbDashboard
from nerveseg.data.slice_store import SliceStore
from nerveseg.evaluation.comparisons import AUTOMATIC_CONSENSUS, RATER_RATER, rater_pairs, read_scores
from nerveseg.inference.bundle import load_bundle, renamed_bundle
from nerveseg.launch.compose import parse_section
from nerveseg.runs import FoldFolder, find_folds
from nerveseg.workflows.config import LoggerOptions
from nerveseg.workflows.score_subjects import automatic_dice

TABLES = ("table1", "tests", "scores", "quantities", "agreement", "locations")
"""Of the evaluation's folder."""

NAMELESS_FIGURES = ("agreement", "comparison", "locations", "training")
"""Figures that name no subject."""

LONGEST_NAME = 128
"""Of runs and groups, in characters; W&B takes no longer ones."""

CAPTION = "blue: consensus, green: automatic"
_PICTURE = re.compile(r'src="([^":]+\.png)"')


def open_dashboards(
    config: dict[str, Any], store: SliceStore, folder: Path, job_type: JobType, tags: Iterable[str] = ()
) -> Dashboards:
    """The dashboards that a configuration asks for; only the first process of a training has any.

    Args:
        config: Of the run.
        store: The study's slices.
        folder: Of the fold or the evaluation, inside the cross-validation's.
        job_type: What the run does.
        tags: Beside the experiment's and the study's names.

    Raises:
        ConfigurationError: An option is unknown, or a package that it needs is missing.
    """
    options = parse_section(LoggerOptions, config.get("logger", {}), "logger")
    names = subject_names(options.subject_ids, (subject.sha256 for subject in store.index.subjects))
    if getattr(rank_zero_only, "rank", 0) != 0:
        return Dashboards((), names)
    root, place = Path(config["output_root"]).resolve(), folder.resolve()
    group = (place.relative_to(root) if place.is_relative_to(root) else Path(place.parent.name, place.name)).parent
    synthetic = ["synthetic"] if config["study"].get("synthetic") else []
    label = RunLabel(
        project=options.wandb.project if options.wandb else "nerveseg",
        group=shortened(group.as_posix()),
        name=shortened(f"{group.as_posix()}/{folder.name}"),
        job_type=job_type,
        tags=(config.get("name", group.name), store.index.study, *synthetic, *tags),
        config=without_paths(config if job_type == "train" else config | {"fold": None}),
        data=store.key,
        study=store.index.study,
    )
    return Dashboards(_opened(options, label, folder, root), names)


def shortened(name: str) -> str:
    """A name of at most `LONGEST_NAME` characters: its beginning, a hash of the whole and its end."""
    if len(name) <= LONGEST_NAME:
        return name
    middle = f"~{hashlib.sha256(name.encode()).hexdigest()[:8]}~"
    end = name[-16:]
    return name[: LONGEST_NAME - len(middle) - len(end)] + middle + end


def _opened(options: LoggerOptions, label: RunLabel, folder: Path, output_root: Path) -> list[Dashboard]:
    opened: list[Dashboard] = []
    if options.wandb and options.wandb.mode != "disabled":
        opened.append(WandbDashboard(label, folder, options.wandb.mode))
    if options.tensorboard and options.tensorboard.enabled:
        opened.append(TensorboardDashboard(label, folder))
    if options.mlflow:
        opened.append(MlflowDashboard(label, folder, options.mlflow.uri, options.mlflow.experiment, output_root))
    return opened


def log_test(dashboards: Dashboards, folder: FoldFolder, scores: pd.DataFrame, raters: Sequence[str]) -> None:
    """Show what came of a fold: the test subjects' scores and pictures, and the model.

    Args:
        dashboards: Where.
        folder: Of the fold; its bundle and pictures are there.
        scores: Tidy, of the test subjects.
        raters: Of the study.
    """
    dashboards.log_table("test/scores", _by_pair(scores))
    for subject in scores["subject"].unique():
        dashboards.log_picture(f"test/overlay/sub-{dashboards.names(subject)}", folder.overlay(subject), CAPTION)
    dashboards.summarize(mean_dice(scores, raters))
    _log_model(dashboards, folder.model)


def log_validation(dashboards: Dashboards, scores: pd.DataFrame) -> None:
    """Show the scores by which settings are chosen: of the subjects held out of the training sets.

    Args:
        dashboards: Where.
        scores: Tidy, of the validation subjects.
    """
    dashboards.log_table("validation/scores", _by_pair(scores))
    dice = automatic_dice(scores)
    means = {f"/{cohort}": values.mean() for cohort, values in dice.groupby("cohort")["value"]}
    dashboards.summarize(
        {f"validation/dice{of}": float(mean) for of, mean in ({"": dice["value"].mean()} | means).items()}
    )


def _by_pair(scores: pd.DataFrame) -> pd.DataFrame:
    """A row for each pair of masks that was compared, a column for each metric that has a value."""
    pair = ["subject", "cohort", "comparison"]
    wide = scores.pivot(index=pair, columns="metric", values="value")[scores["metric"].unique()]
    in_order = pd.MultiIndex.from_frame(scores[pair].drop_duplicates())
    return wide.reindex(in_order).reset_index().dropna(how="all", axis=1)


def mean_dice(scores: pd.DataFrame, raters: Sequence[str]) -> dict[str, float]:
    """Mean Dice per cohort of the automatic mask against the consensus, and of all pairs of raters; by name."""
    dice = scores[scores["metric"] == "dice"]
    compared = {AUTOMATIC_CONSENSUS: [AUTOMATIC_CONSENSUS], RATER_RATER: rater_pairs(list(raters))}
    return {
        f"{name}/dice/{cohort}": float(value)
        for name, comparisons in compared.items()
        for cohort, value in dice[dice["comparison"].isin(comparisons)].groupby("cohort")["value"].mean().items()
    }


def _log_model(dashboards: Dashboards, bundle: Path) -> None:
    if not dashboards.each:
        return
    said = load_bundle(bundle).description
    facts = {
        "weights_sha256": said.weights_sha256,
        "study": said.training.study,
        "fold": said.training.fold,
        "dice": {score.cohort: score.dice for score in said.scores},
    }
    with tempfile.TemporaryDirectory() as place:
        shown = bundle
        if dashboards.names.are_hidden:
            shown = Path(place) / "model"
            renamed_bundle(bundle, shown, dashboards.names)
        dashboards.log_model(shown, facts)


def log_evaluation(cross_validation: Path, config: dict[str, Any], store: SliceStore) -> None:
    """Show the evaluation of a cross-validation where its own configuration says.

    Args:
        cross_validation: Folder of the folds and their `evaluation/`.
        config: Of the folds.
        store: The study's slices.
    """
    folder = cross_validation / "evaluation"
    with open_dashboards(config, store, folder, "evaluate") as dashboards:
        if not dashboards.each:
            return
        tables = {
            name: pd.read_csv(folder / f"{name}.csv", dtype={"subject": str, "cohort": str})
            for name in TABLES
            if (folder / f"{name}.csv").is_file()
        }
        for name, table in tables.items():
            dashboards.log_table(f"evaluation/{name}", table)
        for path in sorted((folder / "figures").glob("*.png")):
            if path.stem in NAMELESS_FIGURES or not dashboards.names.are_hidden:
                dashboards.log_picture(f"figures/{path.stem}", path)
        report = folder / "report.html"
        if report.is_file() and not dashboards.names.are_hidden:
            dashboards.log_page("report", in_one_piece(report))
        held_out = [fold.validation_scores for fold in find_folds(cross_validation) if fold.is_complete]
        validated = [read_scores(file) for file in held_out if file.is_file()]
        if validated:
            log_validation(dashboards, pd.concat(validated, ignore_index=True))
        dashboards.summarize(
            {
                f"{row['comparison']}/dice/{row['cohort']}": float(row["dice_mean"])
                for row in tables["table1"].dropna(subset=["dice_mean"]).to_dict("records")
                if row["comparison"] in (AUTOMATIC_CONSENSUS, RATER_RATER)
            }
        )


def in_one_piece(page: Path) -> str:
    """A page with its pictures inside; its links to other pages lead nowhere."""

    def inside(match: re.Match[str]) -> str:
        picture = page.parent / match[1]
        if not picture.is_file():
            return match[0]
        return f'src="data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"'

    return _PICTURE.sub(inside, page.read_text(encoding="utf-8"))
