"""One progress bar per fold instead of one per epoch, with speed and time left; in a log file, a line every tenth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@dataclass
class Pace:
    """How fast steps follow one another in this process.

    Attributes:
        first: Step that it began with.
        total: Steps of the whole training.
        folds_after: Trainings of the same length that come after this one.
        begun_s: When, on the monotonic clock.
        steps: Done by now, earlier processes' included.
        slices: Seen by this process.
    """

    first: int
    total: int
    folds_after: int = 0
    begun_s: float = 0.0
    steps: int = 0
    slices: int = 0

    def words(self, now_s: float) -> str:
        """Slices per second, time left of the fold, and of all; nothing before the first step."""
        done, seconds = self.steps - self.first, max(now_s - self.begun_s, 1e-9)
        if done <= 0:
            return ""
        per_step_s = seconds / done
        left_s = (self.total - self.steps) * per_step_s
        words = f"{self.slices / seconds:.3g} slices/s, {duration(left_s)} left"
        if self.folds_after:
            words += f", all folds {duration(left_s + self.folds_after * self.total * per_step_s)}"
        return words


def duration(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds.

    >>> duration(75.4), duration(7205)
    ('1:15', '2:00:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class FoldProgress(ProgressBar):
    """Epochs, loss, speed and time left of one fold's training, then its test subjects.

    Args:
        console: Where to draw.
        title: Stands in front, such as "fold 0".
        folds_after: How many folds this process trains after this one.
    """

    def __init__(self, console: Console, title: str, folds_after: int = 0) -> None:
        super().__init__()
        self.console = console
        self.title = title
        self._pace = Pace(0, 1, folds_after)
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def disable(self) -> None:
        """Stay silent, as Lightning asks of all but the first of several processes."""
        self.console = Console(quiet=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the bar, at the epoch that a resumed run goes on with."""
        total, done = (trainer.max_epochs or 1) * int(trainer.num_training_batches), trainer.global_step
        self._pace = Pace(done, total, self._pace.folds_after, time.monotonic(), done)
        self._begin("training", total, done)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step further."""
        self._pace.steps = trainer.global_step
        self._pace.slices += len(batch["image"] if isinstance(batch, dict) else batch) * trainer.world_size
        if self._progress:
            loss = float(outputs["loss"]) if outputs else float("nan")
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, loss {loss:.4f}"
            words = f"{epoch}, {self._pace.words(time.monotonic())}"
            self._progress.update(self._task, completed=trainer.global_step, state=words)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A line of text where no bar can be drawn."""
        epochs, done = trainer.max_epochs or 1, trainer.current_epoch + 1
        if not self.console.is_terminal and (done * 10 // epochs > (done - 1) * 10 // epochs):
            loss = float(trainer.callback_metrics.get("train/loss_epoch", float("nan")))
            words = self._pace.words(time.monotonic())
            self.console.print(f"{self.title}: epoch {done}/{epochs}, loss {loss:.4f}, {words}", highlight=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the finished bar on the screen."""
        self._end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._end()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a bar over the test subjects."""
        batches = trainer.num_predict_batches
        total = sum(batches) if isinstance(batches, list) else batches
        self._begin("test subjects", int(total), 0)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """One subject further."""
        if self._progress:
            self._progress.update(self._task, advance=1, state=f"sub-{batch.scan.subject}")

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the finished bar on the screen."""
        self._end()

    def _begin(self, what: str, total: int, done: int) -> None:
        if not self.console.is_terminal:
            return
        columns = [
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
        ]
        if what != "training":
            columns += [TextColumn("left"), TimeRemainingColumn()]
        self._progress = Progress(*columns, TextColumn("{task.fields[state]}"), console=self.console)
        self._progress.start()
        self._task = self._progress.add_task(f"{self.title}, {what}", total=total, completed=done, state="")

    def _end(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None
