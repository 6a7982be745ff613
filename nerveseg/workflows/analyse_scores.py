"""What a comparison ends in: tables on the screen and in files, the report, and what was printed for the next time."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from nerveseg.errors import ConfigurationError
from nerveseg.evaluation.analysis import Analysis, analyse, write_analysis
from nerveseg.evaluation.hypotheses import Margins
from nerveseg.evaluation.tables.summaries import summaries
from nerveseg.evaluation.tables.table1 import reference_table, render_table1
from nerveseg.files import write_text
from nerveseg.launch.compose import parse_section, require_section
from nerveseg.runs import find_folds
from nerveseg.workflows.score_subjects import measure_subjects
from nerveseg.workflows.write_report import EvaluatedStudy, write_report

SUMMARY = "summary.txt"
"""All that was printed, beside the tables."""

OPTIONS = "presentation.json"
"""How that was judged and shown; written before it."""

PAGE_WIDTH = 100


@dataclass(frozen=True)
class EvaluationOptions:
    """How results are judged and shown.

    Attributes:
        margins: Of non-inferiority.
        reference: A published Table 1 to show beside ours.
        console: Where tables are printed.
        report: Whether pages and figures are written beside the tables.
    """

    margins: Margins
    reference: pd.DataFrame | None
    console: Console
    report: bool = True

    @property
    def options(self) -> str:
        """What the printed tables depend on besides the results, as JSON."""
        reference_table = None if self.reference is None else "paper"
        said = {"margins": self.margins.model_dump(), "reference_table": reference_table, "report": self.report}
        return json.dumps(said, indent=2) + "\n"


def parse_evaluation_options(config: dict[str, Any], console: Console) -> EvaluationOptions:
    """How the configuration wants results to be judged and shown.

    Raises:
        ConfigurationError: A margin is out of its range, the published table is unknown, or report is no truth value.
    """
    name = config["reference_table"]
    if name not in (None, "paper"):
        raise ConfigurationError("reference_table is null or paper", found=name)
    report = config.get("report", True)
    if not isinstance(report, bool):
        raise ConfigurationError("report is true or false", found=report)
    margins = parse_section(Margins, require_section(config, "margins"), "margins")
    return EvaluationOptions(margins, None if name is None else reference_table("paper"), console, report)


def print_cached_summary(folder: Path, shown: EvaluationOptions) -> bool:
    """Print what the last comparison printed; False if there is none, it is outdated, or it was judged another way.

    Args:
        folder: Holds the folds.
        shown: How results are to be judged and shown now.
    """
    summary, options = folder / "evaluation" / SUMMARY, folder / "evaluation" / OPTIONS
    if not (summary.is_file() and options.is_file() and options.read_bytes() == shown.options.encode()):
        return False
    earlier = [options, *(fold.scores for fold in find_folds(folder) if fold.is_complete)]
    if any(path.stat().st_mtime > summary.stat().st_mtime for path in earlier):
        return False
    shown.console.print(summary.read_text(encoding="utf-8"), highlight=False, markup=False, soft_wrap=True)
    return True


def analyse_and_write(judged: EvaluatedStudy, output: Path, shown: EvaluationOptions) -> None:
    """Measure the masks of a study, then make, write and print all tables, and write the report.

    Args:
        judged: Whose masks are compared.
        output: Folder of the evaluation; `summary.txt` comes last.
        shown: How results are judged and shown.

    Raises:
        VolumeError: A file cannot be read.
        GeometryError: A mask does not lie on its image's grid.
    """
    analysis = analyse(
        measure_subjects(judged.study, judged.predictions, shown.console, judged.consensus), shown.margins
    )
    title = f"Table 1, {judged.title}"
    write_analysis(analysis, output, title)
    _print(analysis, title, shown.reference, shown.console)
    page = Console(file=io.StringIO(), width=PAGE_WIDTH)
    _print(analysis, title, shown.reference, page)
    assert isinstance(page.file, io.StringIO)
    report = write_report(output, judged, analysis, shown.reference, shown.console) if shown.report else None
    write_text(output / OPTIONS, shown.options)
    write_text(output / SUMMARY, page.file.getvalue())
    shown.console.print(f"\ntables and figures: {output}", highlight=False, soft_wrap=True)
    if report:
        shown.console.print(f"report: {report}", highlight=False, soft_wrap=True)


def _print(analysis: Analysis, title: str, reference: pd.DataFrame | None, console: Console) -> None:
    console.print(f"\n{title}", style="bold", highlight=False, markup=False)
    console.print(render_table1(analysis.table1, reference))
    for remark in analysis.remarks:
        console.print(remark, highlight=False, markup=False)
    for summary in summaries(analysis):
        console.print(summary)
