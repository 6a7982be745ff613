"""`metrics.csv`, the history of every run: written with each checkpoint, so that it has each step exactly once.

A resumed run brings every other logger to the state of this one (`CheckpointedLogger`). Values that are the same in two
runs of one seed stand here; speed, which is not, goes to the other loggers alone (`training.throughput`).
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from nerveseg.files import write_text

Row = dict[str, float | int]


class MetricsCsv(Logger):
    """`metrics.csv`: one row per logged step, its columns in order of appearance after `step`.

    Args:
        path: Path of the file; a run that begins anew replaces it at its first commit.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[Row] = []

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.stem

    @property
    def version(self) -> str:
        """Version of the file, always empty: a run has one file."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is in `config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row, or add values to the row of the same step."""
        step = step or 0
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step})
        self.rows[-1].update(metrics)

    @rank_zero_only
    def restore(self, text: str | None, step: int) -> None:
        """Go on from a checkpoint.

        Args:
            text: Content of the file that the checkpoint carries; None in those of earlier versions, where the file
                itself counts.
            step: Step that is logged next.
        """
        if text is not None:
            self.rows = parse_metrics(text)
        elif self.path.is_file():
            self.rows = [row for row in read_metrics(self.path) if row["step"] < step]
        self.commit()

    @rank_zero_only
    def save(self) -> None:
        """Do nothing: Lightning calls this at every step, but values are committed with a checkpoint."""

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

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Commit the last rows of a run that ended well; drop those of a failed one, which no checkpoint contains."""
        if status == "success":
            self.commit()


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
