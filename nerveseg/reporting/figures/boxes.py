"""Boxplots with all points, manual (R-R, all pairs of raters) beside automatic (Auto-GT), per cohort or location.

Points are drawn over quartiles and whiskers (1.5 interquartile ranges, Tukey), so no value is hidden; fewer than four
values, which have no quartiles of their own, are points only. A distance
that is undefined, because a mask is empty, is a point in a separate strip at the top, "no mask", and counts as larger
than all others; without it, a failure would improve the result. Two empty masks have no value and no point. The time
per subject is on one logarithmic axis (paper, Figure 2 D).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from nerveseg.evaluation.analysis import Analysis, Measurements
from nerveseg.evaluation.comparisons import AUTOMATIC, AUTOMATIC_CONSENSUS, RATER_RATER, rater_pairs
from nerveseg.evaluation.rater_agreement import with_failures
from nerveseg.evaluation.tables.table1 import published_rows
from nerveseg.reporting.style import FILL, INK, LINE, MARKER, PALE, SMALL_POINTS, Kind, format_p

Scale: TypeAlias = Literal["share", "mm"]

NAMES: dict[Kind, str] = {"manual": RATER_RATER, "automatic": AUTOMATIC_CONSENSUS}
BOX_WIDTH, APART = 0.34, 0.42
NO_MASK_HEIGHT = 0.95  # height of the strip's middle, as a share of the panel's height
_ROOM = 0.88
_GOLDEN = (sqrt(5) - 1) / 2
_TICKS_MM = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
_TICKS_S = {0.01: "0.01 s", 0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36000: "10 h"}
_FINE_TICKS_S = _TICKS_S | {0.2: "0.2 s", 0.5: "0.5 s", 2: "2 s", 5: "5 s", 20: "20 s", 30: "30 s", 120: "2 min",
                            300: "5 min", 1200: "20 min", 1800: "30 min", 7200: "2 h", 18000: "5 h"}  # fmt: skip
_LEAST_TICKS, _LEAST_VALUES = 3, 4  # of a logarithmic axis, of a box


@dataclass(frozen=True)
class PanelSample:
    """Values of one box, infinite where a mask is empty, without NaN; `published` is a mean drawn as a tick."""

    kind: Kind
    values: NDArray[Any]
    published: float | None = None


@dataclass(frozen=True)
class Group:
    """Group of one or two boxes side by side; `p_text` is on the bracket between two, empty for no bracket."""

    label: str
    samples: Sequence[PanelSample]
    p_text: str = ""


def draw_groups(axes: Axes, groups: Sequence[Group], scale: Scale | None = None) -> None:
    """Draw the groups of an empty panel from left to right, label them, and set the scale.

    The scale is "share" for values up to 1, or "mm" for distances, linear up to 1 mm and logarithmic above; None is for
    finite values whose scale the caller sets.
    """
    samples = [sample for group in groups for sample in group.samples]
    top = 0.0 if scale is None else _set_scale(axes, samples, scale)
    for index, group in enumerate(groups):
        positions = [index + APART * (number - (len(group.samples) - 1) / 2) for number in range(len(group.samples))]
        for x, sample in zip(positions, group.samples, strict=True):
            _draw(axes, x, sample, top)
        if group.p_text and len(positions) == 2:
            _bracket(axes, positions[0], positions[1], group.p_text)
    axes.set_xticks(range(len(groups)), [group.label for group in groups])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.55, len(groups) - 0.45)
    axes.set_title(" ")  # keeps room for the brackets where there are none


def _bracket(axes: Axes, left: float, right: float, text: str) -> None:
    """Draw a bracket above the panel, from one box to the next, with the test's p-value."""
    across = axes.get_xaxis_transform()
    corners = [left, left, right, right], [1.015, 1.035, 1.035, 1.015]
    axes.plot(*corners, transform=across, color=INK, lw=0.7, clip_on=False)
    axes.text((left + right) / 2, 1.045, text, transform=across, ha="center", va="bottom", fontsize=7)


def _set_scale(axes: Axes, samples: Sequence[PanelSample], scale: Scale) -> float:
    """Set limits and ticks; return the position of undefined distances, in the axis's values."""
    values = np.concatenate([sample.values for sample in samples]) if samples else np.zeros(0)
    finite = [*values[np.isfinite(values)], *(s.published for s in samples if s.published is not None)]
    if scale == "share":
        low = max(0.0, np.floor(10 * (min(finite, default=0.0) - 0.02)) / 10)
        axes.set_ylim(low - (0.02 if low == 0 else 0.0), 1.0 + 0.01 * (1 - low))
        return 1.0
    failed = bool(np.isinf(values).any())
    axes.set_yscale("symlog", linthresh=1.0, linscale=0.45)
    highest = max(1.3, 1.12 * max(finite, default=1.0))
    transform = axes.yaxis.get_transform()
    low, end = (float(height) for height in transform.transform(np.array([-0.08, highest])))
    ends = [low + (end - low) * share / _ROOM for share in ((1.0, NO_MASK_HEIGHT) if failed else (_ROOM, _ROOM))]
    top, strip = (float(height) for height in transform.inverted().transform(np.array(ends)))
    axes.set_ylim(-0.08, top)
    axes.yaxis.set_major_locator(FixedLocator(_readable(highest)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if failed:
        border = float(transform.inverted().transform(np.array([low + (end - low) * 1.04]))[0])
        axes.axhline(border, color=PALE, lw=0.6, ls=":")
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": "center"}
        axes.text(-0.03, NO_MASK_HEIGHT, "no mask", fontsize=SMALL_POINTS, **place)
    return strip


def _readable(highest: float) -> list[float]:
    ticks = [tick for tick in _TICKS_MM if tick <= highest]
    return ticks if len(ticks) <= 7 else [tick for tick in ticks if tick not in (0.5, 2.0, 20.0, 200.0)]


def _draw(axes: Axes, x: float, sample: PanelSample, top: float) -> None:
    if not sample.values.size:
        return
    values = np.where(np.isinf(sample.values), top, sample.values)
    lines = {"color": INK, "linewidth": 0.8}
    axes.bxp(
        boxplot_stats(values) if len(values) >= _LEAST_VALUES else [],
        positions=[x] if len(values) >= _LEAST_VALUES else [],
        widths=BOX_WIDTH, showfliers=False, patch_artist=True, manage_ticks=False,
        boxprops={"facecolor": FILL[sample.kind], "edgecolor": INK, "linewidth": 0.8, "alpha": 0.55},
        medianprops={"color": INK, "linewidth": 1.6}, whiskerprops=lines, capprops=lines, zorder=2,
    )  # fmt: skip
    # Points are spread horizontally by deterministic offsets in (-0.5, 0.5).
    spread = (np.arange(1, len(values) + 1) * _GOLDEN) % 1 - 0.5
    axes.scatter(
        x + 0.8 * BOX_WIDTH * spread, values, s=11 if len(values) < 40 else 7, marker=MARKER[sample.kind],
        facecolor=LINE[sample.kind], edgecolor="white", linewidth=0.3, alpha=0.85, zorder=3, clip_on=False,
    )  # fmt: skip
    if sample.published is not None:
        half = BOX_WIDTH / 2 + 0.03
        axes.plot([x - half, x + half], [sample.published] * 2, color=INK, lw=1.4, ls=(0, (2, 1)), zorder=2.5)


def cohort_groups(analysis: Analysis, metric: str, reference: pd.DataFrame | None = None) -> list[Group]:
    """Return the boxes of a metric per cohort, with the p-value of the paper's test and its published means."""
    measured, published = analysis.measurements, published_rows(reference, analysis.table1)
    groups = []
    for cohort in measured.cohorts:
        means = {name: published.get((cohort, name), {}).get(f"{metric}_mean") for name in NAMES.values()}
        samples = _samples(measured, metric, measured.scores["cohort"] == cohort, means)
        label = f"{cohort}\n(n = {measured.subject_count(cohort)})"
        groups.append(Group(label, samples, _p_text(analysis.tests, cohort, metric)))
    return groups


def location_groups(measured: Measurements, metric: str, cohort: str) -> list[Group]:
    """Return the boxes of a metric per location of one cohort, if at least two locations are known."""
    scores = measured.scores
    of_cohort = scores["cohort"] == cohort
    locations = sorted(map(str, scores.loc[of_cohort, "location"].dropna().unique()), key=_in_order)
    groups = []
    for location in locations if len(locations) > 1 else []:
        chosen = of_cohort & (scores["location"] == location).fillna(False)
        number = scores.loc[chosen, "subject"].nunique()
        groups.append(Group(f"{location}\n(n = {number})", _samples(measured, metric, chosen, {})))
    return groups


def _values(scores: pd.DataFrame, metric: str, comparisons: list[str]) -> NDArray[Any]:
    """Return the values of a metric in some comparisons, in the table's order; infinite for an empty mask, no NaN."""
    rows = with_failures(scores[scores["metric"].isin(["dice", metric]) & scores["comparison"].isin(comparisons)])
    values = rows.loc[rows["metric"] == metric, "value"].to_numpy(dtype=np.float64)
    return np.asarray(values[~np.isnan(values)])


def _samples(
    measured: Measurements, metric: str, chosen: pd.Series, published: Mapping[str, float | None]
) -> list[PanelSample]:
    pooled: dict[Kind, list[str]] = {"manual": rater_pairs(measured.raters), "automatic": [AUTOMATIC_CONSENSUS]}
    present = set(measured.scores["comparison"])
    return [
        PanelSample(kind, _values(measured.scores[chosen], metric, comparisons), published.get(NAMES[kind]))
        for kind, comparisons in pooled.items()
        if present & set(comparisons)
    ]


def _p_text(tests: pd.DataFrame, cohort: str, metric: str) -> str:
    if not len(tests):
        return ""
    found = tests[(tests["test"] == "paper") & (tests["cohort"] == cohort) & (tests["metric"] == metric)]
    return format_p(float(found["p_value"].iloc[0])) if len(found) else ""


def _in_order(location: str) -> tuple[int, str]:
    first = ["proximal", "medial", "distal"]
    return (first.index(location) if location in first else len(first), location)


def draw_durations(axes: Axes, measured: Measurements) -> None:
    """Draw boxes of every subject's time on an empty panel."""
    groups = [_durations(measured, cohort) for cohort in measured.cohorts]
    draw_groups(axes, groups)
    seconds = [float(value) for group in groups for sample in group.samples for value in sample.values]
    axes.set_yscale("log")
    low, high = 0.7 * min(seconds), 1.5 * max(seconds)
    axes.set_ylim(low, high)
    coarse = [tick for tick in _TICKS_S if low <= tick <= high]
    fine = [tick for tick in sorted(_FINE_TICKS_S) if low <= tick <= high]
    ticks = coarse if len(coarse) >= _LEAST_TICKS else fine
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels([_FINE_TICKS_S[tick] for tick in ticks])
    axes.set_ylabel("time per subject (log scale)")


def _durations(measured: Measurements, cohort: str) -> Group:
    rows = measured.times[measured.times["cohort"] == cohort]
    drawn = rows["source"] != AUTOMATIC
    kinds: dict[Kind, pd.DataFrame] = {"manual": rows[drawn], "automatic": rows[~drawn]}
    samples = [
        PanelSample(kind, 60.0 * part["minutes"].to_numpy(dtype=np.float64))
        for kind, part in kinds.items()
        if len(part)
    ]
    return Group(f"{cohort}\n(n = {measured.subject_count(cohort)})", samples)
