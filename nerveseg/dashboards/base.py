"""Where a run is watched. A dashboard takes values, tables, pictures, a page and a model; whoever logs knows no more.

One run per fold and one per evaluation, grouped by cross-validation. Values go through `CommittedAtCheckpoints`. The
rest is logged once, after the training. A run ends well or failed; one that was interrupted goes on under the same id.
"""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pandas as pd
from pytorch_lightning.loggers.logger import Logger

from nerveseg.dashboards.checkpointed_logger import CheckpointedLogger
from nerveseg.dashboards.privacy import SubjectNames
from nerveseg.files import write_text

JobType = Literal["train", "evaluate"]
RUN_ID = "dashboard-id"
_ID_DIGITS = 12


@dataclass(frozen=True)
class RunLabel:
    """How a run is found among others; all of it is shown.

    Attributes:
        project: Of all runs.
        group: The cross-validation, as `paper`.
        name: As `paper/fold-0`.
        job_type: train or evaluate.
        tags: Words to filter by.
        config: What may be shown of the configuration, in plain types.
        data: Fingerprint of the data: hash of every input file and of the preprocessing.
        study: Name of the study.
    """

    project: str
    group: str
    name: str
    job_type: JobType
    tags: tuple[str, ...]
    config: dict[str, Any]
    data: str
    study: str


def run_id(folder: Path) -> str:
    """The id of the run of a folder, drawn once; no name and no path can be told from it."""
    path = folder / RUN_ID
    if not path.is_file():
        write_text(path, f"{uuid.uuid4().hex[:_ID_DIGITS]}\n")
    return path.read_text(encoding="utf-8").strip()


class Dashboard(Logger):
    """A run's place in one backend. Lightning logs values to it; the end of a training is not the end of a run.

    Args:
        label: How the run is found.
        folder: The run's own; the backend's local files lie in it.
    """

    def __init__(self, label: RunLabel, folder: Path) -> None:
        super().__init__()
        self.label = label
        self.folder = folder
        self.id = run_id(folder)

    @property
    def name(self) -> str:
        """Of the run."""
        return self.label.name

    @property
    def version(self) -> str:
        """Id of the run."""
        return self.id

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Configurations come with the label."""

    def logged_steps(self) -> set[int]:
        """Steps that earlier processes logged and that cannot be taken back."""
        return set()

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Values of one step."""

    @abstractmethod
    def log_table(self, name: str, table: pd.DataFrame) -> None:
        """A tidy table."""

    @abstractmethod
    def log_picture(self, name: str, path: Path, caption: str = "") -> None:
        """A PNG."""

    @abstractmethod
    def log_page(self, name: str, html: str) -> None:
        """A page that needs no other file."""

    @abstractmethod
    def log_model(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """A model bundle, as what came of the data that the label names."""

    @abstractmethod
    def summarize(self, values: Mapping[str, float]) -> None:
        """The values by which runs are compared."""

    @abstractmethod
    def finish(self, failed: bool) -> None:
        """End the run."""


@dataclass(frozen=True)
class Dashboards:
    """All places where a run is watched; none is fine. As a context, marks the run failed if an error passes.

    Attributes:
        each: The dashboards.
        names: How subjects are called there.
    """

    each: Sequence[Dashboard] = ()
    names: SubjectNames = field(default_factory=SubjectNames)

    def __enter__(self) -> Dashboards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for dashboard in self.each:
            dashboard.finish(failed=kind is not None)

    @property
    def loggers(self) -> list[Logger]:
        """For a trainer."""
        return [CheckpointedLogger(dashboard, dashboard.logged_steps) for dashboard in self.each]

    def log_table(self, name: str, table: pd.DataFrame) -> None:
        """A tidy table, its subjects called as they may be."""
        shown = self.names.of_table(table)
        self._all(lambda dashboard: dashboard.log_table(name, shown))

    def log_picture(self, name: str, path: Path, caption: str = "") -> None:
        """A PNG that has no ids drawn into it."""
        self._all(lambda dashboard: dashboard.log_picture(name, path, caption))

    def log_page(self, name: str, html: str) -> None:
        """A page without ids that needs no other file."""
        self._all(lambda dashboard: dashboard.log_page(name, html))

    def log_model(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """A model bundle that names subjects as they may be called."""
        self._all(lambda dashboard: dashboard.log_model(folder, facts))

    def summarize(self, values: Mapping[str, float]) -> None:
        """The values by which runs are compared."""
        self._all(lambda dashboard: dashboard.summarize(values))

    def _all(self, log: Callable[[Dashboard], None]) -> None:
        for dashboard in self.each:
            log(dashboard)
