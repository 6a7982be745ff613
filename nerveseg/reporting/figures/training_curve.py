"""Training curves: the loss per epoch of every fold, and the learning rate that it was trained with.

There is no validation set (paper, section 2.4), so what falls here is the training loss alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from nerveseg.reporting.figures.figure_data import StudyTables
from nerveseg.reporting.style import INK, LINE_STYLES, MARKERS, new_figure, styled

LOSS, RATE = "train/loss_epoch", "learning_rate"
COLOURS = ("#1656b0", "#c46a00", "#2f7d0a", "#7a3b9a", INK)


def has_training(tables: StudyTables) -> bool:
    """Whether any fold logged the loss of an epoch."""
    return any(len(per_epoch(rows, LOSS)) for rows in tables.training.values())


@styled
def training_figure(tables: StudyTables) -> Figure:
    """Loss above, learning rate below, one line per fold; folds differ in line style too.

    Args:
        tables: Of the study; `has_training`.
    """
    figure, body = new_figure(3.6, f"Training, {tables.title}" if tables.title else "Training")
    upper, lower = body.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for number, (fold, rows) in enumerate(sorted(tables.training.items())):
        look = {
            "color": COLOURS[number % len(COLOURS)],
            "ls": LINE_STYLES[number % len(LINE_STYLES)],
            "marker": MARKERS[number % len(MARKERS)],
            "ms": 3,
            "mec": "white",
            "mew": 0.3,
        }
        for axes, column in ((upper, LOSS), (lower, RATE)):
            values = per_epoch(rows, column)
            axes.plot(values.index, values.to_numpy(), label=f"fold {fold}", **look)
    for axes, subs in ((upper, (1, 2, 3, 5)), (lower, (1,))):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    upper.set_ylabel("training loss per epoch\n(cross entropy, no unit)")
    lower.set_ylabel("learning rate\n(no unit)")
    lower.set_xlabel("epoch")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    upper.legend(ncols=2)
    return figure


def per_epoch(rows: pd.DataFrame, column: str) -> pd.Series:
    """The last finite value of a column in every epoch, epochs counted from 1 as they are finished.

    Args:
        rows: As of `metrics.csv`.
        column: One of its columns; where it is absent nothing is returned.
    """
    if column not in rows or "epoch" not in rows:
        return pd.Series(dtype=np.float64)
    known = rows[np.isfinite(rows[column].to_numpy(dtype=np.float64)) & rows["epoch"].notna()]
    last: pd.Series = known.groupby(known["epoch"].astype(int) + 1)[column].last()
    return last
