"""Logged values that reach a dashboard only with a checkpoint: each step once, none missing, whatever was interrupted.

Most backends cannot be rewound (an offline W&B file only grows), so nothing is sent that a resumed run might log again.
Between a checkpoint and its commit a run can die, and a backend may lose what it was sent last. So a resumed run offers
the whole history of its checkpoint, and what the backend says it has is not sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only


class CheckpointedLogger(Logger):
    """Holds back what another logger is to log until a checkpoint of it exists. The values of a step become one call.

    Args:
        logger: Any logger of Lightning's.
        logged_steps: Steps that the backend has from earlier processes; asked once, before the first commit.
    """

    def __init__(self, logger: Logger, logged_steps: Callable[[], Iterable[int]] = tuple) -> None:
        super().__init__()
        self.logger = logger
        self._logged_steps = logged_steps
        self._logged: set[int] | None = None
        self._pending: dict[int, dict[str, float | int]] = {}

    @property
    def name(self) -> str | None:
        """As the logger says."""
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        """As the logger says."""
        return self.logger.version

    @property
    def save_dir(self) -> str | None:
        """As the logger says."""
        return self.logger.save_dir

    @property
    def experiment(self) -> Any:
        """The backend's own object; what is given to it directly is not held back."""
        return getattr(self.logger, "experiment", None)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Hand on."""
        self.logger.log_hyperparams(params, *args, **kwargs)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | int], step: int | None = None) -> None:
        """Hold back."""
        self._pending.setdefault(step or 0, {}).update(metrics)

    @rank_zero_only
    def resume(self, rows: Iterable[Mapping[str, float | int]]) -> None:
        """Commit what a checkpoint says was logged before it.

        Args:
            rows: Each of one step, which is its `step`; several may be of the same.
        """
        self._pending = {}
        for row in rows:
            self.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))
        self.commit()

    @rank_zero_only
    def commit(self) -> None:
        """Log what was held back, in order of steps, but for steps that the backend has."""
        if self._logged is None:
            self._logged = set(self._logged_steps())
        for step in sorted(self._pending.keys() - self._logged):
            self.logger.log_metrics(self._pending[step], step)
            self._logged.add(step)
        self._pending = {}
        self.logger.save()

    @rank_zero_only
    def save(self) -> None:
        """Nothing: Lightning asks for it at every step."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Commit the rest of a run that ended well; of another, nothing that has no checkpoint."""
        if status == "success":
            self.commit()
        self.logger.finalize(status)
