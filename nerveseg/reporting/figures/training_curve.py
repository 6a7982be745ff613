"""Training curves of every fold: loss per epoch, Dice of the validation subjects if there are any, learning rate.

The paper has no validation subjects (section 2.4): its curves show the training loss alone. Validation losses are drawn
as hollow markers in the colour of their fold.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from nerveseg.errors import RunError
from nerveseg.reporting.style import INK, LINE_STYLES, MARKERS, new_figure, styled
from nerveseg.runs import find_folds

LOSS, RATE = "train/loss_epoch", "learning_rate"
VALIDATION_LOSS, VALIDATION_DICE = "validation/loss", "validation/dice"
COLOURS = ("#1656b0", "#c46a00", "#2f7d0a", "#7a3b9a", INK)


def read_training(cross_validation: Path) -> dict[int, pd.DataFrame]:
    """Read `metrics.csv` of a folder's folds that have it, by number; raise `RunError` for a damaged one."""
    files = {fold.number: fold.metrics for fold in find_folds(cross_validation)}
    return {number: _read(path) for number, path in files.items() if path.is_file()}


def has_training(training: Mapping[int, pd.DataFrame]) -> bool:
    """Tell if any fold logged the loss of an epoch."""
    return any(len(per_epoch(rows, LOSS)) for rows in training.values())


@styled
def training_figure(training: Mapping[int, pd.DataFrame], title: str = "") -> Figure:
    """Draw loss, Dice of validation subjects and learning rate, one line per fold, if `has_training`."""
    is_validated = any(len(per_epoch(rows, VALIDATION_DICE)) for rows in training.values())
    figure, body = new_figure(4.8 if is_validated else 3.6, title)
    heights = {LOSS: 3, VALIDATION_DICE: 2, RATE: 1} if is_validated else {LOSS: 3, RATE: 1}
    panels = body.subplots(len(heights), 1, sharex=True, height_ratios=list(heights.values()))
    for number, (fold, rows) in enumerate(sorted(training.items())):
        for axes, column in zip(panels, heights, strict=True):
            _draw(axes, per_epoch(rows, column), number, f"fold {fold}")
        if len(losses := per_epoch(rows, VALIDATION_LOSS)):
            _draw(panels[0], losses, number, f"fold {fold}, validation", hollow=True)
    for axes, subs in ((panels[0], (1, 2, 3, 5)), (panels[-1], (1,))):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel("loss per epoch (no unit)" if is_validated else "training loss per epoch\n(no unit)")
    if is_validated:
        panels[1].set_ylabel("Dice of validation\nsubjects (no unit)")
    panels[-1].set_ylabel("learning rate\n(no unit)")
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].legend(ncols=2)
    return figure


def _draw(axes: Axes, values: pd.Series, number: int, label: str, hollow: bool = False) -> None:
    """Draw the curve of one fold; folds differ in line style and marker too."""
    colour = COLOURS[number % len(COLOURS)]
    look: dict[str, Any] = (
        {"mfc": "white", "mec": colour, "mew": 0.6, "lw": 0.6} if hollow else {"mec": "white", "mew": 0.3}
    )
    axes.plot(
        values.index, values.to_numpy(), label=label, color=colour, ls=LINE_STYLES[number % len(LINE_STYLES)],
        marker=MARKERS[number % len(MARKERS)], ms=3, **look,
    )  # fmt: skip


def per_epoch(rows: pd.DataFrame, column: str) -> pd.Series:
    """Return a column's last finite value in every epoch, counted from 1; nothing without that column."""
    if column not in rows or "epoch" not in rows:
        return pd.Series(dtype=np.float64)
    known = rows[np.isfinite(rows[column].to_numpy(dtype=np.float64)) & rows["epoch"].notna()]
    last: pd.Series = known.groupby(known["epoch"].astype(int) + 1)[column].last()
    return last


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        found = f"{type(error).__name__}: {error}"
        raise RunError("a readable training log", found=found, path=path, remedy="train the fold again") from error
