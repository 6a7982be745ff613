"""What a run logs, and where: a CSV file always, W&B offline unless told otherwise (no account, no network, no prompt).

One W&B run per fold, grouped by sweep. Values are committed to the CSV file when a checkpoint is written, so that a
resumed run neither doubles nor loses a step.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from nerveseg.errors import ConfigurationError
from nerveseg.runs import write_text

WandbMode = Literal["offline", "online", "disabled"]


class MetricsFile(Logger):
    """`metrics.csv`: one row per logged step, its columns in order of appearance after `step`.

    Args:
        path: The file; rows that it already has are kept up to the step at which logging goes on.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._rows: list[dict[str, float | int | str]] = []
        self._earlier_rows_read = not path.is_file()
        self._due = False

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.stem

    @property
    def version(self) -> str:
        """There is one per run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Configurations are in `config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Remember one row; values of the same step share it."""
        step = step or 0
        if self._due and self._rows and self._rows[-1]["step"] != step:
            self.commit()
        if not self._earlier_rows_read:
            self._rows = [row for row in read_metrics(self.path) if int(row["step"]) < step]
            self._earlier_rows_read = True
        if not self._rows or self._rows[-1]["step"] != step:
            self._rows.append({"step": step})
        self._rows[-1].update(metrics)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Commit now, and again when the next step begins: an epoch's own values are logged behind its checkpoint."""
        self.commit()
        self._due = True

    @rank_zero_only
    def save(self) -> None:
        """Nothing: Lightning asks for it at every step, but values are committed with a checkpoint."""

    @rank_zero_only
    def commit(self) -> None:
        """Write the file in one piece; before the first value there is nothing to add to it."""
        self._due = False
        if not self._rows:
            return
        columns = list(dict.fromkeys(column for row in self._rows for column in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path, text.getvalue())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Commit the rest of a run that ended well; of another, what belongs to its last checkpoint."""
        if status == "success" or self._due:
            self.commit()


def read_metrics(path: Path) -> list[dict[str, float | int | str]]:
    """Rows of a `metrics.csv`; empty cells are left out."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]
    return [row | {"step": int(row["step"])} for row in rows]


def wandb_logger(
    mode: str, project: str, group: str, name: str, folder: Path, config: dict[str, Any]
) -> WandbLogger | None:
    """A W&B run of job type `train` for Lightning; None where it is disabled.

    Args:
        mode: A `WandbMode`; offline writes files that `wandb sync` uploads later.
        project: W&B project.
        group: The sweep.
        name: The fold.
        folder: Where W&B keeps its files.
        config: The resolved configuration in plain types.

    Raises:
        ConfigurationError: The mode is unknown.
    """
    run = start_wandb_run(mode, project, group, name, folder, config, "train")
    if run is None:
        return None
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(experiment=run)


def start_wandb_run(
    mode: str, project: str, group: str, name: str, folder: Path, config: dict[str, Any], job_type: str
) -> Any:
    """A W&B run; None where it is disabled. The same folder is the same run.

    Args:
        mode: A `WandbMode`; offline writes files that `wandb sync` uploads later.
        project: W&B project.
        group: The sweep.
        name: Of the run.
        folder: Where W&B keeps its files.
        config: The resolved configuration in plain types.
        job_type: train or evaluate.

    Raises:
        ConfigurationError: The mode is unknown.
    """
    if mode not in ("offline", "online", "disabled"):
        raise ConfigurationError("logger.wandb.mode is offline, online or disabled", found=mode, remedy="mode=offline")
    if mode == "disabled":
        return None
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(console="off", silent=True, disable_git=True, save_code=False, x_disable_stats=True)
    return wandb.init(
        id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12],
        project=project,
        group=group,
        name=name,
        job_type=job_type,
        dir=folder,
        mode="offline" if mode == "offline" else "online",
        config=config,
        settings=settings,
        reinit="finish_previous",
    )
