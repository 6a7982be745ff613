"""Table 1 in LaTeX for a paper: a booktabs table with the digits and notes of the other formats."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nerveseg.evaluation.comparisons import AUTOMATIC_CONSENSUS, RATER_RATER
from nerveseg.evaluation.tables.table1 import mean_sd, notes, table_metrics, text_headings

_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


def table1_latex(table: pd.DataFrame, caption: str, remarks: Sequence[str] = ()) -> str:
    r"""Format Table 1 as a `table` environment, which needs `\usepackage{booktabs}`.

    Args:
        table: Table 1, from `table1`.
        caption: Title, before the notes in the caption.
        remarks: Further sentences of the caption.
    """
    metrics = table_metrics(table)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(' '.join([f'{caption}.', notes(table), *remarks]))}}}",
        rf"\begin{{tabular}}{{ll{'r' * (1 + len(metrics))}}}",
        r"\toprule",
        _line(text_headings(metrics)),
    ]
    for cohort, rows in table.groupby("cohort", sort=False):
        lines.append(r"\midrule")
        for index, row in enumerate(rows.to_dict("records")):
            bold = row["comparison"] in (RATER_RATER, AUTOMATIC_CONSENSUS)
            cells = [row["comparison"], str(row["n"]), *(mean_sd(row, metric) for metric in metrics)]
            lines.append(_line([str(cohort) if index == 0 else "", *cells], bold))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def escape(text: str) -> str:
    """Escape LaTeX's special characters."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _line(cells: list[str], bold: bool = False) -> str:
    escaped = [escape(cell) for cell in cells]
    return " & ".join(rf"\textbf{{{cell}}}" if bold and cell else cell for cell in escaped) + r" \\"
