"""Log the results of a run (tables, images, a page, the model) to every logger that can show them.

Results that a logger cannot show are left out: TensorBoard shows no pages, and loggers other than those of W&B, MLflow
and TensorBoard get tables and images only, if they have `log_table` and `log_image`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import Logger

from nerveseg.dashboards.loggers import close_logger, last_logged_step
from nerveseg.dashboards.privacy import SubjectNames
from nerveseg.training.checkpointed_loggers import CheckpointedLogger


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
    """Log the bundle's files as files of the run, and an artifact that refers to them by the hash of the weights.

    An artifact that held the files would upload their paths on this machine.
    """
    import wandb

    shutil.copytree(folder, Path(run.dir) / "model", dirs_exist_ok=True)
    run.save(str(Path(run.dir) / "model" / "*"), base_path=run.dir, policy="now")
    artifact = wandb.Artifact(f"model-{run.id}", "model", metadata=dict(facts))
    artifact.add_reference(f"nerveseg:model/{facts['weights_sha256']}", name="sha256", checksum=False)
    run.log_artifact(artifact)
