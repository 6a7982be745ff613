"""Analyse the scores of a study; write and print its tables, its report and the cached summary."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console, RenderableType
from rich.text import Text

from nerveseg.console import PLAIN, console, say
from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.class_analysis import analyse_classes, common_remarks, own_remarks, write_analysis
from nerveseg.evaluation.tables.summaries import render_table1, summaries, time_summaries
from nerveseg.evaluation.tables.table1 import reference_table
from nerveseg.files import check_writable_folder, write_text, writing_below
from nerveseg.reporting.conclusions import expectation_in_words
from nerveseg.runs import find_folds
from nerveseg.workflows.config import ReportConfig
from nerveseg.workflows.score_subjects import measure_subjects
from nerveseg.workflows.write_report import EvaluatedStudy, write_report

SUMMARY = "summary.txt"  # name of the file with the printed summary, beside the tables

OPTIONS = "presentation.json"  # name of the file with the options of the summary, written before it

PAGE_WIDTH = 100  # width of the summary file, in characters


def options_text(options: ReportConfig) -> str:
    """Return the options on which the printed tables depend, as JSON."""
    return json.dumps(options.model_dump(include={*ReportConfig.model_fields}), indent=2) + "\n"


def print_cached_summary(folder: Path, options: ReportConfig) -> bool:
    """Print the summary of the folds' last evaluation; return False if it is missing, outdated, or of other options."""
    summary, cached = folder / "evaluation" / SUMMARY, folder / "evaluation" / OPTIONS
    if not (summary.is_file() and cached.is_file() and cached.read_bytes() == options_text(options).encode()):
        return False
    earlier = [cached, *(fold.scores for fold in find_folds(folder) if fold.is_complete)]
    if any(path.stat().st_mtime > summary.stat().st_mtime for path in earlier):
        return False
    for line in summary.read_text(encoding="utf-8").splitlines():
        say(line)
    return True


def analyse_and_write(evaluated: EvaluatedStudy, output: Path, options: ReportConfig) -> None:
    """Measure the masks of a study; compute, write and print all tables, and write the report, `summary.txt` last."""
    check_writable_folder(output, "output")
    measured = measure_subjects(evaluated.study, evaluated.predictions, evaluated.consensus)
    measurements = measured if evaluated.expected is None else replace(measured, expected=evaluated.expected)
    reference = None if options.reference_table is None else reference_table(options.reference_table)
    notes = list(evaluated.notes)
    if reference is not None and len(measurements.classes) > 1:
        reference = None
        notes.append("The published table is of whole nerves, so it does not stand beside several classes.")
    analyses = analyse_classes(measurements, options.margins, evaluated.margins, notes)
    title = f"Table 1, {evaluated.title}"
    page = io.StringIO()
    with writing_below(output):
        write_analysis(analyses, measurements, output, evaluated.title)
        for target in (console, Console(file=page, width=PAGE_WIDTH, **PLAIN)):
            for part in _summary(analyses, title, reference):
                target.print(part)
        report = write_report(output, evaluated, analyses, reference) if options.report else None
        write_text(output / OPTIONS, options_text(options))
        write_text(output / SUMMARY, page.getvalue())
    say(f"\ntables and figures: {output}")
    if report:
        say(f"report: {report}")


def _summary(analyses: Sequence[Analysis], title: str, reference: pd.DataFrame | None) -> list[RenderableType]:
    """Return the title, Table 1, its remarks and the further tables, in the order in which they are printed.

    Several classes have a block each, below their names.
    """
    common = common_remarks(analyses)
    parts: list[RenderableType] = [Text(f"\n{title}", style="bold")]
    for part in analyses:
        parts += [*_heading(part), render_table1(part.table1, reference), *map(Text, own_remarks(part, common))]
    parts += map(Text, common)
    for part in analyses:
        parts += [*_heading(part), *summaries(part)]
        parts += map(Text, filter(None, [expectation_in_words(part.measurements.expected)]))
    return [*parts, *time_summaries(analyses[0])]


def _heading(part: Analysis) -> list[Text]:
    return [Text(f"\nClass {part.label}", style="bold")] if part.label else []
