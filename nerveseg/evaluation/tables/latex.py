"""Table 1 as LaTeX, for a paper: a booktabs table with the digits and notes of the other forms."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nerveseg.evaluation.comparisons import AUTOMATIC_CONSENSUS, RATER_RATER
from nerveseg.evaluation.tables.table1 import HEADINGS, mean_sd, notes

_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


def table1_latex(table: pd.DataFrame, caption: str, remarks: Sequence[str] = ()) -> str:
    r"""Table 1 as a `table` environment; needs `\usepackage{booktabs}`.

    Args:
        table: What `tables.table1` returned.
        caption: Heads the notes in the caption.
        remarks: Further sentences of the caption.
    """
    metrics = [metric for metric in HEADINGS if f"{metric}_mean" in table]
    headings = ["cohort", "comparison", "n", *(HEADINGS[metric].replace("\n", ", ") for metric in metrics)]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(' '.join([f'{caption}.', notes(table), *remarks]))}}}",
        rf"\begin{{tabular}}{{ll{'r' * (1 + len(metrics))}}}",
        r"\toprule",
        _line(headings),
    ]
    for cohort, rows in table.groupby("cohort", sort=False):
        lines.append(r"\midrule")
        for index, row in enumerate(rows.to_dict("records")):
            bold = row["comparison"] in (RATER_RATER, AUTOMATIC_CONSENSUS)
            cells = [row["comparison"], str(row["n"]), *(mean_sd(row, metric) for metric in metrics)]
            lines.append(_line([str(cohort) if index == 0 else "", *cells], bold))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def escape(text: str) -> str:
    """Text in which LaTeX's special characters stand for themselves."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _line(cells: list[str], bold: bool = False) -> str:
    escaped = [escape(cell) for cell in cells]
    return " & ".join(rf"\textbf{{{cell}}}" if bold and cell else cell for cell in escaped) + r" \\"
