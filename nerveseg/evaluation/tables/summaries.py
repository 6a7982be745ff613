"""Tables on a terminal of 100 columns: Table 1, locations, tests with their legend, agreement, times.

Every table has one section per cohort, the comparison on the left (long names are folded), numbers on the right, and a
legend below.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from nerveseg.evaluation.analysis import RATERS, Analysis
from nerveseg.evaluation.comparisons import AUTOMATIC, MEAN_AREA, VOLUME
from nerveseg.evaluation.hypotheses import LEGEND, verdict_in_words
from nerveseg.evaluation.metric_catalog import BY_KEY, TABLE_METRICS, label_of
from nerveseg.evaluation.tables.table1 import (
    SET_OFF,
    Row,
    counts_and_means,
    notes,
    published_rows,
    table_metrics,
    three_digits,
)

QUANTITIES = {VOLUME: ("volume", "mm³"), MEAN_AREA: ("mean area", "mm²")}
ANALYSES = {"bland_altman": "Bland-Altman", "icc": "ICC(2,1)", "repeatability": "repeatability"}

_HEADINGS = [BY_KEY[metric].heading for metric in TABLE_METRICS]
_PAPER_HEADINGS = {"dice": "paper\nDice", "hd95_paper_mm": "paper\nHD95", "vs": "paper\nVS"}
_BELOW_LIKE_FOR_LIKE = (
    "A rater against the other raters, the method against all raters, mean per subject; mean ± sample standard"
    " deviation over subjects. failed: pairs in which a mask is empty, which have no distance."
)
_BELOW_LOCATIONS = "As in Table 1; failed: a mask is empty, so there is no distance."
_BELOW_TESTS = (
    "n: independent units (groups, else subjects); scans of one are averaged. effect: rank-biserial correlation, in"
    " [-1, 1]. p: two-sided, of no difference; p Holm: adjusted for"
    " the number of tests of its kind. p no worse: one-sided, of a loss as large as the margin (margins=), adjusted"
    " likewise. verdict, from the 95 % interval: better if it lies above no difference, no worse if it excludes a loss"
    " of the margin, worse if it lies below no difference, else inconclusive, or not"
    " decidable where even a perfect result of so few units could not exclude a loss of the margin."
)
_BELOW_AGREEMENT = (
    "Bland-Altman: bias [95 % interval] and limits of agreement, in percent of the pair's mean. ICC(2,1): agreement of"
    " single raters [95 % interval]. repeatability: standard error of measurement, and in the last column the smallest"
    " detectable change. mean area: of the slices that hold nerve; an empty mask has volume and area 0. n: independent"
    " units (groups, else subjects), of whom the first scan counts, or the first repeated pair."
)


def summaries(analysis: Analysis) -> Iterator[Table | Text]:
    """Lay out the tables that follow Table 1, without times, as far as the study has them."""
    if len(analysis.like_for_like):
        rows = analysis.like_for_like
        yield _means("Agreement with the raters", {"source": "who"}, _BELOW_LIKE_FOR_LIKE, rows, _in_bold)
    if len(analysis.locations):
        left = {"location": "location", "comparison": "comparison"}
        yield _means("By location", left, _BELOW_LOCATIONS, analysis.locations)
    if len(analysis.sides):
        left = {"side": "side", "comparison": "comparison"}
        yield _means("By leg, in scans of both", left, _BELOW_LOCATIONS, analysis.sides)
    if len(analysis.tests):
        yield _tests(analysis.tests)
    automatic = analysis.agreement["comparison"].str.startswith(f"{AUTOMATIC} - ")
    chosen = analysis.agreement[automatic | (analysis.agreement["analysis"] != "bland_altman")]
    if len(chosen):
        yield _agreement(chosen)


def time_summaries(analysis: Analysis) -> list[Text]:
    """Return the sentence on the minutes per subject, if the study has any."""
    return [_times(analysis.times)] if len(analysis.times) else []


def render_table1(table: pd.DataFrame, reference: pd.DataFrame | None = None) -> Table:
    """Lay out Table 1: mean ± SD, one section per cohort, R-R and Auto-GT in bold.

    The means of a published table stand on the right, where cohort and comparison are the same.
    """
    published, metrics = published_rows(reference, table), table_metrics(table)
    compared = _PAPER_HEADINGS if published else {}

    def cells(row: Row) -> list[str]:
        theirs = published.get((row["cohort"], row["comparison"]))
        means = [three_digits(theirs[f"{metric}_mean"]) if theirs else "" for metric in compared]
        return [row["comparison"], *counts_and_means(row, metrics), *means]

    right = ["\nn", *(BY_KEY[metric].heading for metric in metrics), *compared.values()]
    drawn = _table("", ["\ncomparison"], right, notes(table), table, cells, _in_bold, ruled=True)
    drawn.columns[0].min_width = 10
    for column in drawn.columns[1 + len(right) - len(compared) :]:
        column.style = "dim"
    return drawn


def _table(
    title: str,
    left: Sequence[str],
    right: Sequence[str],
    caption: str,
    rows: pd.DataFrame,
    cells: Callable[[Row], list[str]],
    bold: Callable[[Row], bool] | None = None,
    ruled: bool = False,
) -> Table:
    """Lay out a table; `left` and `right` are headings, and `ruled` puts bold rows between lines."""
    table = Table(box=box.HORIZONTALS, pad_edge=False, collapse_padding=True, title_justify="left")
    table.title = Text(f"\n{title}", style="bold") if title else None
    table.caption, table.caption_justify = Text(caption), "left"
    for column in left:
        table.add_column(column, overflow="fold")
    for column in right:
        table.add_column(column, justify="right", no_wrap=True)
    for cohort, group in rows.groupby("cohort", sort=False):
        table.add_section()
        table.add_row(Text(str(cohort), style="italic"))
        for row in group.to_dict("records"):
            set_off = bold is not None and bold(row)
            if ruled and set_off:
                table.add_section()
            table.add_row(*map(Text, cells(row)), style="bold" if set_off else None, end_section=ruled and set_off)
    return table


def _in_bold(row: Row) -> bool:
    return row.get("comparison") in SET_OFF or row.get("source") == AUTOMATIC


def _means(
    title: str, left: Mapping[str, str], caption: str, rows: pd.DataFrame, bold: Callable[[Row], bool] | None = None
) -> Table:
    """Lay out counts and means; `left` has the headings of the columns that name a row."""

    def cells(row: Row) -> list[str]:
        n, *means = counts_and_means(row, TABLE_METRICS)
        return [*(row[column] for column in left), n, str(row["n_failed"]), *means]

    return _table(title, list(left.values()), ["n", "failed", *_HEADINGS], caption, rows, cells, bold)


def _tests(rows: pd.DataFrame) -> Table:
    legend = [*_verdicts(rows)]
    for test, group in rows.groupby("test", sort=False):
        methods = "; ".join(filter(None, dict.fromkeys(group["method"])))
        legend.append(f"{test}: {LEGEND[str(test)]}{f' ({methods})' if methods else ''}")
    columns = ["n", "estimate [95 % interval]", "effect", "p", "p\nHolm", "p no\nworse"]
    caption = "\n".join([*legend, _BELOW_TESTS, *_notes(rows, "test")])
    return _table("Tests", ["test", "metric"], columns, caption, rows, _test_cells)


def _test_cells(row: Row) -> list[str]:
    return [
        row["test"].replace(", ", ",\n"),
        label_of(row["metric"]),
        str(row["n"]),
        _estimate(row),
        "" if pd.isna(row["effect_size"]) else f"{row['effect_size']:.2f}",
        _p_value(row["p_value"]),
        _p_value(row["p_holm"]),
        _p_value(row["p_non_inferiority_holm"]),
    ]


def _verdicts(rows: pd.DataFrame) -> Iterator[str]:
    """Return the verdicts of the cohorts, a line per test and metric with a margin."""
    decided = rows[rows["margin"].notna()]
    for (test, metric, margin), cohorts in decided.groupby(["test", "metric", "margin"], sort=False):
        words = "; ".join(f"{row['cohort']} {verdict_in_words(row)}" for row in cohorts.to_dict("records"))
        yield f"{label_of(str(metric))}, {test}, margin {margin:g}: {words}"


def _agreement(rows: pd.DataFrame) -> Table:
    caption = "\n".join([_BELOW_AGREEMENT, *_notes(rows, "analysis")])
    columns = ["n", "estimate [95 % interval]", "limits or\nsmallest change"]
    left = ["quantity", "analysis", "of"]
    return _table("Agreement of what clinicians use", left, columns, caption, rows, _agreement_cells)


def _agreement_cells(row: Row) -> list[str]:
    name, unit = QUANTITIES[row["quantity"]]
    estimate, limits = _estimate(row), ""
    if row["analysis"] == "bland_altman":
        estimate = _estimate(row, 1, " %")
        limits = "" if pd.isna(row["lower_limit"]) else f"{_interval(row['lower_limit'], row['upper_limit'], 1)} %"
    elif row["analysis"] == "repeatability" and not pd.isna(row["estimate"]):
        estimate, limits = (f"{row[column]:.3g} {unit}" for column in ("estimate", "smallest_detectable_change"))
    return [name, ANALYSES[row["analysis"]], row["comparison"], str(row["n"]), estimate, limits.strip()]


def _times(rows: pd.DataFrame) -> Text:
    parts = []
    for cohort, group in rows.groupby("cohort", sort=False):
        chosen = group[group["source"].isin([RATERS, AUTOMATIC])] if RATERS in set(group["source"]) else group
        words = []
        for row in chosen.to_dict("records"):
            mean, sd = row["minutes_mean"], row["minutes_sd"]
            unit, scale = ("s", 60.0) if row["source"] == AUTOMATIC else ("min", 1.0)
            spread = "" if pd.isna(sd) else f" ± {sd * scale:.3g}"
            words.append(f"{row['source']} {mean * scale:.3g}{spread} {unit} (n={row['n']})")
        parts.append(f"{cohort}: " + ", ".join(words))
    return Text(
        "\nTime per subject (raters: as the study says; Auto: measured from reading the volume to writing the mask). "
        + "; ".join(parts)
    )


def _notes(rows: pd.DataFrame, kind: str) -> list[str]:
    """Return every note that its row does not show, once, with the cohorts and kinds of rows that it concerns."""
    rows_of: dict[str, dict[str, None]] = {}
    for row in rows[rows["estimate"].notna()].to_dict("records"):
        if note := re.sub(r"^n=\d+: ", "", row["note"]):
            rows_of.setdefault(note, {})[f"{row['cohort']} {ANALYSES.get(row[kind], row[kind])}"] = None
    return [f"{note} ({', '.join(where)})" for note, where in rows_of.items()]


def _estimate(row: Row, digits: int = 3, unit: str = "") -> str:
    """Format an estimate with its interval, or the reason why there is none."""
    if pd.isna(row["estimate"]):
        return str(row["note"]).split(";")[0]
    return f"{row['estimate']:.{digits}f}{_interval(row['ci_low'], row['ci_high'], digits)}{unit}"


def _interval(low: float, high: float, digits: int = 3) -> str:
    return "" if pd.isna(low) or pd.isna(high) else f" [{low:.{digits}f}, {high:.{digits}f}]"


def _p_value(value: float) -> str:
    return "" if pd.isna(value) else "<0.001" if value < 0.001 else f"{value:.3f}"
