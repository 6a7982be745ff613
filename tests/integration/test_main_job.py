"""The main job as a user runs it: `python -m nerveseg.train fold=0..3`, and what it leaves behind."""

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tests.helpers.main_job import in_process

pytestmark = pytest.mark.integration

PAPER_ROWS = ["OS-BW", "OS-LG", "OS-GT", "BW-LG", "BW-GT", "LG-GT", "R-R", "Auto-OS", "Auto-BW", "Auto-LG", "Auto-GT"]
IDS = {"V01", "V02", "V03", "P01", "P02", "P03", "P04", "P05"}
RATERS = ("OS", "BW", "LG")


class Sweep:
    """A finished sweep: how it was started, and where it lies."""

    def __init__(self, command, folder, overrides, study):
        self.command, self.study = command, study
        self.arguments = [
            "fold=0..3",
            "name=t",
            f"output_root={folder}",
            f"study.root={study}",
            *overrides,
            "report=true",
        ]
        self.output = command("train", *self.arguments).stdout
        (self.folder,) = {path.parent for path in (folder / "t").rglob("fold-0")}
        self.evaluation = self.folder / "evaluation"

    def fold(self, number):
        return self.folder / f"fold-{number}"

    def predictions(self):
        return {path.name[4:7]: path for path in self.folder.glob("fold-*/predictions/*_mask.nii.gz")}


@pytest.fixture(scope="module")
def sweep(command, tiny_overrides, tiny_study, tmp_path_factory):
    return Sweep(command, tmp_path_factory.mktemp("first"), tiny_overrides, tiny_study)


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def dice(first, second):
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


def test_every_file_of_the_design_is_there(sweep):
    for number in range(4):
        fold = sweep.fold(number)
        for name in ("checkpoints/last.ckpt", "model/model.json", "model/weights.safetensors", "model/README.md",
                     "scores.csv", "metrics.csv", "config.yaml", "provenance.json"):  # fmt: skip
            assert (fold / name).stat().st_size > 0, name
        assert len(list(fold.glob("predictions/*_mask.nii.gz"))) == 2
        assert len(list(fold.glob("predictions/*_overlay.png"))) == 2
    for name in ("scores.csv", "table1.csv", "table1.md"):
        assert (sweep.evaluation / name).stat().st_size > 0
    assert {path.stem for path in (sweep.evaluation / "subjects").glob("*.html")} == IDS
    for name in ("report.html", "assets/plotly.min.js", "figures/comparison.png", "figures/cases.pdf"):
        assert (sweep.evaluation / name).stat().st_size > 0
    assert not [path for path in sweep.folder.rglob(".*") if path.is_file()], "nothing half-written is left"


def test_table_1_has_the_papers_rows_for_both_cohorts(sweep):
    table = pd.read_csv(sweep.evaluation / "table1.csv")
    for cohort, subjects in (("volunteer", 3), ("patient", 5)):
        rows = table[table["cohort"] == cohort]
        assert rows["comparison"].tolist() == PAPER_ROWS
        counts = rows.set_index("comparison")["n"]
        assert counts["R-R"] == 3 * subjects
        assert set(counts.drop("R-R")) == {subjects}
    assert table.columns[:5].tolist() == ["class", "cohort", "comparison", "n", "n_failed"]
    assert {"dice_mean", "dice_sd", "vs_mean", "hd95_paper_mm_mean", "hd95_mm_mean", "hd_mm_mean"} <= {*table.columns}
    assert "SYNTHETIC" in (sweep.evaluation / "table1.md").read_text(encoding="utf-8")
    assert "Table 1, SYNTHETIC study" in sweep.output


def test_each_subject_is_tested_once_by_a_model_that_never_saw_it(sweep):
    scores = pd.read_csv(sweep.evaluation / "scores.csv", dtype={"subject": str})
    automatic = scores[(scores["comparison"] == "Auto-GT") & (scores["metric"] == "dice")]
    assert sorted(automatic["subject"]) == sorted(IDS)
    assert set(sweep.predictions()) == IDS
    for number in range(4):
        model = json.loads((sweep.fold(number) / "model" / "model.json").read_text(encoding="utf-8"))
        tested = set(automatic[automatic["fold"] == number]["subject"])
        assert set(model["training"]["subjects"]) == IDS - tested
        assert model["training"]["synthetic"] is True
        assert model["weights_sha256"] == sha256(sweep.fold(number) / "model" / "weights.safetensors")


def test_masks_lie_on_their_inputs_grid(sweep):
    for subject, path in sweep.predictions().items():
        mask, image = nib.load(path), nib.load(sweep.study / f"sub-{subject}/anat/sub-{subject}_T2w.nii.gz")
        assert mask.shape == image.shape
        assert np.array_equal(mask.affine, image.affine)
        assert set(np.unique(mask.dataobj)) <= {0, 1}
        assert b"SYNTHETIC" in mask.header["descrip"].item()


def test_the_test_dice_is_that_of_the_mask_files(sweep):
    """Majority and Dice once more, with numpy on what nibabel reads."""
    scores = pd.read_csv(sweep.evaluation / "scores.csv", dtype={"subject": str})
    recomputed = {}
    for subject, path in sweep.predictions().items():
        name = f"sub-{subject}/anat/sub-{subject}_label-nerve_mask.nii.gz"
        masks = [nib.load(sweep.study / "derivatives" / f"rater-{rater}" / name).get_fdata() > 0 for rater in RATERS]
        automatic = nib.load(path).get_fdata() > 0
        recomputed[subject] = dice(automatic, np.sum(masks, axis=0) >= 2)
        for rater, mask in zip(RATERS, masks, strict=True):
            assert value(scores, subject, f"Auto-{rater}") == pytest.approx(dice(automatic, mask), abs=1e-12)
        assert value(scores, subject, "OS-LG") == pytest.approx(dice(masks[0], masks[2]), abs=1e-12)
        assert value(scores, subject, "Auto-GT") == pytest.approx(recomputed[subject], abs=1e-12)
    table = pd.read_csv(sweep.evaluation / "table1.csv").set_index(["cohort", "comparison"])
    for cohort, initial in (("volunteer", "V"), ("patient", "P")):
        values = [score for subject, score in recomputed.items() if subject.startswith(initial)]
        assert table.loc[(cohort, "Auto-GT"), "dice_mean"] == pytest.approx(np.mean(values), abs=1e-12)
        assert table.loc[(cohort, "Auto-GT"), "dice_sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    for number in range(4):
        model = json.loads((sweep.fold(number) / "model" / "model.json").read_text(encoding="utf-8"))
        tested = {path.name[4:7] for path in sweep.fold(number).glob("predictions/*_mask.nii.gz")}
        for score in model["scores"]:
            values = [recomputed[subject] for subject in tested if subject.startswith(score["cohort"][0].upper())]
            assert (score["n"], score["dice"]) == (len(values), pytest.approx(np.mean(values), abs=1e-12))


def value(scores, subject, comparison, metric="dice"):
    rows = scores[(scores["subject"] == subject) & (scores["comparison"] == comparison) & (scores["metric"] == metric)]
    assert len(rows) == 1
    return rows["value"].iloc[0]


def test_the_metrics_file_has_every_step_once(sweep):
    metrics = pd.read_csv(sweep.fold(0) / "metrics.csv")
    assert metrics["step"].is_monotonic_increasing
    assert metrics["step"].is_unique
    steps = metrics["train/loss_step"].dropna()
    assert len(steps) == 2 * 5, "two epochs of 36 slices in batches of 8"
    assert np.isfinite(steps).all()


def test_what_a_run_records_about_itself(sweep):
    config = yaml.safe_load((sweep.fold(2) / "config.yaml").read_text(encoding="utf-8"))
    assert (config["fold"], config["network"]["growth_rate"]) == (2, 2)
    provenance = json.loads((sweep.fold(2) / "provenance.json").read_text(encoding="utf-8"))
    text = (sweep.fold(2) / "config.yaml").read_bytes()
    assert provenance["config_sha256"] == hashlib.sha256(text).hexdigest()
    assert provenance["versions"]["torch"] == torch.__version__
    assert provenance["training_seconds"] > 0


def test_the_same_command_again_trains_nothing(sweep):
    files = {path: path.stat().st_mtime_ns for path in sweep.folder.glob("fold-*/**/*") if path.is_file()}
    tables = {path.name: path.read_bytes() for path in sweep.evaluation.glob("*.csv")}
    started = time.monotonic()
    done = sweep.command("train", *sweep.arguments)
    assert time.monotonic() - started < 60
    assert done.stdout.count("is complete") == 4
    assert ": epoch" not in done.stdout
    assert files == {path: path.stat().st_mtime_ns for path in sweep.folder.glob("fold-*/**/*") if path.is_file()}
    assert tables == {path.name: path.read_bytes() for path in sweep.evaluation.glob("*.csv")}


@pytest.mark.slow
def test_evaluate_remakes_the_same_tables_from_the_files(sweep):
    before = {path.name: path.read_bytes() for path in sweep.evaluation.iterdir() if path.is_file()}
    shutil.rmtree(sweep.evaluation)
    sweep.command("evaluate", f"run={sweep.folder.parents[1]}")
    assert before == {path.name: path.read_bytes() for path in sweep.evaluation.iterdir() if path.is_file()}


@pytest.mark.slow
def test_the_console_command_is_the_module(sweep, command):
    script = Path(sys.executable).with_name("nerveseg")
    installed = [sys.executable, "-c", "import sys; from nerveseg.launch.main import main; sys.exit(main())"]
    program = [str(script)] if script.is_file() else installed
    by_name = command("evaluate", "evaluate", f"run={sweep.folder}", "report=false", program=program)
    by_module = command("evaluate", f"run={sweep.folder}", "report=false")
    assert by_name.stdout == by_module.stdout
    assert "Auto-GT" in by_name.stdout


@pytest.mark.slow
def test_the_same_command_elsewhere_gives_the_same_numbers_and_weights(sweep, command, tiny_overrides, tmp_path):
    arguments = ["fold=1", "name=t", f"output_root={tmp_path}", f"study.root={sweep.study}", *tiny_overrides]
    command("train", *arguments)
    (again,) = tmp_path.rglob("fold-1")
    assert sha256(again / "model/weights.safetensors") == sha256(sweep.fold(1) / "model/weights.safetensors")
    for name in ("scores.csv", "metrics.csv"):
        assert (again / name).read_bytes() == (sweep.fold(1) / name).read_bytes()


@pytest.mark.slow
def test_a_grid_of_folds_and_seeds_has_a_folder_per_seed(tiny_overrides, tiny_study, tmp_path, capsys):
    once = [word for word in tiny_overrides if not word.startswith("optimization.epochs")]
    in_process("-m", "fold=0,1", "seed=1,2", "optimization.epochs=1", "name=grid", f"output_root={tmp_path}",
               f"study.root={tiny_study}", *once)  # fmt: skip
    folders = {path.parent.name: path for path in (tmp_path / "grid").rglob("fold-1/scores.csv")}
    found = sorted(path.parent for path in (tmp_path / "grid").rglob("scores.csv") if path.parent.name != "evaluation")
    assert [path.name for path in found] == ["fold-0", "fold-1"] * 2
    assert len({path.parent for path in found}) == 2
    assert ["seed=1" in path.parent.name for path in found] == [True, True, False, False]
    assert ["seed=2" in path.parent.name for path in found] == [False, False, True, True]
    assert sha256(found[0] / "model/weights.safetensors") != sha256(found[2] / "model/weights.safetensors")
    assert folders
    assert "fold 2, 3 is missing" in capsys.readouterr().out
    for settings in {path.parent for path in found}:
        table = pd.read_csv(settings / "evaluation" / "table1.csv")
        assert table[table["comparison"] == "Auto-GT"]["n"].sum() == 4


def test_paths_may_hold_whatever_a_file_system_allows(tiny_overrides, tiny_study, tmp_path):
    study = tmp_path / "Größe, [neu] = {x} $y #1 (it's) 100%" / "my study"
    shutil.copytree(tiny_study, study)
    output = tmp_path / "out, put = [ü] ${z}"
    in_process("fold=3", "name=t", f"output_root={output}", f"study.root={study}", *tiny_overrides)
    (fold,) = output.rglob("fold-3")
    assert len(list(fold.glob("predictions/*_mask.nii.gz"))) == 2
    config = yaml.safe_load((fold / "config.yaml").read_text(encoding="utf-8"))
    assert (config["study"]["root"], config["output_root"]) == (str(study), str(output))
    from nerveseg.evaluate import main as evaluate

    assert evaluate([f"run={output}"]) == 0
    assert (fold.parent / "evaluation" / "table1.csv").is_file()


@pytest.mark.slow
def test_offline_logging_needs_no_account_no_network_and_no_answer(command, tiny_overrides, tiny_study, tmp_path):
    overrides = [word for word in tiny_overrides if not word.startswith(("logger", "optimization.epochs"))]
    unreachable = {"WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": str(tmp_path / "home")}
    command("train", "fold=0", "optimization.epochs=1", f"output_root={tmp_path}", f"study.root={tiny_study}",
            *overrides, environment=unreachable)  # fmt: skip
    (fold,) = tmp_path.rglob("fold-0")
    (run,) = fold.glob("wandb/offline-run-*/run-*.wandb")
    content = run.read_bytes()
    for logged in (b"train/loss", b"test/scores", b"learning_rate"):
        assert logged in content
    assert (fold / "scores.csv").is_file()
