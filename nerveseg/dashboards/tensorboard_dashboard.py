"""A run as TensorBoard's event files: on this machine alone, nothing is uploaded.

Like W&B's offline file, an event file cannot be rewound: a process that goes on begins anew with the whole history.
TensorBoard puts the machine's name into the file's name; when the run ends, it is taken out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from nerveseg.dashboards.base import Dashboard, RunLabel
from nerveseg.errors import ConfigurationError

FOLDER = "tensorboard"


class TensorboardDashboard(Dashboard):
    """A run in TensorBoard.

    Args:
        label: How the run is found.
        folder: The run's own; event files lie in `tensorboard/`.

    Raises:
        ConfigurationError: TensorBoard is not installed.
    """

    def __init__(self, label: RunLabel, folder: Path) -> None:
        super().__init__(label, folder)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigurationError(
                "logger=tensorboard needs the package tensorboard",
                found="not installed",
                remedy="pip install 'nerveseg[tensorboard]', or logger=csv",
            ) from error
        self.path = folder / FOLDER
        shutil.rmtree(self.path, ignore_errors=True)
        self._writer: Any = SummaryWriter(str(self.path))
        self._text("run", {"job": label.job_type, "tags": label.tags, "data": label.data, "config": label.config})

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Values of one step."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def save(self) -> None:
        """Put what was logged on the disk."""
        self._writer.flush()

    def log_table(self, name: str, table: pd.DataFrame) -> None:
        """The table as text."""
        rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy(object).tolist()]
        self._writer.add_text(name, "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows))

    def log_picture(self, name: str, path: Path, caption: str = "") -> None:
        """A picture; there is no place for a caption."""
        with Image.open(path) as picture:
            self._writer.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")

    def log_page(self, name: str, html: str) -> None:
        """Nothing: TensorBoard shows no pages."""

    def log_model(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """What is known of the model; it lies beside."""
        self._text("model", facts)

    def summarize(self, values: Mapping[str, float]) -> None:
        """Values without a step."""
        for name, value in values.items():
            self._writer.add_scalar(f"summary/{name}", value, 0)

    def finish(self, failed: bool) -> None:
        """End the run."""
        self._writer.add_text("status", "failed" if failed else "finished")
        self._writer.close()
        for number, path in enumerate(sorted(self.path.glob("events.out.tfevents.*"))):
            time_s = path.name.split(".")[3]
            path.rename(path.with_name(f"events.out.tfevents.{time_s}.{number}"))

    def _text(self, name: str, facts: Mapping[str, Any]) -> None:
        text = json.dumps(facts, indent=2, default=str)
        self._writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()))
