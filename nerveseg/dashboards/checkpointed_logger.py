"""Hold logged values back until a checkpoint contains them, so that a dashboard gets each step exactly once.

Most backends cannot be rewound (an offline W&B file only grows), so nothing is sent that a resumed run might log again.
A run can be killed between a checkpoint and its commit, so a resumed run offers the whole history of its checkpoint.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only


class CheckpointedLogger(Logger):
    """Logger that holds values back until a checkpoint contains them, then logs those of each step in one call.

    Configurations and checkpoint files are not passed on: they would carry paths of this machine.

    Args:
        logger: Logger of Lightning's.
        last_step: Last step that the backend has from earlier processes; -1 if there is none.
    """

    def __init__(self, logger: Logger, last_step: int = -1) -> None:
        super().__init__()
        self.logger = logger
        self._last_step = last_step
        self._pending: dict[int, dict[str, float | int]] = {}

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

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is logged when the logger is opened, without paths."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | int], step: int | None = None) -> None:
        """Hold values back until `commit`."""
        self._pending.setdefault(step or 0, {}).update(metrics)

    @rank_zero_only
    def resume(self, rows: Iterable[Mapping[str, float | int]]) -> None:
        """Log a checkpoint's history, as far as the backend lacks it.

        Args:
            rows: Values with their `step`; several rows may be of one step.
        """
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

    @rank_zero_only
    def save(self) -> None:
        """Do nothing: Lightning calls this at every step."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Log the rest of a training that ended well; the run itself ends after the test."""
        if status == "success":
            self.commit()
