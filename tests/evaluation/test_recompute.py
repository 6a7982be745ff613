"""Compare every cell of an evaluation's tables with `recompute.py`, which knows masks and documentation only."""

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest

from nerveseg.evaluate import main as evaluate
from tests.evaluation import recompute
from tests.integration.test_any_masks import SHAPE, nerve, save
from tests.integration.test_any_masks import Study as Files

PEOPLE = (
    *((f"P{n:02d}", f"P{n:02d}", "patient", ("distal", "medial")[n % 2], None) for n in range(1, 8)),
    ("P08", "P01", "patient", "medial", "P01"),
    ("P09", "P01", "patient", "distal", "P01"),
    ("P10", "P02", "patient", "medial", None),
    *((f"V{n:02d}", f"V{n:02d}", "volunteer", "distal", None) for n in range(1, 4)),
    ("V04", "V01", "volunteer", "distal", "V01"),
)
EMPTY = ["", "nan", "NaN", "None", "<NA>"]


def written(folder, raters):
    """Masks of people with repeated scans, branches, false pieces, missed slices, empty and missing masks."""
    files = Files(folder, raters, [person[0] for person in PEOPLE], missing_raters="allow")
    random = np.random.default_rng(7)
    for path in sorted(folder.rglob("*.nii.gz")):
        if path.parent.name == "study":
            continue
        mask = nerve(random)
        if random.random() < 0.5:
            mask[:, 13:16, random.integers(0, 6) :] = 0
        if random.random() < 0.3:
            mask[2:4, 2:4, random.integers(0, 6)] = 1
        if random.random() < 0.3:
            mask[..., : random.integers(1, 3)] = 0
        save(path, mask)
    save(files.prediction("P03"), np.zeros(SHAPE, np.uint8))
    save(files.mask(raters[1], "P04"), np.zeros(SHAPE, np.uint8))
    save(files.prediction("P04"), np.zeros(SHAPE, np.uint8))
    files.mask(raters[2], "P05").unlink()
    for rater in raters[:-1]:
        files.mask(rater, "P06").unlink()
    columns = ["participant_id", "group", "cohort", "location", "repeat_of"]
    rows = [[cell or "n/a" for cell in person] for person in PEOPLE]
    text = "\n".join("\t".join(row) for row in [columns, *rows])
    (files.root / "participants.tsv").write_text(text + "\n", encoding="utf-8")
    return files


def facts(files, raters):
    return [
        {
            "id": subject, "group": group, "cohort": cohort, "location": location, "repeat_of": repeat_of,
            "raters": {r: files.mask(r, subject) for r in raters if files.mask(r, subject).exists()},
            "automatic": files.prediction(subject),
        }
        for subject, group, cohort, location, repeat_of in PEOPLE
    ]  # fmt: skip


def differing(name, table, expected, key):
    """Return the cells of a table that differ from those that were expected, as text."""
    wrong = []
    found = {tuple(row[column] for column in key): row for row in table}
    wrong += [f"{name} {each} in one of both only" for each in found.keys() ^ expected.keys()]
    for index in found.keys() & expected.keys():
        for column in found[index].keys() - {*key, "note"}:
            cell, value = found[index][column], expected[index].get(column, math.nan)
            if isinstance(value, str | bool | np.bool_):
                same = cell == str(value)
            elif value is None or math.isnan(value):
                same = cell in EMPTY
            else:
                same = cell not in EMPTY and float(cell) == pytest.approx(float(value), rel=1e-7, abs=1e-8)
            if not same:
                wrong.append(f"{name} {index} {column}: {cell}, expected {value}")
        wrong += [f"{name} has no column {column}" for column in expected[index].keys() - found[index].keys()]
    return wrong


@pytest.mark.parametrize("raters", [("OS", "BW", "LG"), ("OS", "BW", "LG", "TK")])
def test_every_cell_is_that_of_an_independent_script(tmp_path, raters):
    files = written(tmp_path, raters)
    assert evaluate([*files.start, "report=false", f"prediction={files.masks}"]) == 0
    (folder,) = files.output.glob("*/evaluation")
    study = recompute.Study(facts(files, raters), raters)
    wrong, cells = [], 0
    for name, (compute, key) in recompute.TABLES.items():
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
        assert {row.pop("class") for row in table} == {"nerve"}
        cells += sum(map(len, table))
        wrong += differing(name, table, compute(study), key)
        table[-1] = {column: f"{cell}1" for column, cell in table[-1].items()}
        assert differing(name, table, compute(study), key), "a cell that is wrong is found"
    assert not wrong, "\n".join(wrong[:20])
    assert cells > 4000


def test_the_documentation_explains_every_column_and_metric_of_every_table(tmp_path):
    raters = ("OS", "BW", "LG")
    files = written(tmp_path, raters)
    assert evaluate([*files.start, "report=false", f"prediction={files.masks}"]) == 0
    (folder,) = files.output.glob("*/evaluation")
    text = (Path(__file__).parents[2] / "docs/columns.md").read_text(encoding="utf-8")
    sections = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    common, metrics = text.split("\n## ")[0].replace("**", "`"), sections["scores.csv"]
    for path in folder.glob("*.csv"):
        (section,) = [body for title, body in sections.items() if path.name in title.split(", ")]
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames
        for column in columns:
            parts = re.fullmatch(r"(.*?)(_(?:mean|sd|median|q1|q3|ci_low|ci_high))", column)
            if f"`{column}`" in section + common:
                continue
            assert parts, (path.name, column)
            assert f"`{parts[1]}`" in metrics or parts[1].startswith("branch_sensitivity_"), (path.name, column)
            assert f"{parts[2]}`" in section, (path.name, column)
        if path.name == "scores.csv":
            explained = set(re.findall(r"`(\w+)`", section)) | {
                f"branch_sensitivity{end}" for end in ("_undivided", "_divided")
            }
            assert {row["metric"] for row in rows} <= explained
