"""Analysis of a study with one or several classes, and its files.

Each class is analysed by itself, as if the study had no other, so a subject counts once in every statistic. In the
files the tables of the classes stand one below the other, told apart by the column `class`. Only `times.csv` has none,
since a subject's minutes are those of all its classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from nerveseg.evaluation.analysis import Analysis, Measurements, analyse
from nerveseg.evaluation.comparisons import CLASS, write_scores
from nerveseg.evaluation.margins import Margins
from nerveseg.evaluation.tables.table1 import table1_latex, table1_markdown
from nerveseg.files import write_csv, write_text


def analyse_classes(
    measurements: Measurements, margins: Margins, stored: Margins | None = None, notes: Sequence[str] = ()
) -> list[Analysis]:
    """Compute all tables of every class, as `analyse` does for one; the classes are in the study's order."""
    names = tuple(measurements.classes)
    parts = {name: analyse(measurements.of_class(name), margins, stored, notes) for name in names}
    return [replace(part, structure=name, classes=names) for name, part in parts.items()]


def common_remarks(analyses: Sequence[Analysis]) -> list[str]:
    """Return the remarks that all classes have; of a single class, all."""
    return [remark for remark in analyses[0].remarks if all(remark in other.remarks for other in analyses)]


def own_remarks(analysis: Analysis, common: Sequence[str]) -> list[str]:
    """Return the remarks of one class that are not `common`."""
    return [remark for remark in analysis.remarks if remark not in common]


def write_analysis(analyses: Sequence[Analysis], measurements: Measurements, folder: Path, title: str) -> None:
    """Write every table into a folder, each file in one piece; a title such as "study bids" is part of Table 1's.

    The analyses are those of the classes of the measurements.
    """
    known = [table for table in (measurements.scores, measurements.legs) if len(table)]
    write_scores(folder / "scores.csv", pd.concat(known, ignore_index=True) if known else measurements.scores)
    write_csv(folder / "quantities.csv", measurements.quantities)
    write_csv(folder / "slices.csv", measurements.slices)
    for name in ("table1", "locations", "like_for_like", "tests", "agreement"):
        write_csv(folder / f"{name}.csv", _of_all_classes(analyses, name))
    (folder / "sides.csv").unlink(missing_ok=True)
    if len(measurements.legs):
        write_csv(folder / "sides.csv", _of_all_classes(analyses, "sides"))
    write_csv(folder / "times.csv", analyses[0].times)
    (folder / "expected_dice.csv").unlink(missing_ok=True)
    if len(measurements.expected):
        write_csv(folder / "expected_dice.csv", measurements.expected)
    common = common_remarks(analyses)
    blocks, latex = [], []
    for part in analyses:
        heading = f"## {part.label}\n\n" if part.label else ""
        remarks = "".join(f"\n{remark}\n" for remark in own_remarks(part, common))
        blocks.append(f"{heading}{table1_markdown(part.table1)}{remarks}")
        caption = ", ".join(filter(None, ("Agreement", title, part.label)))
        latex.append(table1_latex(part.table1, caption, part.remarks, part.label))
    remarks = "".join(f"\n{remark}\n" for remark in common)
    write_text(folder / "table1.md", f"# Table 1, {title}\n\n" + "\n".join(blocks) + remarks)
    write_text(folder / "table1.tex", "\n".join(latex))


def _of_all_classes(analyses: Sequence[Analysis], name: str) -> pd.DataFrame:
    """Return a table of every class, one below the other, with the name of the class in the first column."""
    tables: list[pd.DataFrame] = [getattr(part, name).copy() for part in analyses]
    for part, table in zip(analyses, tables, strict=True):
        table.insert(0, CLASS, part.structure)
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
