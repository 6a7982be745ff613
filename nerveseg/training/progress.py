"""One progress bar per fold instead of one per epoch; in a log file, a line every tenth of the way."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class FoldProgress(ProgressBar):
    """Epochs and loss of one fold's training, then its test subjects.

    Args:
        console: Where to draw.
        title: Stands in front, such as "fold 0".
    """

    def __init__(self, console: Console, title: str) -> None:
        super().__init__()
        self.console = console
        self.title = title
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the bar, at the epoch that a resumed run goes on with."""
        epochs = trainer.max_epochs or 1
        self._begin("training", epochs * int(trainer.num_training_batches), trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step further."""
        if self._progress:
            loss = float(outputs["loss"]) if outputs else float("nan")
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, loss {loss:.4f}"
            self._progress.update(self._task, completed=trainer.global_step, state=epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A line of text where no bar can be drawn."""
        epochs, done = trainer.max_epochs or 1, trainer.current_epoch + 1
        if not self.console.is_terminal and (done * 10 // epochs > (done - 1) * 10 // epochs):
            loss = float(trainer.callback_metrics.get("train/loss_epoch", float("nan")))
            self.console.print(f"{self.title}: epoch {done}/{epochs}, loss {loss:.4f}", highlight=False)

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
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
        )
        self._progress = Progress(*columns, console=self.console)
        self._progress.start()
        self._task = self._progress.add_task(f"{self.title}, {what}", total=total, completed=done, state="")

    def _end(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None
