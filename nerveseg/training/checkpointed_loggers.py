"""Loggers whose values are committed with checkpoints, so that each step is logged exactly once.

Most backends cannot be rewound (an offline W&B file only grows), so nothing is sent that a resumed run might log again.
A run can be killed between a checkpoint and its commit, so a resumed run offers the whole history of its checkpoint.

`metrics.csv` is the history of every run. Values that are the same in two runs of one seed stand there; speed, which is
not, goes to the other loggers alone (`training.throughput`).
"""

import csv
import io
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from nerveseg.files import write_text

Row = dict[str, float | int]


class CommittedLogger(Logger):
    """Logger that keeps values until they are committed with a checkpoint, or at the end of a training that ends well.

    Configurations and checkpoint files are not logged: they would carry paths of this machine.
    """

    @abstractmethod
    def commit(self) -> None:
        """Write or send the values logged so far."""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a dashboard gets the configuration when it is opened, without paths."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Commit the rest of a training that ended well; drop that of a failed one, which no checkpoint contains."""
        if status == "success":
            self.commit()


class MetricsCsv(CommittedLogger):
    """`metrics.csv`: one row per logged step, columns in order of appearance; a new run replaces an earlier file."""

    version = ""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[Row] = []

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.stem

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row, or add values to the row of the same step."""
        step = step or 0
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step})
        self.rows[-1].update(metrics)

    @rank_zero_only
    def restore(self, text: str | None, step: int) -> None:
        """Go on before `step` from a checkpoint that carries the file's content, or is of an earlier version (None)."""
        if text is not None:
            self.rows = parse_metrics(text)
        elif self.path.is_file():
            self.rows = [row for row in read_metrics(self.path) if row["step"] < step]
        self.commit()

    def text(self) -> str:
        """Return the content that the file has after a commit."""
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    @rank_zero_only
    def commit(self) -> None:
        """Write the file in one piece; before the first value there is nothing to write."""
        if self.rows:
            write_text(self.path, self.text())


def read_metrics(path: Path) -> list[Row]:
    """Read the rows of a `metrics.csv`; empty cells are left out."""
    return parse_metrics(path.read_text(encoding="utf-8"))


def parse_metrics(text: str) -> list[Row]:
    """Return the rows of a file's content; empty cells are left out. Floats come back bit for bit."""
    table = csv.DictReader(io.StringIO(text, newline=""))
    return [{key: _number(value) for key, value in row.items() if value} for row in table]


def _number(text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        return float(text)


class CheckpointedLogger(CommittedLogger):
    """Logger that holds values back until a checkpoint contains them, then logs those of each step in one call.

    The backend has steps of earlier processes up to `last_step`; -1 stands for none.
    """

    def __init__(self, logger: Logger, last_step: int = -1) -> None:
        super().__init__()
        self.logger = logger
        self._last_step = last_step
        self._pending: dict[int, Row] = {}

    @property
    def name(self) -> str | None:
        """Name of the wrapped logger."""
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        """Version of the wrapped logger."""
        return self.logger.version

    @property
    def save_dir(self) -> str | None:
        """Folder of the wrapped logger."""
        return self.logger.save_dir

    @property
    def experiment(self) -> Any:
        """Object of the backend; values that are given to it directly are not held back."""
        return getattr(self.logger, "experiment", None)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | int], step: int | None = None) -> None:
        """Hold values back until `commit`."""
        self._pending.setdefault(step or 0, {}).update(metrics)

    @rank_zero_only
    def resume(self, rows: Iterable[Mapping[str, float | int]]) -> None:
        """Log a checkpoint's history, rows of values with their `step`, as far as the backend lacks it."""
        self._pending = {}
        for row in rows:
            self.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))
        self.commit()

    @rank_zero_only
    def commit(self) -> None:
        """Log the values held back, in order of steps, without steps that the backend has."""
        for step in sorted(step for step in self._pending if step > self._last_step):
            self.logger.log_metrics(self._pending[step], step)
            self._last_step = step
        self._pending = {}
        self.logger.save()
