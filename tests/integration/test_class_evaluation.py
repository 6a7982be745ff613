"""`evaluate` and `check` of two nested and two disjoint classes, against an independent script and each class alone."""

import csv

import nibabel as nib
import numpy as np
import pytest

from nerveseg.check import main as check
from nerveseg.evaluate import main as evaluate
from nerveseg.workflows import draw_figures
from tests.evaluation import recompute
from tests.evaluation.test_recompute import differing
from tests.integration.test_any_masks import SHAPE, Study, save

pytestmark = pytest.mark.integration

RATERS = ("OS", "BW", "LG")
CLASSES = {"tibial": [1], "peroneal": [2], "nerve": [1, 2]}
SUBJECTS = ("P01", "P02", "P03", "P04", "P05", "V01", "V02")


def label_map(random):
    """A tibial nerve, a thinner peroneal nerve in the lower slices, and a part that is no class."""
    x, y, z = np.indices(SHAPE)
    near = np.hypot(x - 12 - random.normal(0, 0.5), y - 14) < random.uniform(3.4, 4.2)
    far = (np.hypot(x - 21 - random.normal(0, 0.5), y - 14) < random.uniform(2.2, 3.0)) & (z < 4)
    labels = np.where(near, 1, np.where(far, 2, 0)).astype(np.uint8)
    labels[random.random(SHAPE) < 0.02] = 0
    labels[28, 28, random.integers(0, 6)] = 9
    return labels


def written(folder, classes, only=None, subjects=SUBJECTS):
    """The files of the study, as label maps or as masks of one class.

    One peroneal nerve was not found, and one was not drawn by anybody.
    """
    files = Study(folder, RATERS, subjects, classes=classes)
    random = np.random.default_rng(3)
    for subject in subjects:
        for path in (*(files.mask(rater, subject) for rater in RATERS), files.prediction(subject)):
            labels = label_map(random)
            if subject == "P05" or path == files.prediction("P04"):
                labels[labels == 2] = 0
            save(path, labels if only is None else np.isin(labels, CLASSES[only]).astype(np.uint8))
    return files


def alone(folder, name):
    """The files of the study of one class, without any other label."""
    return written(folder, {name: [1]}, only=name)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Tables of the study of all classes, and of a study of each class alone."""
    studies = {"all": written(tmp_path_factory.mktemp("all"), CLASSES)}
    studies |= {name: alone(tmp_path_factory.mktemp(name), name) for name in CLASSES}
    folders = {}
    for name, files in studies.items():
        assert evaluate([*files.start, f"prediction={files.masks}", "report=false"]) == 0
        (folders[name],) = files.output.glob("*/evaluation")
    return folders


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", list(CLASSES))
def test_each_class_has_the_rows_of_its_own_evaluation(evaluated, name):
    for path in sorted(evaluated["all"].glob("*.csv")):
        if path.name != "times.csv":
            found = [row for row in rows(path) if row["class"] == name]
            assert found == rows(evaluated[name] / path.name), path.name
            assert found or path.name == "locations.csv"


@pytest.mark.parametrize("name", list(CLASSES))
def test_every_cell_of_a_class_is_that_of_an_independent_script(evaluated, name, tmp_path):
    files = alone(tmp_path, name)
    facts = [
        {
            "id": subject, "group": subject, "cohort": "patient" if subject[0] == "P" else "volunteer",
            "location": None, "repeat_of": None, "raters": {rater: files.mask(rater, subject) for rater in RATERS},
            "automatic": files.prediction(subject),
        }
        for subject in SUBJECTS
    ]  # fmt: skip
    study, wrong = recompute.Study(facts, RATERS), []
    for table, (compute, key) in recompute.TABLES.items():
        own = [row for row in rows(evaluated["all"] / f"{table}.csv") if row.pop("class") == name]
        wrong += differing(table, own, compute(study), key)
    assert not wrong, "\n".join(wrong[:20])


def test_the_summary_has_a_block_per_class(evaluated):
    text = (evaluated["all"] / "summary.txt").read_text(encoding="utf-8")
    headings = [line for line in text.splitlines() if line.startswith("Class ")]
    assert headings == [f"Class {name}" for name in CLASSES] * 2
    assert "Class" not in (evaluated["tibial"] / "summary.txt").read_text(encoding="utf-8")


def unrendered(folder, name, figure):
    """Stand for the rendering of a figure, which takes seconds; the figure itself was made."""
    assert figure.findobj()
    return folder / f"{name}.png", folder / f"{name}.pdf"


@pytest.mark.slow
def test_a_report_has_pages_and_figures_of_each_class(tmp_path, monkeypatch):
    monkeypatch.setattr(draw_figures, "save_figure", unrendered)
    subjects = ("P01", "P04", "V01")
    files = written(tmp_path, {"tibial": [1], "peroneal": [2]}, subjects=subjects)
    assert evaluate([*files.start, f"prediction={files.masks}", "reference_table=paper"]) == 0
    (folder,) = files.output.glob("*/evaluation")
    pages = {path.name for path in folder.glob("*.html")}
    assert pages == {"report.html", "report-peroneal.html"}
    for name, page in (("tibial", "report.html"), ("peroneal", "report-peroneal.html")):
        html = (folder / page).read_text(encoding="utf-8")
        assert f'href="subjects/{name}/P01.html"' in html
        assert f'src="figures/{name}/comparison.png"' in html
        assert "with the paper’s beside it" not in html
        assert {path.stem for path in (folder / "subjects" / name).iterdir()} == set(subjects)
        subject = (folder / "subjects" / name / "P01.html").read_text(encoding="utf-8")
        assert f'href="../../{page}"' in subject
        assert 'value="../peroneal/P01.html"' in subject
    assert "does not stand beside several classes" in (folder / "summary.txt").read_text(encoding="utf-8")


def test_what_is_no_nerve_has_a_volume_and_neither_flags_nor_a_course(tmp_path, monkeypatch):
    monkeypatch.setattr(draw_figures, "save_figure", unrendered)
    files = written(tmp_path, {"nerve": [1], "vessel": [2]}, subjects=("P01",))
    assert evaluate([*files.start, f"prediction={files.masks}"]) == 0
    (folder,) = files.output.glob("*/evaluation")
    pages = {name: (folder / "subjects" / name / "P01.html").read_text("utf-8") for name in ("nerve", "vessel")}
    for text, shown in {"Along the nerve": "nerve", "Zoom on the vessel": "vessel", "Not checked": "vessel"}.items():
        assert {name for name, page in pages.items() if text in page} == {shown}
    volume = next(
        float(row["value"])
        for row in rows(folder / "quantities.csv")
        if (row["class"], row["source"], row["quantity"]) == ("vessel", "Auto", "volume_mm3")
    )
    assert f"<td>{volume:,.0f} mm³</td>" in pages["vessel"]
    studies = [(folder / name).read_text(encoding="utf-8") for name in ("report.html", "report-vessel.html")]
    assert ["/profiles.png" in page for page in studies] == [True, False]


def test_check_has_a_row_per_mask_and_class_and_finds_exchanged_labels(tmp_path, capsys):
    files = written(tmp_path, {"tibial": [1], "peroneal": [2]})
    words = [*files.start, "preprocessing.size=[32, 32]"]
    assert check(words) == 0, capsys.readouterr().err
    (path,) = files.output.rglob("check.csv")
    table = rows(path)
    assert len(table) == 2 * len(RATERS) * len(SUBJECTS)
    assert [row["class"] for row in table[:6]] == ["tibial"] * 3 + ["peroneal"] * 3
    assert not any(row["faults"] for row in table)
    labels = np.asarray(nib.load(files.mask("BW", "P02")).dataobj)
    save(files.mask("BW", "P02"), np.choose(np.where(labels > 2, 3, labels), [0, 2, 1, 9]).astype(np.uint8))
    capsys.readouterr()
    assert check(words) == 2
    flagged = [(row["subject"], row["rater"], row["class"]) for row in rows(path) if row["faults"]]
    assert flagged == [("P02", "BW", "tibial"), ("P02", "BW", "peroneal")]
    assert "class tibial" in capsys.readouterr().err
    assert (path.parent / "check.html").is_file()
