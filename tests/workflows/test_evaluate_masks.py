import json
import os
import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import prepare_slices
from nerveseg.data.study import open_study
from nerveseg.data.study_layout import StudyLayout
from nerveseg.errors import NervesegError, RunError
from nerveseg.evaluation.comparisons import SCORE_COLUMNS, write_scores
from nerveseg.launch.compose import compose_config, make_job
from nerveseg.runs import FoldFolder, Provenance
from nerveseg.workflows import evaluate_masks
from nerveseg.workflows.analyse_scores import print_cached_summary
from nerveseg.workflows.config import ReportConfig
from nerveseg.workflows.evaluate_masks import compare_cross_validation, compare_raters, options_of_run
from nerveseg.workflows.run_records import read_run_config

SHAPE = (12, 12, 3)
RATERS = ("A", "B", "C")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([0.5, 0.5, 4.4, 1.0])), path)


class FinishedRun:
    """Four subjects, two folds, whose predictions are rater A's masks: every score is known beforehand."""

    def __init__(self, root, raters=RATERS):
        self.root, self.folder = root, root / "outputs" / "t"
        random = np.random.default_rng(3)
        for number in range(4):
            save(root / f"study/sub-{number}.nii.gz", random.normal(size=SHAPE).astype(np.float32))
            for rater in raters:
                save(root / f"study/{rater}/sub-{number}.nii.gz", (random.random(SHAPE) < 0.3).astype(np.uint8))
        values = {
            "name": "t",
            "root": str(root / "study"),
            "images": {"T2": "sub-{id}.nii.gz"},
            "raters": {rater: f"{rater}/sub-{{id}}.nii.gz" for rater in raters},
        }
        self.study = open_study(StudyLayout(**values))
        key = prepare_slices(self.study, Preprocessing(size=(12, 12)), root / "outputs" / "slices").key
        self.config = {
            "name": "t",
            "seed": 1,
            "study": values,
            "folds": {"count": 2, "seed": 1, "minimum_per_cohort": {}},
            "preprocessing": {"size": [12, 12]},
            "output_root": str(root / "outputs"),
        }
        for fold, subjects in ((0, "02"), (1, "13")):
            self.write_fold(fold, subjects, key)

    def write_fold(self, number, subjects, key):
        fold = FoldFolder(self.folder / f"fold-{number}")
        for subject in subjects:
            fold.predictions.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.root / f"study/A/sub-{subject}.nii.gz", fold.prediction(subject))
        fold.config.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        provenance = Provenance(command=["train"], data=key, config_sha256="", device="CPU")
        fold.provenance.write_text(json.dumps(provenance.model_dump()), encoding="utf-8")
        rows = [(subject, subject, "all", "", "", "nerve", number, "Auto-GT", "dice", 0.5) for subject in subjects]
        write_scores(fold.scores, pd.DataFrame(rows, columns=list(SCORE_COLUMNS)))


@pytest.fixture
def run(tmp_path):
    return FinishedRun(tmp_path)


def shown(reference=None, **margins):
    return ReportConfig(reference_table=reference, margins=margins, report=False)


@pytest.fixture
def compared(capsys):
    """Compare a run; return what was printed and the scores."""

    def compare(run, reference=None, **margins):
        capsys.readouterr()
        compare_cross_validation(run.folder, shown(reference, **margins))
        scores = pd.read_csv(run.folder / "evaluation" / "scores.csv", dtype={"subject": str})
        return capsys.readouterr().out, scores

    return compare


def test_a_copy_of_rater_a_scores_what_rater_a_scores(run, compared):
    screen, scores = compared(run)
    wide = scores.pivot_table(index=["subject", "metric"], columns="comparison", values="value")
    np.testing.assert_array_equal(wide["Auto-GT"], wide["A-GT"])
    assert (wide.xs("dice", level="metric")["Auto-A"] == 1).all()
    assert sorted(scores["subject"].unique()) == ["0", "1", "2", "3"]
    folds = scores.drop_duplicates("subject").set_index("subject")["fold"]
    assert folds.to_dict() == {"0": 0, "1": 1, "2": 0, "3": 1}
    assert "Table 1, study t" in screen
    assert "missing" not in screen


def test_predictions_that_are_a_raters_masks_are_named(run, compared):
    printed, _ = compared(run)
    assert all(f"sub-{number} A" in printed for number in range(4))
    assert "sub-0 B" not in printed


def test_the_tables_on_disk_are_one_table(run, compared):
    compared(run)
    evaluation = run.folder / "evaluation"
    table = pd.read_csv(evaluation / "table1.csv")
    assert table["comparison"].tolist() == [
        "A-B", "A-C", "A-GT", "B-C", "B-GT", "C-GT", "R-R", "Auto-A", "Auto-B", "Auto-C", "Auto-GT",
    ]  # fmt: skip
    markdown = (evaluation / "table1.md").read_text(encoding="utf-8")
    assert markdown.startswith("# Table 1, study t\n")
    printed = f"{table[table['comparison'] == 'Auto-GT']['dice_mean'].iloc[0]:.3f}"
    assert printed in markdown


def test_margins_that_differ_from_those_of_the_sweep_are_named_on_every_output(run, compared):
    changed = "margins changed after the results were known (were dice 0.05)"
    for margin, named in ((0.05, False), (0.13, True)):
        screen, _ = compared(run, dice=margin)
        evaluation = run.folder / "evaluation"
        notes = pd.read_csv(evaluation / "tests.csv", keep_default_na=False).set_index("test")["note"]
        assert notes["contrast"].str.contains(changed, regex=False).all() == named
        texts = [
            screen,
            *((evaluation / name).read_text("utf-8") for name in ("summary.txt", "table1.md", "table1.tex")),
        ]
        assert [changed in " ".join(text.split()).replace("Margins", "margins") for text in texts] == [named] * 4


def test_a_missing_fold_is_named_and_the_rest_compared(run, compared):
    (run.folder / "fold-1" / "scores.csv").unlink()
    screen, scores = compared(run)
    assert "fold 1 is missing" in screen
    assert sorted(scores["subject"].unique()) == ["0", "2"]


def test_nothing_complete_is_an_error(run, compared):
    for fold in (0, 1):
        (run.folder / f"fold-{fold}" / "scores.csv").unlink()
    with pytest.raises(RunError) as caught:
        compared(run)
    assert (caught.value.found, caught.value.path) == ("none", run.folder)


def test_data_that_changed_since_the_training_is_an_error(run, compared):
    changed = np.zeros(SHAPE, np.uint8)
    changed[0, 0, 0] = 1
    save(run.root / "study/B/sub-1.nii.gz", changed)
    with pytest.raises(RunError) as caught:
        compared(run)
    assert len(set(re.findall(r"\b[0-9a-f]{16}\b", caught.value.found))) == 2
    assert caught.value.path == run.folder / "fold-0"


@pytest.mark.parametrize("file", ["config.yaml", "provenance.json"])
@pytest.mark.parametrize("damage", ["missing", "cut off", "empty"])
def test_a_damaged_record_of_the_run_is_an_error_with_its_path(run, file, damage, compared):
    path = run.folder / "fold-0" / file
    content = path.read_text(encoding="utf-8")
    path.unlink()
    if damage != "missing":
        path.write_text({"cut off": content[: len(content) // 2] + "\n: [", "empty": ""}[damage], encoding="utf-8")
    with pytest.raises(NervesegError) as caught:
        compared(run)
    assert str(path) in str(caught.value)


def test_the_paper_stands_beside_ours_when_asked_and_no_other_table_does(run, compared):
    compared(run, "paper")
    with pytest.raises(ValidationError):
        compared(run, "ours")


def test_one_rater_is_the_reference_and_there_is_no_rater_rater(tmp_path, compared, capsys):
    run = FinishedRun(tmp_path, raters=("A",))
    screen, scores = compared(run)
    assert set(scores["comparison"]) == {"Auto-GT"}
    assert set(scores[scores["metric"] == "dice"]["value"]) == {1.0}
    assert "There is one rater" in screen
    compare_raters(run.study, tmp_path / "raters", ReportConfig())
    printed = capsys.readouterr().out
    assert "one rater (A)" in printed
    assert "no R-R" in printed
    assert set(pd.read_csv(tmp_path / "raters" / "quantities.csv")["source"]) == {"A"}


def test_folds_of_different_splits_are_not_one_cross_validation(run, compared):
    other = run.config | {"folds": run.config["folds"] | {"seed": 5}}
    (run.folder / "fold-1" / "config.yaml").write_text(yaml.safe_dump(other), encoding="utf-8")
    with pytest.raises(RunError) as caught:
        compared(run)
    assert caught.value.found == "folds.seed: 1 -> 5"


def test_a_subject_tested_twice_is_not_one_cross_validation(run, compared):
    run.write_fold(1, "12", json.loads((run.folder / "fold-0/provenance.json").read_text())["data"])
    with pytest.raises(RunError) as caught:
        compared(run)
    assert (caught.value.found, caught.value.subject) == ("folds 0 and 1", "2")


def test_a_run_is_judged_as_it_was_configured_unless_told_otherwise(run):
    for fold in (0, 1):
        own = run.config | {"margins": {"dice": 0.2}, "reference_table": "paper", "report": False}
        (run.folder / f"fold-{fold}" / "config.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    as_configured = options_of_run(run.folder, {}, {})
    assert as_configured.margins.dice == 0.2
    assert as_configured.reference_table == "paper"
    chosen = options_of_run(run.folder, {"reference_table": None}, {"vs": 0.3})
    assert (chosen.reference_table, chosen.margins.dice, chosen.report) == (None, 0.2, False)
    assert chosen.margins.vs == 0.3


@pytest.mark.parametrize(
    ("override", "ids", "margins"),
    [
        ("margins.far_mm=12", "hashed", (0.2, 12.0)),
        ("margins=default", "hashed", (0.05, 10.0)),
        ("++logger.subject_ids=plain", "plain", (0.2, 10.0)),
    ],
)
def test_what_the_command_does_not_name_is_the_runs(run, override, ids, margins, monkeypatch):
    """Subjects' ids that the run hides stay hidden, and one changed margin leaves the run's others."""
    for fold in (0, 1):
        own = run.config | {"margins": {"dice": 0.2}, "logger": {"subject_ids": "hashed"}}
        (run.folder / f"fold-{fold}" / "config.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    evaluated = []
    monkeypatch.setattr(evaluate_masks, "compare_cross_validation", lambda *arguments: evaluated.append(arguments))
    overrides = [f"run='{run.folder}'", "logger=wandb", override]
    evaluate_masks.evaluate(make_job("evaluate", compose_config("evaluate", overrides), overrides))
    ((_, options, logging),) = evaluated
    assert (options.margins.dice, options.margins.far_mm) == margins
    assert logging["logger"]["subject_ids"] == ids
    assert set(logging["logger"]) == {"subject_ids", "wandb"}


def test_what_was_printed_is_shown_again_until_a_fold_is_new(run, compared, capsys):
    assert not print_cached_summary(run.folder, shown())
    printed, _ = compared(run)
    capsys.readouterr()
    assert print_cached_summary(run.folder, shown())
    assert capsys.readouterr().out.strip() in printed
    later = (run.folder / "evaluation/summary.txt").stat().st_mtime + 10
    os.utime(run.folder / "fold-1/scores.csv", (later, later))
    assert not print_cached_summary(run.folder, shown())


def test_what_was_judged_another_way_is_not_shown_again(run, compared):
    compared(run)
    for other in (shown(dice=0.1), shown("paper")):
        assert not print_cached_summary(run.folder, other)
    compared(run, "paper", dice=0.1)
    assert print_cached_summary(run.folder, shown("paper", dice=0.1))
    assert not print_cached_summary(run.folder, shown(dice=0.1))


def test_what_was_printed_before_the_options_were_recorded_or_beside_newer_ones_is_not_shown(run, compared):
    compared(run)
    options = run.folder / "evaluation/presentation.json"
    later = (run.folder / "evaluation/summary.txt").stat().st_mtime + 10
    os.utime(options, (later, later))
    assert not print_cached_summary(run.folder, shown()), "an interruption between the two files"
    options.unlink()
    assert not print_cached_summary(run.folder, shown())


def test_raters_alone_need_no_training(run, tmp_path, capsys):
    compare_raters(run.study, tmp_path / "raters", ReportConfig())
    scores = pd.read_csv(tmp_path / "raters" / "scores.csv")
    assert set(scores["comparison"]) == {"A-B", "A-C", "A-GT", "B-C", "B-GT", "C-GT"}
    masks = [nib.load(run.root / f"study/{rater}/sub-2.nii.gz").get_fdata() > 0 for rater in RATERS]
    voxels = int((np.sum(masks, axis=0) >= 2).sum())
    assert f"sub-2: {voxels:,} voxels" in capsys.readouterr().out


def test_what_a_fold_was_trained_with_is_read_back(run):
    read = read_run_config(FoldFolder(run.folder / "fold-0"))
    assert read["folds"].pop("validation_fraction") == 0  # what a fold of an earlier version did not have
    assert read.pop("context") == {"neighbours": 0}
    assert read.pop("target") == "consensus"
    assert read.pop("init") is None
    assert read.pop("samples") is None
    assert read["study"].pop("terms") == {}
    assert read == run.config
