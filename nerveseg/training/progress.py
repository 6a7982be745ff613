"""Progress of a fold's training: one bar for all epochs, with speed and time left; in a log file ten lines of text."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from torch import Tensor

from nerveseg.console import console as shared_console


class FoldProgress(ProgressBar):
    """Epochs, loss, speed and time left of one fold's training, and the time left with `folds_after` more folds."""

    def __init__(self, title: str, folds_after: int = 0, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or shared_console
        self.title = title
        self.folds_after = folds_after
        self._bar = Progress(disable=True)
        self._steps = self._steps_before = self._slices = 0
        self._begun_s = 0.0

    def disable(self) -> None:
        """Write nothing; Lightning calls this in all but the first of several processes."""
        self.console = Console(quiet=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the bar, in a resumed run at the epoch after its checkpoint."""
        self._steps, self._steps_before = int(trainer.estimated_stepping_batches), trainer.global_step
        self._slices, self._begun_s = 0, time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._bar.add_task(f"{self.title}, training", total=self._steps, completed=self._steps_before, state="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar."""
        self._slices += count_slices(batch["image"] if isinstance(batch, dict) else batch) * trainer.world_size
        if not self._bar.disable:
            state = self._state(trainer, float(outputs["loss"]) if outputs else float("nan"))
            self._bar.update(TaskID(0), completed=trainer.global_step, state=state)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write a line of text after each tenth of the epochs, where no bar can be drawn."""
        epochs, done = trainer.max_epochs or 1, trainer.current_epoch + 1
        if not self.console.is_terminal and (done * 10 // epochs > (done - 1) * 10 // epochs):
            loss = float(trainer.callback_metrics.get("train/loss_epoch", float("nan")))
            self.console.print(f"{self.title}: {self._state(trainer, loss)}", highlight=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the finished bar on the screen."""
        self._bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stop the bar, which shows the cursor again."""
        self._bar.stop()

    def _state(self, trainer: pl.Trainer, loss: float) -> str:
        done, left = trainer.global_step - self._steps_before, self._steps - trainer.global_step
        seconds = time.monotonic() - self._begun_s
        speed = pace(self._slices, seconds, done, left, left + self.folds_after * self._steps)
        dice = trainer.callback_metrics.get("validation/dice")
        validation = "" if dice is None else f", validation Dice {float(dice):.3f}"
        return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, loss {loss:.4f}{validation}, {speed}"


def count_slices(images: Any) -> int:
    """Return the number of slices of a batch (batch, channel, x, y), or of patches with a last axis z."""
    return len(images) * (images.shape[4] if isinstance(images, Tensor) and images.ndim == 5 else 1)


def pace(slices: int, seconds: float, steps: int, steps_left: int, steps_left_of_all: int) -> str:
    """Return speed and time left, of this fold and of all folds, as text; empty before the first step."""
    if not steps or not seconds:
        return ""
    step_s = seconds / steps
    text = f"{slices / seconds:.3g} slices/s, {duration(steps_left * step_s)} left"
    return text if steps_left_of_all == steps_left else f"{text}, all folds {duration(steps_left_of_all * step_s)}"


def duration(seconds: float) -> str:
    """Return minutes and seconds, or hours, minutes and seconds.

    >>> duration(75.4), duration(7205)
    ('1:15', '2:00:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
