"""Log the results of a fold and of an evaluation, from their files, to every logger of a run that can show them.

If subjects' ids are hashed, figures and pages that contain ids are not logged. TensorBoard shows no pages; loggers
other than those of W&B, MLflow and TensorBoard get tables and images only, if they have `log_table` and `log_image`.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from nerveseg.dashboards.loggers import JobType, RunLabel, close_logger, last_logged_step, open_logger
from nerveseg.dashboards.privacy import SubjectNames, subject_names, without_paths
from nerveseg.data.slice_store import SliceStore
from nerveseg.data.study_layout import says_synthetic
from nerveseg.evaluation.comparisons import (
    AUTOMATIC_CONSENSUS,
    CLASS,
    RATER_RATER,
    automatic_dice,
    classes_of,
    read_scores,
)
from nerveseg.evaluation.tables.table1 import table1
from nerveseg.files import writing_below
from nerveseg.inference.bundle import read_description, renamed_bundle
from nerveseg.runs import FoldFolder, find_folds
from nerveseg.training.checkpointed_loggers import CheckpointedLogger

TABLES = (
    "table1",
    "tests",
    "scores",
    "quantities",
    "agreement",
    "locations",
    "sides",
)  # names of the evaluation's tables
NAMELESS_FIGURES = ("agreement", "comparison", "expected_dice", "locations", "training")  # without subjects' ids
LONGEST_NAME = 128  # longest name of a run or group that W&B takes, in characters
CAPTION = "blue: consensus, green: automatic"
_IMAGE = re.compile(r'src="([^":]+\.png)"')


@dataclass(frozen=True)
class Dashboards:
    """Loggers of a run; may be empty. As a context manager it ends the run, as failed on an exception."""

    each: Sequence[Logger] = ()
    names: SubjectNames = field(default_factory=SubjectNames)

    def __enter__(self) -> Dashboards:
        return self

    def __exit__(self, error: type[BaseException] | None, *details: object) -> None:
        for logger in self.each:
            close_logger(logger, failed=error is not None)

    @property
    def loggers(self) -> list[Logger]:
        """Loggers for a trainer, whose values are committed with checkpoints."""
        return [CheckpointedLogger(logger, last_logged_step(logger)) for logger in self.each]

    def log_table(self, name: str, table: pd.DataFrame) -> None:
        """Log a tidy table, with the subjects' names replaced if they are hashed."""
        renamed = self.names.of_table(table)
        for logger in self.each:
            if isinstance(logger, WandbLogger):
                _log_wandb_table(logger.experiment, name, renamed)
            elif isinstance(logger, MLFlowLogger):
                logger.experiment.log_text(str(logger.run_id), renamed.to_csv(index=False), f"{name}.csv")
            elif isinstance(logger, TensorBoardLogger):
                rows = [list(renamed.columns), ["---"] * len(renamed.columns), *renamed.to_numpy(object).tolist()]
                lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
                logger.experiment.add_text(name, "\n".join(lines))
            elif hasattr(logger, "log_table"):
                logger.log_table(name, dataframe=renamed)

    def log_image(self, name: str, path: Path, caption: str = "") -> None:
        """Log a PNG file in which no subject's id is drawn; its path is not logged."""
        with Image.open(path) as file:
            image = file.convert("RGB")
        for logger in self.each:
            if isinstance(logger, MLFlowLogger):
                logger.experiment.log_image(str(logger.run_id), image, f"{name}.png")
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(name, np.asarray(image), dataformats="HWC")
            elif hasattr(logger, "log_image"):
                logger.log_image(name, [image], caption=[caption or None])

    def log_page(self, name: str, html: str) -> None:
        """Log an HTML page that needs no other file and holds no subject's id."""
        for logger in self.each:
            if isinstance(logger, WandbLogger):
                import wandb

                logger.experiment.log({name: wandb.Html(html, inject=False)})
            elif isinstance(logger, MLFlowLogger):
                logger.experiment.log_text(str(logger.run_id), html, f"{name}.html")

    def log_model(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Log a bundle in which subjects are named as they may be; among the facts, `weights_sha256` identifies it."""
        for logger in self.each:
            if isinstance(logger, WandbLogger):
                _log_wandb_model(logger.experiment, folder, facts)
            elif isinstance(logger, MLFlowLogger):
                logger.experiment.log_artifacts(str(logger.run_id), str(folder), "model")

    def summarize(self, values: Mapping[str, float]) -> None:
        """Log the values by which runs are compared."""
        for logger in self.each:
            if isinstance(logger, WandbLogger):
                logger.experiment.summary.update(dict(values))
            else:
                logger.log_metrics(dict(values), 0)


def _log_wandb_table(run: Any, name: str, table: pd.DataFrame) -> None:
    """Log a table as a file of the run; `run.log` of the table would upload an artifact with its path."""
    import wandb

    media: Any = wandb.Table(dataframe=table)
    media.bind_to_run(run, name, run.step)
    run.log({name: media.to_json(run)})


def _log_wandb_model(run: Any, folder: Path, facts: Mapping[str, Any]) -> None:
    """Log the bundle's files and an artifact that refers to them by hash; one with files would upload their paths."""
    import wandb

    shutil.copytree(folder, Path(run.dir) / "model", dirs_exist_ok=True)
    run.save(str(Path(run.dir) / "model" / "*"), base_path=run.dir, policy="now")
    artifact = wandb.Artifact(f"model-{run.id}", "model", metadata=dict(facts))
    artifact.add_reference(f"nerveseg:model/{facts['weights_sha256']}", name="sha256", checksum=False)
    run.log_artifact(artifact)


def open_dashboards(
    config: Mapping[str, Any], store: SliceStore, folder: Path, job_type: JobType, tags: Iterable[str] = ()
) -> Dashboards:
    """Open the loggers of a configuration; only the first process of a training has any.

    In the configuration, in plain types, `logger` maps a name to a section with `_target_`, beside `subject_ids`. The
    folder is that of a fold or the evaluation, inside the cross-validation's. Experiment and study are tags anyway.

    Raises:
        ConfigurationError: A logger cannot be opened.
    """
    sections = dict(config.get("logger") or {})
    hashes = (subject.sha256 for subject in store.index.subjects)
    names = subject_names(sections.pop("subject_ids", "plain"), hashes)
    if getattr(rank_zero_only, "rank", 0) != 0:
        return Dashboards((), names)
    root, path = Path(config["output_root"]).resolve(), folder.resolve()
    group = (path.relative_to(root) if path.is_relative_to(root) else Path(path.parent.name, path.name)).parent
    study = config["study"]
    synthetic = ["synthetic"] if study.get("synthetic") or says_synthetic(Path(study["root"])) else []
    logged = {key: value for key, value in config.items() if job_type == "train" or key != "fold"}
    label = RunLabel(
        group=shortened(group.as_posix()),
        name=shortened(f"{group.as_posix()}/{folder.name}"),
        job_type=job_type,
        tags=(config.get("name", group.name), store.index.study, *synthetic, *tags),
        config={**without_paths(logged), "data": store.key},
    )
    plugins = config.get("plugins") or ()
    return Dashboards(
        [open_logger(name, section, label, folder, root, plugins) for name, section in sections.items()], names
    )


def shortened(name: str) -> str:
    """Shorten a name to `LONGEST_NAME` characters: its beginning, a hash of the whole and its end."""
    if len(name) <= LONGEST_NAME:
        return name
    middle = f"~{hashlib.sha256(name.encode()).hexdigest()[:8]}~"
    end = name[-16:]
    return name[: LONGEST_NAME - len(middle) - len(end)] + middle + end


def log_test(dashboards: Dashboards, folder: FoldFolder, scores: pd.DataFrame, raters: Sequence[str]) -> None:
    """Log a fold's results from its folder: scores (tidy) and images of its test subjects, and its model."""
    dashboards.log_table("test/scores", _by_pair(scores))
    for subject in scores["subject"].unique():
        dashboards.log_image(f"test/overlay/sub-{dashboards.names(subject)}", folder.overlay(subject), CAPTION)
    means: dict[str, float] = {}
    for prefix, own in _by_class(scores, "test"):
        means |= mean_dice(table1(own, raters), prefix)
    dashboards.summarize(means)
    _log_model(dashboards, folder.model)


def log_validation(dashboards: Dashboards, scores: pd.DataFrame) -> None:
    """Log the scores (tidy) by which settings are chosen: of the subjects held out of the training sets."""
    dashboards.log_table("validation/scores", _by_pair(scores))
    dice = automatic_dice(scores)
    over_classes = dice.groupby(["fold", "subject", "cohort"], sort=False)["value"].mean()
    means = {"validation/dice": float(over_classes.mean())}
    for cohort, values in over_classes.groupby(level="cohort"):
        means[f"validation/dice/{cohort}"] = float(values.mean())
    for prefix, own in _by_class(dice, "validation"):
        if prefix:
            means[f"{prefix}dice"] = float(own["value"].mean())
    dashboards.summarize(means)


def _by_class(table: pd.DataFrame, stage: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows of each class after the prefix of their names: "<stage>/<class>/", empty for a single class."""
    names = classes_of(table)
    for name in names:
        yield (f"{stage}/{name}/" if len(names) > 1 else ""), table[table[CLASS] == name]


def _by_pair(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each pair of masks that was compared, a column for each metric that has a value."""
    several = [CLASS] if len(classes_of(scores)) > 1 else []
    pair = ["subject", "cohort", *several, "comparison"]
    wide = scores.pivot(index=pair, columns="metric", values="value")[scores["metric"].unique()]
    in_order = pd.MultiIndex.from_frame(scores[pair].drop_duplicates())
    return wide.reindex(in_order).reset_index().dropna(how="all", axis=1)


def mean_dice(table1: pd.DataFrame, prefix: str = "") -> dict[str, float]:
    """Return mean Dice per cohort by name: of the automatic mask against the consensus, and of all pairs of raters."""
    rows = table1[table1["comparison"].isin([AUTOMATIC_CONSENSUS, RATER_RATER])].dropna(subset=["dice_mean"])
    return {
        f"{prefix}{row['comparison']}/dice/{row['cohort']}": float(row["dice_mean"]) for row in rows.to_dict("records")
    }


def _log_model(dashboards: Dashboards, bundle: Path) -> None:
    if not dashboards.each:
        return
    description = read_description(bundle)
    facts = {
        "weights_sha256": description.weights_sha256,
        "study": description.training.study,
        "fold": description.training.fold,
        "dice": {score.cohort: score.dice for score in description.scores},
    }
    with tempfile.TemporaryDirectory() as temporary:
        uploaded = bundle
        if dashboards.names.are_hidden:
            uploaded = Path(temporary) / "model"
            with writing_below(Path(temporary)):  # within the training, whose writes are confined to the fold
                renamed_bundle(bundle, uploaded, dashboards.names)
        dashboards.log_model(uploaded, facts)


def log_evaluation(cross_validation: Path, config: Mapping[str, Any], store: SliceStore) -> None:
    """Log the evaluation of a cross-validation, from its folder, to the loggers of its own configuration."""
    folder = cross_validation / "evaluation"
    with open_dashboards(config, store, folder, "evaluate") as dashboards:
        if not dashboards.each:
            return
        for name in TABLES:
            if (folder / f"{name}.csv").is_file():
                table = pd.read_csv(folder / f"{name}.csv", dtype={"subject": str, "cohort": str})
                dashboards.log_table(f"evaluation/{name}", table)
        for path in sorted((folder / "figures").rglob("*.png")):
            if path.stem in NAMELESS_FIGURES or not dashboards.names.are_hidden:
                dashboards.log_image(path.relative_to(folder).with_suffix("").as_posix(), path)
        for report in [] if dashboards.names.are_hidden else sorted(folder.glob("report*.html")):
            dashboards.log_page(report.stem, in_one_piece(report))
        held_out = [fold.validation_scores for fold in find_folds(cross_validation) if fold.is_complete]
        validated = [read_scores(file) for file in held_out if file.is_file()]
        if validated:
            log_validation(dashboards, pd.concat(validated, ignore_index=True))
        for prefix, own in _by_class(pd.read_csv(folder / "table1.csv", dtype={"cohort": str, CLASS: str}), "test"):
            dashboards.summarize(mean_dice(own, prefix))


def in_one_piece(page: Path) -> str:
    """Return a page with its images embedded; its links to other pages lead nowhere."""

    def embed(match: re.Match[str]) -> str:
        image = page.parent / match[1]
        if not image.is_file():
            return match[0]
        return f'src="data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}"'

    return _IMAGE.sub(embed, page.read_text(encoding="utf-8"))
