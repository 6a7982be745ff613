"""Page of a study: Table 1, tests as text, interactive boxplots, and every subject, failures first.

One HTML file that opens from disk without a network, with `assets/plotly.min.js` once per folder, the figures, and the
subjects' pages beside it. It holds no path and no name except the study's ids.

Beside the paper's two boxes, R-R and Auto-GT, is Auto-R, the automatic mask against each rater: only R-R and Auto-R
compare like with like. A value that is undefined, because a mask is empty, is no point; the page states their number.
"""

import io
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from rich.console import Console

from nerveseg.biomarkers.wording import listed
from nerveseg.console import PLAIN
from nerveseg.evaluation.analysis import Analysis
from nerveseg.evaluation.comparisons import AUTOMATIC, AUTOMATIC_CONSENSUS, RATER_RATER, cohorts_in_order, rater_pairs
from nerveseg.evaluation.metric_catalog import BY_KEY, METRICS, MetricWords, number_in_words
from nerveseg.evaluation.tables.summaries import summaries, time_summaries
from nerveseg.evaluation.tables.table1 import mean_sd, median_and_interval, notes, published_rows, table_metrics
from nerveseg.files import write_text
from nerveseg.reporting.conclusions import expectation_in_words, questions
from nerveseg.reporting.page_assets import PLOTLY, json_for_script, render, write_plotly
from nerveseg.reporting.study_view import StudyView

ROW_METRICS = ("dice", "hd95_mm", "hd95_paper_mm", "vs", "cldice")  # scores in a subject's row

AUTOMATIC_RATER = f"{AUTOMATIC}-R"


def write_study_page(path: Path, view: StudyView) -> None:
    """Write the page as an HTML file, and the chart library beside it if it is missing."""
    write_plotly(path.parent)
    write_text(path, study_html(view))


def study_html(view: StudyView) -> str:
    """Render the page."""
    pages = {row.id: quote(row.card.page) if row.card.page else None for row in view.subjects}
    table, scores = view.analysis.table1, view.analysis.measurements.scores
    published = published_rows(view.reference, table)
    in_paper = set(view.reference) if published and view.reference is not None else set()
    content = {
        "view": view,
        "notes": notes(table),
        "expectation": expectation_in_words(view.analysis.measurements.expected),
        "questions": questions(view.analysis.tests, view.label),
        "numbers": _as_text(view.analysis),
        "introduction": introduction(view),
        "headings": [(BY_KEY[metric], f"{metric}_mean" in in_paper) for metric in table_metrics(table)],
        "table1": {cohort: rows.to_dict("records") for cohort, rows in table.groupby("cohort", sort=False)},
        "published": published,
        "mean_sd": mean_sd,
        "median_and_interval": median_and_interval,
        "number_in_words": number_in_words,
        "has_pages": _has_pages(view),
        "row_metrics": [BY_KEY[key] for key in ROW_METRICS if any(key in row.scores for row in view.subjects)],
        "shown": {
            "raters": view.compared != RATER_RATER and any(row.raters_dice == row.raters_dice for row in view.subjects),
            "location": any(row.location for row in view.subjects),
            "side": any(row.side for row in view.subjects),
            "fold": any(row.fold is not None for row in view.subjects),
            "thumbnail": any(row.card.thumbnail for row in view.subjects),
        },
        "cohorts": list(dict.fromkeys(table["cohort"])),
        "locations": sorted({row.location for row in view.subjects if row.location}),
        "failed": sum(row.failed for row in view.subjects),
        "flagged": sum(bool(row.card.flags) for row in view.subjects),
        "definitions": _shown_metrics(scores),
        "data": json_for_script({"study": view.name, **boxplots(scores, view.raters, pages)}),
        "library": PLOTLY,
    }
    return render("study.html.j2", **content)


def introduction(view: StudyView) -> list[str]:
    """Describe the page in three sentences."""
    cohorts = view.analysis.measurements.scores.drop_duplicates("subject").groupby("cohort")["subject"].size()
    counted = ", ".join(
        _counted(int(cohorts[cohort]), cohort) for cohort in dict.fromkeys(map(str, view.analysis.table1["cohort"]))
    )
    raters = listed(list(view.raters))
    structure = f"the class {view.label}" if view.label else "nerves"
    hands = f"{len(view.raters)} raters ({raters})" if len(view.raters) > 1 else f"one rater ({raters})"
    opens = "; its name opens a page to check by eye" if _has_pages(view) else ""
    ending = f"Below Table 1, every subject has a row, the worst first{opens}."
    if view.compared == RATER_RATER:
        return [
            f"This page shows how well {hands} agree when they outline {structure} by hand in the MR images of"
            f" {len(view.subjects)} subjects ({counted}).",
            f"GT is {_reference(view)}; no automatic segmentation is judged here.",
            ending,
        ]
    folds = view.analysis.measurements.scores["fold"].nunique()
    origin = (
        f"Each subject was outlined by a network that had learned from other subjects only ({folds} fold"
        f"{'' if folds == 1 else 's'} of a cross-validation)"
        if folds
        else "The automatic masks came from outside, so it is not known here whether the method had seen these subjects"
    )
    return [
        f"This page shows how well an automatic method outlines {structure} in the MR images of {len(view.subjects)}"
        f" subjects ({counted}), measured against the outlines that {hands} drew by hand.",
        f"{origin}; the reference, called GT, is {_reference(view)}.",
        ending,
    ]


def _reference(view: StudyView) -> str:
    if len(view.raters) == 1:
        return "the rater's own outline"
    if view.analysis.measurements.consensus == "staple":
        return "the raters' consensus after STAPLE"
    return "what both raters outlined" if len(view.raters) == 2 else "what most raters outlined"


def _as_text(analysis: Analysis) -> str:
    page = io.StringIO()
    console = Console(file=page, width=100, **PLAIN)
    for summary in [*summaries(analysis), *time_summaries(analysis)]:
        console.print(summary)
    return "\n".join(line.rstrip() for line in page.getvalue().strip("\n").splitlines())


def _has_pages(view: StudyView) -> bool:
    return any(row.card.page for row in view.subjects)


def _counted(number: int, cohort: str) -> str:
    # Other names of cohorts may have no regular plural.
    plural = "s" if cohort in ("volunteer", "patient") and number != 1 else ""
    return f"{number} {cohort}{plural}"


def boxplots(scores: pd.DataFrame, raters: Sequence[str], pages: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the points of every box, as data for JSON, from the rows of `scores.csv`.

    Returns:
        Mapping with `metrics`, `cohorts`, `groups`, `subjects` (id, page), and `cases`: the indices of cohort, group
        and subject, the comparison, and one value per metric or None.
    """
    metrics = _shown_metrics(scores)
    members = _pooled_comparisons(raters)
    groups = [name for name, pooled in members.items() if scores["comparison"].isin(pooled).any()]
    cohorts = cohorts_in_order(scores)
    subjects = list(dict.fromkeys(map(str, scores["subject"])))
    wide = scores.pivot(index=["cohort", "subject", "comparison"], columns="metric", values="value")
    cases = [
        [cohorts.index(cohort), groups.index(group), subjects.index(subject), comparison, *_values(row, metrics)]
        for group in groups
        for (cohort, subject, comparison), row in zip(wide.index, wide.to_dict("records"), strict=True)
        if comparison in members[group]
    ]
    return {
        "metrics": [{"key": m.key, "label": m.label, "unit": m.unit, "better": m.better} for m in metrics],
        "cohorts": cohorts,
        "groups": groups,
        "subjects": [[subject, pages.get(subject)] for subject in subjects],
        "cases": cases,
    }


def _shown_metrics(scores: pd.DataFrame) -> list[MetricWords]:
    """Return the metrics of these scores that the catalog explains, in the order of `METRICS`."""
    present = set(scores["metric"])
    return [metric for metric in METRICS if metric.key in present]


def _pooled_comparisons(raters: Sequence[str]) -> dict[str, list[str]]:
    """Return the comparisons in each box; with a single rater, who is the reference, Auto-GT only."""
    several = list(raters) if len(raters) > 1 else []
    return {
        RATER_RATER: rater_pairs(several),
        AUTOMATIC_RATER: [f"{AUTOMATIC}-{rater}" for rater in several],
        AUTOMATIC_CONSENSUS: [AUTOMATIC_CONSENSUS],
    }


def _values(row: Mapping[Any, float], metrics: Sequence[MetricWords]) -> list[float | None]:
    values = [float(row[metric.key]) for metric in metrics]
    return [float(f"{value:.5g}") if isfinite(value) else None for value in values]
