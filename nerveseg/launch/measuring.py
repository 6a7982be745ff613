"""Measuring the subjects of a study: scores of every comparison, volume and area of every mask, minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
from rich.console import Console
from rich.progress import track

from nerveseg.data.study import Study, Subject
from nerveseg.evaluation.analysis import Measurements
from nerveseg.evaluation.comparisons import AUTOMATIC, compare
from nerveseg.evaluation.quantities import measure
from nerveseg.evaluation.tables.times import TIME_COLUMNS
from nerveseg.launch.scoring import Prediction, load_masks
from nerveseg.types import Mask

SECONDS_PER_MINUTE = 60


def measure_subjects(
    study: Study,
    predictions: Mapping[str, Prediction],
    console: Console,
    consensus: Callable[[str], Mask] | None = None,
) -> Measurements:
    """Measure every subject of a study.

    Args:
        study: The opened study.
        predictions: Automatic masks by subject id; may lack some, or all.
        console: Gets a progress bar.
        consensus: The stored consensus of a subject; by default it is made from the raters' masks.

    Raises:
        VolumeError: A mask cannot be read.
        GeometryError: A mask does not lie on its image's grid.
    """
    scores, quantities, times = [], [], []
    for subject in track(study.subjects, "comparing", console=console, transient=True, disable=not console.is_terminal):
        prediction = predictions.get(subject.id)
        masks = load_masks(study, subject, consensus(subject.id) if consensus else None, prediction)
        scores.append(compare(masks, list(study.description.raters)))
        quantities.append(measure(masks))
        times.append(_times(subject, prediction))
    return Measurements(
        scores=pd.concat(scores, ignore_index=True),
        quantities=pd.concat(quantities, ignore_index=True),
        times=pd.concat(times, ignore_index=True),
        raters=list(study.description.raters),
        repeats={subject.id: (subject.repeat_of, subject.id) for subject in study.subjects if subject.repeat_of},
    )


def _times(subject: Subject, prediction: Prediction | None) -> pd.DataFrame:
    minutes = dict(subject.minutes)
    if prediction is not None and prediction.seconds is not None:
        minutes[AUTOMATIC] = prediction.seconds / SECONDS_PER_MINUTE
    rows = [(subject.id, subject.cohort, source, value) for source, value in minutes.items()]
    return pd.DataFrame(rows, columns=list(TIME_COLUMNS))
