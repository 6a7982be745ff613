"""What follows Table 1 on a terminal of 100 columns: locations, tests with their legend, agreement, times."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.comparisons import AUTOMATIC
from nerveseg.evaluation.hypotheses import LEGEND
from nerveseg.evaluation.tables import mean_sd
from nerveseg.evaluation.times import RATERS

METRICS = {"dice": "Dice", "hd95_paper_mm": "HD95, paper's rule", "hd95_mm": "HD95, surface", "vs": "VS"}
QUANTITIES = {"volume_mm3": "volume", "mean_cross_sectional_area_mm2": "mean area"}


def summaries(analysis: Analysis) -> Iterator[Table | Text]:
    """Everything worth reading after Table 1, as far as the study has it."""
    if len(analysis.like_for_like):
        yield _like_for_like(analysis.like_for_like)
    if len(analysis.locations):
        yield _locations(analysis.locations)
    if len(analysis.tests):
        yield _tests(analysis.tests)
    automatic = analysis.agreement["comparison"].str.startswith(f"{AUTOMATIC} - ")
    chosen = analysis.agreement[automatic | (analysis.agreement["analysis"] != "bland_altman")]
    if len(chosen):
        yield _agreement(chosen)
    if len(analysis.times):
        yield _times(analysis.times)


def _drawn(title: str, columns: list[str], left: int, caption: str = "") -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.HORIZONTALS,
        pad_edge=False,
        collapse_padding=True,
        caption=caption or None,
        caption_justify="left",
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=index < left)
    return table


def _like_for_like(rows: pd.DataFrame) -> Table:
    caption = "A rater against the other raters, the method against all raters: like for like."
    table = _drawn("\nAgreement with the raters", ["cohort", "who", "n", *METRICS.values()], 2, caption)
    for row in rows.to_dict("records"):
        cells = [mean_sd(row, metric) for metric in METRICS]
        style = "bold" if row["source"] == AUTOMATIC else None
        table.add_row(row["cohort"], row["source"], str(row["n"]), *cells, style=style)
    return table


def _locations(rows: pd.DataFrame) -> Table:
    table = _drawn("\nBy location", ["cohort", "location", "comparison", "n", *METRICS.values()], 3)
    for row in rows.to_dict("records"):
        cells = [mean_sd(row, metric) for metric in METRICS]
        table.add_row(row["cohort"], row["location"], row["comparison"], str(row["n"]), *cells)
    return table


def _tests(rows: pd.DataFrame) -> Table:
    present = dict.fromkeys(rows["test"])
    caption = "\n".join(f"{name}: {LEGEND[name]}" for name in present)
    columns = ["cohort", "metric", "test", "estimate [95 % interval]", "p", "p, Holm", "no worse?"]
    table = _drawn("\nTests", columns, 3, caption)
    for row in rows.to_dict("records"):
        estimate = _number(row["estimate"]) + _interval(row["ci_low"], row["ci_high"])
        if pd.isna(row["estimate"]):
            estimate = row["note"]
        p_values = [_p_value(row["p_value"]), _p_value(row["p_holm"])]
        table.add_row(
            row["cohort"], METRICS.get(row["metric"], row["metric"]), row["test"], estimate, *p_values, _verdict(row)
        )
    return table


def _agreement(rows: pd.DataFrame) -> Table:
    caption = (
        "bland_altman: bias and limits of agreement in percent of the pair's mean; icc: ICC(2,1) of the raters;"
        " repeatability: standard error of measurement (smallest detectable change in brackets)."
    )
    columns = ["cohort", "quantity", "analysis", "comparison", "n", "estimate", "95 % interval", "limits"]
    table = _drawn("\nAgreement of what clinicians use", columns, 3, caption)
    for row in rows.to_dict("records"):
        if pd.isna(row["smallest_detectable_change"]):
            limits = _interval(row["lower_limit"], row["upper_limit"], digits=1).strip()
        else:
            limits = f"({row['smallest_detectable_change']:.3g})"
        estimate = row["note"] if pd.isna(row["estimate"]) else _number(row["estimate"])
        table.add_row(
            row["cohort"],
            QUANTITIES.get(row["quantity"], row["quantity"]),
            row["analysis"],
            row["comparison"],
            str(row["n"]),
            estimate,
            _interval(row["ci_low"], row["ci_high"]).strip(),
            limits,
        )
    return table


def _times(rows: pd.DataFrame) -> Text:
    parts = []
    for cohort, group in rows.groupby("cohort", sort=False):
        chosen = group[group["source"].isin([RATERS, AUTOMATIC])] if RATERS in set(group["source"]) else group
        words = []
        for row in chosen.to_dict("records"):
            mean, sd = row["minutes_mean"], row["minutes_sd"]
            minutes = row["source"] != AUTOMATIC
            unit, scale = ("min", 1.0) if minutes else ("s", 60.0)
            spread = "" if pd.isna(sd) else f" ± {sd * scale:.3g}"
            words.append(f"{row['source']} {mean * scale:.3g}{spread} {unit}")
        parts.append(f"{cohort}: " + ", ".join(words))
    return Text("\nTime per subject. " + "; ".join(parts))


def _verdict(row: Mapping[Hashable, Any]) -> str:
    """Non-inferiority in words; empty where it is not asked."""
    if pd.isna(row["margin"]):
        return ""
    if row["non_inferior"] is None or pd.isna(row["non_inferior"]):
        return "not computable"
    return f"{'yes' if row['non_inferior'] else 'not shown'} (margin {row['margin']:g})"


def _interval(low: float, high: float, digits: int = 3) -> str:
    return "" if pd.isna(low) or pd.isna(high) else f" [{low:.{digits}f}, {high:.{digits}f}]"


def _number(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"


def _p_value(value: float) -> str:
    if pd.isna(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
