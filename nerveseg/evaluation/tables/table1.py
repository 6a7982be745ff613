"""Table 1 of the paper: mean and sample standard deviation per cohort and comparison.

R-R pools all rater pairs of a cohort, so its n is pairs times subjects. A failure is never dropped: where one mask of a
pair is empty, Dice and VS of 0 stay in the means; the distances are undefined, so the case is counted in `n_failed` and
named under the table. Two empty masks have no value and count as failed too; `analysis` leaves out the subjects in whom
every mask is empty. A metric that is undefined for another reason (the branches of a nerve that does not divide) is
left out of its own mean and is no failure.

The interval of a mean is Student's over the groups (persons): the pairs of raters, and the scans, of one person are
dependent.
"""

import html
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from nerveseg.errors import RunError
from nerveseg.evaluation.comparisons import (
    AUTOMATIC_CONSENSUS,
    RATER_RATER,
    cohorts_in_order,
    comparison_names,
    leave_one_out_pairs,
    rater_pairs,
)
from nerveseg.evaluation.metric_catalog import BY_KEY, TABLE_METRICS
from nerveseg.evaluation.metrics.pair_scores import DEFINED_UNLESS_EMPTY, PairScores
from nerveseg.evaluation.statistics.samples import mean_interval

_SPECIAL: dict[int, str] = {ord(character): f"\\{character}" for character in "&%$#_{}"} | {
    ord("\\"): r"\textbackslash{}",
    ord("~"): r"\textasciitilde{}",
    ord("^"): r"\textasciicircum{}",
    ord("±"): r"$\pm$",
    **{ord(each): rf"\text{name}{{}}" for each, name in (("|", "bar"), ("<", "less"), (">", "greater"))},
}
"""LaTeX's special characters."""

Row: TypeAlias = Mapping[Hashable, Any]  # row of a table, by column

STATISTICS = ("mean", "sd", "median", "q1", "q3", "ci_low", "ci_high")
"""Statistics of every metric: mean, sample SD, median, quartiles, 95 % interval of the mean."""

SET_OFF = (RATER_RATER, AUTOMATIC_CONSENSUS)  # the paper's two comparisons, whose rows are bold


def table1(scores: pd.DataFrame, raters: Sequence[str]) -> pd.DataFrame:
    """Summarise rows of `scores.csv`, of all subjects, as the paper's Table 1 does; raters are in the study's order.

    Returns:
        Columns cohort, comparison, n, n_failed, and `<metric>_<statistic>` for every metric of the scores and every
        statistic of `STATISTICS` (sd: n - 1, NaN for a single value). Cohorts are ordered volunteer, patient, others by
        name; comparisons as in the paper, without those with a consensus that leaves a rater out.

    Raises:
        RunError: The scores hold a comparison twice for one subject, or a comparison with another rater.
    """
    members = _rows(raters)
    left_out = [name for names in leave_one_out_pairs(raters) for name in names]
    cases = _cases(scores[~scores["comparison"].isin(left_out)], members)
    cohorts, comparisons = (cases.index.get_level_values(level) for level in ("cohort", "comparison"))
    rows = [
        {"cohort": cohort, "comparison": name} | _summary(group)
        for cohort in cohorts_in_order(scores)
        for name, pooled in members.items()
        if len(group := cases[(cohorts == cohort) & comparisons.isin(pooled)])
    ]
    statistics = [f"{metric}_{statistic}" for metric in cases.columns for statistic in STATISTICS]
    return pd.DataFrame(rows, columns=["cohort", "comparison", "n", "n_failed", *statistics])


def reference_table(name: Literal["paper"]) -> pd.DataFrame:
    """Read a published Table 1: "paper" is Balsiger et al. 2018 (without surface HD95)."""
    tables = {"paper": "balsiger2018_table1.csv"}
    return pd.read_csv(Path(__file__).parent / "reference" / tables[name])


def table1_markdown(table: pd.DataFrame) -> str:
    """Format Table 1 as GitHub Markdown, with the same digits and notes as on a terminal."""
    lines = [_headings(table), ["---"] * 2 + ["---:"] * (1 + len(table_metrics(table)))]
    for row in table.to_dict("records"):
        cells = [row["cohort"], row["comparison"], *counts_and_means(row, table_metrics(table))]
        bold = "**" if row["comparison"] in SET_OFF else ""
        # The names of cohorts and raters would otherwise break the table.
        plain = [html.escape(cell, quote=False).replace("|", "\\|").replace("\n", " ") for cell in cells]
        lines.append([f"{bold}{cell}{bold}" for cell in plain])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n" + notes(table) + "\n"


def table_metrics(table: pd.DataFrame) -> list[str]:
    """Return the metrics of `TABLE_METRICS` that a table holds."""
    return [metric for metric in TABLE_METRICS if f"{metric}_mean" in table]


def _headings(table: pd.DataFrame) -> list[str]:
    """Return the headings of the Markdown and LaTeX tables."""
    headings = (BY_KEY[metric].heading.replace("\n", ", ") for metric in table_metrics(table))
    return ["cohort", "comparison", "n", *headings]


def published_rows(reference: pd.DataFrame | None, table: pd.DataFrame) -> dict[tuple[str, str], Row]:
    """Return the rows of a published table by cohort and comparison, as far as `table` has them too."""
    ours = set(zip(table["cohort"], table["comparison"], strict=True))
    rows = [] if reference is None else reference.to_dict("records")
    return {key: row for row in rows if (key := (row["cohort"], row["comparison"])) in ours}


def notes(table: pd.DataFrame) -> str:
    """Return the text under the table: how to read it, if there is one rater only, and every failure."""
    sentences = ["Mean ± sample standard deviation."]
    comparisons = set(table["comparison"])
    if comparisons == {AUTOMATIC_CONSENSUS}:
        sentences.append("There is one rater, who is the reference; hence no R-R.")
    if comparisons >= {AUTOMATIC_CONSENSUS, RATER_RATER}:
        sentences.append(
            "A consensus is less noisy than a rater, so Auto-GT against R-R leans towards the automatic segmentation."
        )
    if {"hd95_paper_mm_mean", "hd95_mm_mean"} <= set(table.columns):
        sentences.append(
            "HD95: 95 % Hausdorff distance, by the paper's rule over all voxels of both masks (0 where Dice exceeds"
            " about 0.95), and as usually reported between their surfaces."
        )
    failed = table[table["n_failed"] > 0]
    if len(failed):
        cases = [f"{row.n_failed} of {row.n} {row.comparison} ({row.cohort})" for row in failed.itertuples()]
        rule = "Failed (a mask is empty: Dice and VS count as 0, unless both are empty; no distance)"
        sentences.append(f"{rule}: {', '.join(cases)}.")
    return " ".join(sentences)


def _rows(raters: Sequence[str]) -> dict[str, list[str]]:
    """Return the comparisons that each row pools, in the order of the rows: R-R before the automatic ones."""
    manual, both = (comparison_names(raters, automatic) for automatic in (False, True))
    pairs = {RATER_RATER: rater_pairs(raters)} if manual else {}
    return {name: [name] for name in manual} | pairs | {name: [name] for name in both[len(manual) :]}


def _cases(scores: pd.DataFrame, members: dict[str, list[str]]) -> pd.DataFrame:
    """Pivot the scores to one row per cohort, subject and comparison, one column per metric."""
    unknown = sorted(set(scores["comparison"]) - set(members))
    if unknown:
        rule = "comparisons of the study's raters, their consensus and the automatic segmentation"
        remedy = "name the raters of the study that the scores come from"
        raise RunError(rule, found=", ".join(unknown), remedy=remedy)
    case = ["cohort", "group", "subject", "comparison"]
    twice = scores[scores.duplicated([*case, "metric"])]
    if len(twice):
        raise RunError(
            "one row per subject, comparison and metric",
            found=f"{len(twice)} repeated rows, first {twice['comparison'].iloc[0]} {twice['metric'].iloc[0]}",
            subject=str(twice["subject"].iloc[0]),
            remedy="evaluate one sweep at a time, and each subject in one fold",
        )
    wide = scores.pivot(index=case, columns="metric", values="value")
    known = [field.name for field in fields(PairScores) if field.name in wide]
    return wide[[*known, *wide.columns.difference(known)]]


def _summary(cases: pd.DataFrame) -> dict[str, int | float]:
    """Count cases and failures (a mask is empty); compute the statistics of the defined values."""
    failed = cases[[metric for metric in cases if metric in DEFINED_UNLESS_EMPTY]].isna().any(axis=1)
    row: dict[str, int | float] = {"n": len(cases), "n_failed": int(failed.sum())}
    groups = pd.factorize(cases.index.get_level_values("group"))[0]
    quartiles = cases.quantile([0.5, 0.25, 0.75]).to_numpy().T
    parts = zip(cases.mean(), cases.std(ddof=1), quartiles, cases.to_numpy(np.float64).T, strict=True)
    for metric, (mean, sd, quantiles, values) in zip(cases, parts, strict=True):
        known = ~np.isnan(values)
        found = (mean, sd, *quantiles, *mean_interval(values[known], groups[known]))
        row |= {f"{metric}_{name}": float(value) for name, value in zip(STATISTICS, found, strict=True)}
    return row


def median_and_interval(row: Row, metric: str) -> str:
    """Format median, quartiles and the interval of the mean of a metric in a row of a table."""
    median, low, high, *interval = (three_digits(row[f"{metric}_{name}"]) for name in STATISTICS[2:])
    return f"{median} [{low}, {high}]; mean {interval[0]} to {interval[1]}"


def counts_and_means(row: Row, metrics: Sequence[str]) -> list[str]:
    """Format n, and mean and standard deviation of the metrics, in a row of a table."""
    return [str(row["n"]), *(mean_sd(row, metric) for metric in metrics)]


def mean_sd(row: Row, metric: str) -> str:
    """Format mean and sample standard deviation of a metric in a row of a table, with the paper's printed precision."""
    return f"{three_digits(row[f'{metric}_mean'])} ± {three_digits(row[f'{metric}_sd'])}"


def three_digits(value: float) -> str:
    """Format three significant digits as the paper does, at most three decimals: 0.018, 0.521, 8.68, 13.9, 126."""
    if value != value:
        return "-"
    decimals = next((d for d, below in ((3, 0.9995), (2, 9.995), (1, 99.95)) if abs(value) < below), 0)
    return f"{value:.{decimals}f}"


def table1_latex(table: pd.DataFrame, caption: str, remarks: Sequence[str] = (), label: str = "") -> str:
    r"""Format Table 1 as a `table` environment, which needs `\usepackage{booktabs,graphicx}`; remarks end its caption.

    Its `\label` is `tab:agreement`, or `tab:agreement-<label>` in letters and digits.

    The table is set in small type, and scaled to the width of the text if it is wider.
    """
    metrics = table_metrics(table)
    anchor = "-".join(["tab:agreement", *re.findall(r"\w+", label)])
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(' '.join([f'{caption}.', notes(table), *remarks]))}}}",
        rf"\label{{{anchor}}}",
        r"\footnotesize\setlength{\tabcolsep}{3pt}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{ll{'r' * (1 + len(metrics))}}}",
        r"\toprule",
        " & ".join(_stacked(heading) for heading in _headings(table)) + r" \\",
    ]
    for cohort, rows in table.groupby("cohort", sort=False):
        lines.append(r"\midrule")
        for index, row in enumerate(rows.to_dict("records")):
            cells = [str(cohort) if index == 0 else "", row["comparison"], *counts_and_means(row, metrics)]
            lines.append(_line(cells, bold=row["comparison"] in SET_OFF))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""])


def _stacked(heading: str) -> str:
    """Return a heading in LaTeX, a line below the other where it has several parts."""
    parts = [escape(part) for part in heading.split(", ")]
    below = r"\\".join(parts)
    return below if len(parts) == 1 else rf"\shortstack[r]{{{below}}}"


def escape(text: str) -> str:
    """Escape LaTeX's special characters."""
    return text.translate(_SPECIAL)


def _line(cells: list[str], bold: bool = False) -> str:
    escaped = [escape(cell) for cell in cells]
    return " & ".join(rf"\textbf{{{cell}}}" if bold and cell else cell for cell in escaped) + r" \\"
