"""`evaluate study=... prediction=...`: masks of any origin against a study's raters, and raters alone."""

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from nerveseg.evaluate import main as evaluate

pytestmark = pytest.mark.integration

SHAPE, AFFINE = (32, 30, 6), np.diag([-0.5, 0.5, 4.0, 1.0])
TABLES = {
    "summary.txt",
    "presentation.json",
    "scores.csv",
    "table1.csv",
    "table1.md",
    "table1.tex",
    "locations.csv",
    "like_for_like.csv",
    "tests.csv",
    "quantities.csv",
    "agreement.csv",
    "times.csv",
    "slices.csv",
}
REPORT = {"report.html", "subjects", "figures", "assets"}


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def nerve(random, label=1):
    x, y, _ = np.indices(SHAPE)
    centre = np.array([15, 14]) + random.normal(0, 0.5, 2)
    return (np.hypot(x - centre[0], y - centre[1]) < random.uniform(4, 5)).astype(np.uint8) * label


class Study:
    """Subjects drawn by any number of raters, with a configuration of their own, and a folder of another's masks."""

    def __init__(self, root, raters=("OS", "BW", "LG"), subjects=("P01", "P02", "P03", "V01"), **options):
        self.root, self.masks, self.subjects = root / "study", root / "masks", subjects
        random = np.random.default_rng(1)
        for subject in subjects:
            save(self.root / f"{subject}.nii.gz", random.normal(size=SHAPE).astype(np.float32))
            for rater in raters:
                save(self.mask(rater, subject), nerve(random))
            save(self.masks / f"sub-{subject}_seg.nii.gz", nerve(random))
        rows = [f"{subject}\t{'patient' if subject[0] == 'P' else 'volunteer'}" for subject in subjects]
        (self.root / "participants.tsv").write_text("\n".join(["participant_id\tcohort", *rows]), encoding="utf-8")
        description = {
            "name": "mine",
            "root": str(self.root),
            "images": {"T2": "{id}.nii.gz"},
            "raters": {rater: f"{rater}/{{id}}.nii.gz" for rater in raters},
        }
        (root / "conf" / "study").mkdir(parents=True)
        text = yaml.safe_dump(description | options, sort_keys=False)
        (root / "conf" / "study" / "mine.yaml").write_text(text, encoding="utf-8")
        self.start = ["--config-dir", str(root / "conf"), "study=mine", f"output_root={root / 'outputs'}"]
        self.output = root / "outputs"

    def mask(self, rater, subject):
        return self.root / rater / f"{subject}.nii.gz"

    def prediction(self, subject):
        return self.masks / f"sub-{subject}_seg.nii.gz"

    def evaluated(self, *arguments):
        """The tables, by the stem of the file."""
        assert evaluate([*self.start, "report=false", *map(str, arguments)]) == 0
        (folder,) = self.output.glob("*/evaluation")
        report = REPORT if "report=true" in arguments else set()
        assert {path.name for path in folder.iterdir()} == TABLES | report
        return {path.stem: pd.read_csv(path, dtype={"subject": str}) for path in folder.glob("*.csv")}

    def refused(self, capsys, *arguments):
        """The error's line; nothing was written."""
        assert evaluate([*self.start, *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert "Traceback" not in captured.out
        assert line.startswith("error: ")
        assert "remedy: " in line
        assert not self.output.exists()
        return line


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def dice_on_disk(first, second):
    a, b = (np.asarray(nib.load(path).dataobj) > 0 for path in (first, second))
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.slow
@pytest.mark.parametrize(("raters", "prediction"), [(("OS", "BW", "LG"), False), (("OS",), True)])
def test_a_report_is_made_of_raters_alone_and_of_one_rater(raters, prediction, tmp_path):
    study = Study(tmp_path, raters)
    study.evaluated("report=true", *([f"prediction={tmp_path / 'masks'}"] if prediction else []))
    (folder,) = study.output.glob("*/evaluation")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in page
    for subject in study.subjects:
        own = (folder / "subjects" / f"{subject}.html").read_text(encoding="utf-8")
        assert f"subjects/{subject}.html" in page
        assert str(tmp_path) not in own


@pytest.mark.parametrize("place", ["masks", "masks/sub-{id}_seg.nii.gz"])
def test_a_folder_or_a_template_of_masks_is_judged(study, place, tmp_path, capsys):
    tables = study.evaluated(f"prediction={tmp_path / place}")
    scores = tables["scores"]
    dice = scores[scores["metric"] == "dice"].set_index(["subject", "comparison"])["value"]
    for subject in study.subjects:
        expected = dice_on_disk(study.prediction(subject), study.mask("BW", subject))
        assert dice[(subject, "Auto-BW")] == pytest.approx(expected)
    assert set(tables["tests"]["test"]) == {"paper", "contrast", "williams", "share above"}
    shown = capsys.readouterr().out
    assert "Table 1, study mine" in shown
    assert max(map(len, [line for line in shown.splitlines() if str(tmp_path) not in line])) <= 100
    assert scores["fold"].isna().all()


def test_missing_masks_are_refused_or_skipped_and_named(study, capsys):
    study.prediction("P02").unlink()
    line = study.refused(capsys, f"prediction={study.masks}")
    assert "1 without: P02" in line
    assert "missing_predictions=skip" in line
    tables = study.evaluated(f"prediction={study.masks}", "missing_predictions=skip")
    assert set(tables["scores"]["subject"]) == {"P01", "P03", "V01"}
    assert "Subjects without a mask, not evaluated: P02." in capsys.readouterr().out


def test_what_is_not_evaluated_is_named_in_every_output(study, capsys):
    study.prediction("P02").rename(study.masks / "Q9.nii.gz")
    study.evaluated(f"prediction={study.masks}", "missing_predictions=skip")
    (folder,) = study.output.rglob("evaluation")
    for name in ("summary.txt", "table1.md", "table1.tex"):
        text = " ".join((folder / name).read_text(encoding="utf-8").split())
        assert "Masks that are of no subject, not evaluated: Q9.nii.gz." in text
        assert "Subjects without a mask, not evaluated: P02." in text


def test_masks_on_another_grid_are_refused(study, capsys):
    moved = AFFINE.copy()
    moved[1, 3] = 4.0
    save(study.prediction("P03"), nerve(np.random.default_rng(0)), moved)
    line = study.refused(capsys, f"prediction={study.masks}")
    assert "corners 4.00 mm apart" in line
    assert "subject: P03" in line
    assert f"path: {study.prediction('P03')}" in line
    save(study.prediction("P03"), nerve(np.random.default_rng(0))[..., :5])
    assert "subject: P03" in study.refused(capsys, f"prediction={study.masks}")


def test_masks_of_nobody_in_the_study_are_refused(study, capsys):
    for path in study.masks.iterdir():
        path.rename(path.with_name(path.name.replace("sub-", "case")))
    assert "none of " in study.refused(capsys, f"prediction={study.masks}")
    assert "no such folder" in study.refused(capsys, f"prediction={study.root / 'nowhere'}")


def test_two_masks_of_a_subject_are_refused(study, capsys):
    save(study.masks / "other" / "V01.nii.gz", nerve(np.random.default_rng(0)))
    line = study.refused(capsys, f"prediction={study.masks}")
    assert "one predicted mask" in line
    assert "subject: V01" in line


def test_a_probability_map_is_no_mask(study, capsys):
    save(study.prediction("P01"), np.full(SHAPE, 0.3, np.float32))
    assert "a mask holds labels" in study.refused(capsys, f"prediction={study.masks}")


def test_the_predictions_labels_have_their_own_foreground(study):
    """TotalSegmentator's way: the nerve is label 7 among others."""
    for subject in study.subjects:
        labels = np.asarray(nib.load(study.prediction(subject)).dataobj) * 7
        labels[:3] = 1
        save(study.prediction(subject), labels)
    scores = study.evaluated(f"prediction={study.masks}", "prediction_classes={nerve: [7]}")["scores"]
    dice = scores[(scores["metric"] == "dice") & (scores["comparison"] == "Auto-GT")]["value"]
    assert (dice > 0.7).all()


@pytest.mark.parametrize("option", ["prediction_classes={nerve: [7]}", "missing_predictions=skip", "logger=wandb"])
def test_an_option_that_would_change_nothing_is_refused(study, option, capsys):
    """Raters alone have no predicted masks, and dashboards show the evaluation of a run."""
    assert option.partition("=")[0] in study.refused(capsys, option)


def test_a_mask_belongs_to_a_study_not_to_a_run(study, capsys):
    assert evaluate([f"run={study.root}", f"prediction={study.masks}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert [option for option in ("run=", "prediction=", "output=") if option not in error] == []


@pytest.mark.parametrize(
    "wrong", [["margins.dice=0"], ["margins.far_share=2"], ["+margins.foo=1"], ["missing_predictions=maybe"],
              ["prediction_classes=nerve"]],
)  # fmt: skip
def test_mistaken_options_are_refused(wrong, study, capsys):
    study.refused(capsys, f"prediction={study.masks}", *wrong)


def test_raters_alone(study, capsys):
    tables = study.evaluated()
    assert set(tables["table1"]["comparison"]) == {"OS-BW", "OS-LG", "OS-GT", "BW-LG", "BW-GT", "LG-GT", "R-R"}
    assert tables["tests"].empty
    assert "ICC(2,1)" in capsys.readouterr().out


def test_four_raters_leave_one_out(tmp_path, capsys):
    four = ("OS", "BW", "LG", "TK")
    study = Study(tmp_path, four)
    tables = study.evaluated(f"prediction={study.masks}")
    scores = tables["scores"]
    dice = scores[scores["metric"] == "dice"].set_index(["subject", "comparison"])["value"]
    votes = sum(np.asarray(nib.load(study.mask(rater, "P01")).dataobj) for rater in ("OS", "LG", "TK"))
    others = save(tmp_path / "x.nii.gz", (votes >= 2).astype(np.uint8))
    assert dice[("P01", "BW-GT w/o BW")] == pytest.approx(dice_on_disk(others, study.mask("BW", "P01")))
    assert dice[("P01", "Auto-GT w/o BW")] == pytest.approx(dice_on_disk(others, study.prediction("P01")))
    assert not tables["table1"]["comparison"].str.contains("w/o").any()
    assert "contrast, leave-one-out" in set(tables["tests"]["test"])
    assert "GT" in set(tables["quantities"]["source"])
    assert not tables["quantities"]["source"].str.contains("w/o").any()
    assert "all raters but one" in " ".join(capsys.readouterr().out.split())


def test_one_rater_is_the_reference(tmp_path, capsys):
    study = Study(tmp_path, ("OS",))
    tables = study.evaluated(f"prediction={study.masks}")
    assert set(tables["table1"]["comparison"]) == {"Auto-GT"}
    assert tables["tests"].empty
    assert set(tables["agreement"]["comparison"]) == {"Auto - OS"}
    assert "There is one rater" in capsys.readouterr().out


def test_raters_who_did_not_draw_everybody(tmp_path, capsys):
    study = Study(tmp_path, missing_raters="allow")
    study.mask("BW", "P01").unlink()
    for rater in ("OS", "LG"):
        study.mask(rater, "P02").unlink()
    tables = study.evaluated(f"prediction={study.masks}")
    counts = tables["table1"].set_index(["cohort", "comparison"])["n"]
    assert [counts[("patient", f"Auto-{name}")] for name in ("OS", "BW", "LG", "GT")] == [2, 2, 2, 3]
    assert counts[("patient", "R-R")] == 3 + 1
    contrast = tables["tests"][(tables["tests"]["cohort"] == "patient") & (tables["tests"]["test"] == "contrast")]
    assert set(contrast["n"]) == {2}
    shown = " ".join(capsys.readouterr().out.split())
    assert "BW did not draw 1 of 4 subjects" in shown
    assert "OS did not draw 1 of 4 subjects" in shown


def test_a_single_subject_is_not_computable_in_words(tmp_path, capsys):
    study = Study(tmp_path, subjects=("P01",))
    tables = study.evaluated(f"prediction={study.masks}")
    assert tables["tests"]["note"].str.contains("n=1").all()
    assert tables["agreement"]["note"].str.startswith("not computable, n=1").all()
    shown = capsys.readouterr().out
    assert "not computable, n=1" in shown
    assert not re.search(r"\bnan\b", shown, re.IGNORECASE)


def test_an_empty_prediction_is_named_and_counted(study, capsys):
    save(study.prediction("P01"), np.zeros(SHAPE, np.uint8))
    tables = study.evaluated(f"prediction={study.masks}")
    row = tables["table1"].set_index(["cohort", "comparison"]).loc[("patient", "Auto-GT")]
    assert (row["n"], row["n_failed"]) == (3, 1)
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 of 3 Auto-GT (patient)" in shown
    assert "Empty masks: sub-P01 (patient) Auto." in shown
    like = tables["like_for_like"].set_index(["cohort", "source"])
    assert like.loc[("patient", "Auto"), "n_failed"] == 3
    assert np.isfinite(like.loc[("patient", "Auto"), "hd95_mm_mean"])


def test_staple_is_the_studys_choice(tmp_path):
    study = Study(tmp_path, consensus="staple")
    tables = study.evaluated(f"prediction={study.masks}")
    assert set(tables["table1"]["cohort"]) == {"patient", "volunteer"}
