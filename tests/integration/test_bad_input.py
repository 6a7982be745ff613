"""A user's mistake is one line with its place and its remedy, exit code 2, no traceback, and nothing left behind."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from nerveseg.check import main as check
from nerveseg.evaluate import main as evaluate
from nerveseg.simulate import main as simulate
from nerveseg.train import main as train

pytestmark = pytest.mark.integration

IMAGE = "sub-P01/anat/sub-P01_T2w.nii.gz"
MASK = "derivatives/rater-BW/sub-P01/anat/sub-P01_label-nerve_mask.nii.gz"


@pytest.fixture
def study(tiny_study, tmp_path):
    """A copy of the tiny study, to be spoilt."""
    return shutil.copytree(tiny_study, tmp_path / "study")


def rewrite(path, change):
    """Replace a volume's voxels, or its whole image, by what `change` makes of it."""
    image = nib.load(path)
    changed = change(np.asarray(image.dataobj), image)
    if isinstance(changed, np.ndarray):
        changed = nib.Nifti1Image(changed, image.affine)
    path.unlink()
    nib.save(changed, path)


def moved(array, image):
    affine = image.affine.copy()
    affine[:3, 3] += (0.0, 3.0, 0.0)
    return nib.Nifti1Image(array, affine)


def contradictory(array, image):
    both = nib.Nifti1Image(array, image.affine)
    both.set_sform(image.affine, code=1)
    both.set_qform(np.diag([1.0, 1.0, 1.0, 1.0]), code=1)
    return both


def with_value(value):
    def change(array, image):
        array = array.astype(np.float32)
        array[10, 10, 2] = value
        return array

    return change


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def remove_folder(study):
    shutil.rmtree(study)


def empty_folder(study):
    shutil.rmtree(study)
    study.mkdir()


def list_p01_twice(study):
    table = study / "participants.tsv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([*lines, next(line for line in lines if line.startswith("sub-P01"))]), encoding="utf-8")


def leave_three_subjects(study):
    table = study / "participants.tsv"
    table.write_text("\n".join(table.read_text(encoding="utf-8").splitlines()[:4]) + "\n", encoding="utf-8")


SPOILT = {
    "folder missing": (remove_folder, None, "study"),
    "folder empty": (empty_folder, None, "study"),
    "image missing": (lambda study: (study / IMAGE).unlink(), "P01", IMAGE),
    "mask missing": (lambda study: (study / MASK).unlink(), "P01", MASK),
    "mask of another shape": (lambda study: rewrite(study / MASK, lambda array, _: array[:-1].copy()), "P01", MASK),
    "mask of another affine": (lambda study: rewrite(study / MASK, moved), "P01", MASK),
    "image's qform and sform differ": (lambda study: rewrite(study / IMAGE, contradictory), "P01", IMAGE),
    "mask's qform and sform differ": (lambda study: rewrite(study / MASK, contradictory), "P01", MASK),
    "image of four dimensions": (
        lambda study: rewrite(study / IMAGE, lambda array, _: np.stack([array, array], axis=3)), "P01", IMAGE,
    ),
    "image of one value": (lambda study: rewrite(study / IMAGE, lambda array, _: np.ones_like(array)), "P01", IMAGE),
    "image with NaN": (lambda study: rewrite(study / IMAGE, with_value(np.nan)), "P01", IMAGE),
    "mask with a half": (lambda study: rewrite(study / MASK, with_value(0.5)), "P01", MASK),
    "image cut off": (lambda study: truncate(study / IMAGE), "P01", IMAGE),
    "mask cut off": (lambda study: truncate(study / MASK), "P01", MASK),
    "image that is text": (lambda study: (study / IMAGE).write_text("no volume"), "P01", IMAGE),
    "participant listed twice": (list_p01_twice, "P01", "participants.tsv"),
}  # fmt: skip
"""What is done to a study; the subject and the end of the path that the error must name."""


def one_error(capsys):
    """The one line on the error stream."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    assert "remedy: " in lines[0]
    return lines[0]


@pytest.mark.parametrize("fault", SPOILT)
def test_training_on_a_spoilt_study(fault, study, tiny_overrides, tmp_path, capsys):
    spoil, subject, path = SPOILT[fault]
    spoil(study)
    output = tmp_path / "outputs"
    overrides = [word for word in tiny_overrides if not word.startswith("cohort@")]
    code = train(["fold=0..3", "study=bids", f"study.root={study}", f"output_root={output}", *overrides])
    line = one_error(capsys)
    assert code == 2
    assert (f"subject: {subject};" in line) == (subject is not None)
    assert f"path: {tmp_path}" in line
    assert path in line
    assert [found for found in output.rglob("*") if found.is_file()] == []


@pytest.mark.parametrize("fault", SPOILT)
def test_checking_a_spoilt_study(fault, study, tmp_path, capsys):
    spoil, subject, path = SPOILT[fault]
    spoil(study)
    code = check(["study=bids", f"study.root={study}", f"output_root={tmp_path / 'outputs'}"])
    captured = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in captured.err
    *faults, summary = captured.err.splitlines()
    assert [line for line in faults if path in line and (subject is None or f"subject: {subject};" in line)]
    assert f"found: {len(faults)}" in summary
    assert {path.name for path in (tmp_path / "outputs").glob("*")} <= {"checks"}


OPTIONS = {
    "template that matches nothing": (
        ["study.images.T2='none/{id}.nii.gz'", "study.participants=none.tsv"],
        "none/{id}",
    ),
    "fold beyond the last": (["fold=7"], "fold is a number from 0 to 3"),
    "fold that is a word": (["fold=abc"], "expected: fold is a valid integer; found: abc"),
    "one fold of a range beyond the last": (["fold=2..4"], "fold is a number from 0 to 3"),
    "range that counts down": (["fold=3..1"], "counts upward"),
    "unknown option": (["network.foo=1"], "foo"),
    "unknown option added by force": (["+network.foo=1"], "foo"),
    "unknown study option": (["+study.foo=1"], "foo"),
    "unknown choice": (["network=nosuch"], "nosuch"),
    "unknown study": (["study=nosuch"], "nosuch"),
    "unknown group": (["nosuch=1"], "nosuch"),
    "group that is nothing": (["network=null"], "Config group override"),
    "broken override": (["network.growth_rate=[1"], "growth_rate"),
    "network of no layers": (["network.layers_per_block=0"], "layers_per_block"),
    "target that is not ours": (["network._target_=os.getcwd"], "_target_"),
    "optimizer with an unknown option": (["+optimization.optimizer.foo=1"], "foo"),
    "learning rate below zero": (["optimization.optimizer.lr=-1"], "learning rate"),
    "learning rate that is a word": (
        ["optimization.optimizer.lr=abc"],
        "expected: optimization.optimizer.lr is a number",
    ),
    "optimizer with a misspelt name": (
        ["optimization.optimizer._target_=torch.optim.Adm"],
        "did you mean torch.optim.Adam",
    ),
    "group taken away": (["~network"], "network=<name>"),
    "name that is empty": (["name="], "name=<text>"),
    "option written as a flag": (["--experiment=paper"], "remedy: experiment=paper"),
    "Lightning's trial": (["trainer.fast_dev_run=true"], "found: trainer.fast_dev_run"),
    "crop of no size": (["preprocessing.size=[0,48]"], "preprocessing.size"),
    "unknown precision": (["trainer.precision=half"], "precision"),
    "unknown accelerator": (["trainer.accelerator=tpu"], "accelerator"),
    "unknown logger": (["+logger.mine._target_=pytorch_lightning.loggers.WandLogger"], "WandbLogger"),
    "logger of another package": (["+logger.mine._target_=wandb.init"], "plugins=[wandb]"),
    "unknown option of loggers": (["+logger.subject_id=hashed"], "logger.subject_id"),
    "unknown reference table": (["reference_table=ours"], "reference_table"),
    "more folds than subjects": (["folds.count=9"], "9 folds"),
    "too few volunteers for the paper's folds": (["folds=paper"], "volunteer"),
    "epochs that are no number": (["optimization.epochs=many"], "optimization.epochs"),
    "batches of nothing": (["optimization.batch_size=0"], "optimization.batch_size"),
    "fewer than no workers": (["trainer.workers=-1"], "trainer.workers"),
    "seed below zero": (["seed=-1"], "seed"),
    "unknown trainer option": (["+trainer.foo=1"], "trainer.foo"),
    "unknown folds option": (["+folds.foo=1"], "folds.foo"),
    "nothing but a word": (["demo"], "key=value"),
}


@pytest.mark.parametrize("mistake", OPTIONS)
def test_training_with_a_mistaken_option(mistake, tiny_study, tiny_overrides, tmp_path, capsys):
    options, named = OPTIONS[mistake]
    overrides = [word for word in tiny_overrides if not word.startswith(("cohort@", "network"))]
    arguments = ["study=bids", f"study.root={tiny_study}", f"output_root={tmp_path / 'outputs'}", *overrides, *options]
    code = train(arguments if "fold" in options[0] else ["fold=0..3", *arguments])
    assert code == 2
    assert named in one_error(capsys)
    assert not [found for found in (tmp_path / "outputs").rglob("*") if found.is_file()]


@pytest.mark.parametrize("place", ["/proc/x", "a file"])
def test_training_into_a_folder_that_cannot_be_made(place, tiny_overrides, tmp_path, capsys):
    (tmp_path / "a file").touch()
    output = tmp_path / place
    assert train(["fold=0", "study=phantom_tiny", f"output_root={output}", *tiny_overrides]) == 2
    line = one_error(capsys)
    assert "output_root names a folder that can be written to" in line
    assert f"path: {output if output.exists() else output.parent}" in line
    assert "remedy: output_root=" in line
    assert list(tmp_path.iterdir()) == [tmp_path / "a file"]


def test_too_few_subjects_for_the_folds(study, tiny_overrides, tmp_path, capsys):
    leave_three_subjects(study)
    assert train(["fold=0", f"study.root={study}", f"output_root={tmp_path / 'outputs'}", *tiny_overrides]) == 2
    assert "4 folds need at least 4 independent subjects; found: 3" in one_error(capsys)
    assert not [found for found in (tmp_path / "outputs").rglob("*") if found.is_file()]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "found: neither"),
        (["run=outputs/demo", "study=aorta"], "found: both"),
        (["run=nowhere"], "no such folder"),
        (["run=."], "no fold-<k> folder"),
        (["study=nosuch"], "nosuch"),
        (["study=bids", "study.root=nowhere"], "no such folder"),
        (["study=bids"], "study.root"),
        (["run=.", "foo=1"], "foo"),
    ],
)
def test_evaluating_nothing_that_exists(arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert evaluate(arguments) == 2
    assert named in one_error(capsys)
    assert list(tmp_path.iterdir()) == []


def test_evaluating_a_sweep_of_which_nothing_is_finished(tmp_path, capsys):
    (tmp_path / "outputs" / "demo" / "fold-0").mkdir(parents=True)
    assert evaluate([f"run={tmp_path / 'outputs' / 'demo'}"]) == 2
    line = one_error(capsys)
    assert "at least one fold is complete" in line
    assert f"path: {tmp_path / 'outputs' / 'demo'}" in line
    assert not [found for found in tmp_path.rglob("*") if found.is_file()]


def test_simulating_into_a_folder_that_exists(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    assert simulate(["cohort=tiny", f"output={tmp_path / 'mine'}"]) == 2
    assert f"found: it exists already; path: {tmp_path / 'mine'}" in one_error(capsys)
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize("option", ["cohort=nosuch", "cohort.slices=0", "cohort.matrix=[4,4]", "+cohort.foo=1"])
def test_simulating_what_cannot_be(option, tmp_path, capsys):
    assert simulate(["cohort=tiny", option, f"output={tmp_path / 'mine'}"]) == 2
    one_error(capsys)
    assert list(tmp_path.iterdir()) == []


def test_check_lists_every_fault_at_once(study, capsys):
    (study / IMAGE).unlink()
    truncate(study / MASK.replace("P01", "P02"))
    rewrite(study / MASK.replace("P01", "V01"), moved)
    list_p01_twice(study)
    assert check(["study=bids", f"study.root={study}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("error: ") and "remedy: " in line for line in lines)
    for subject, word in (("P01", "image"), ("P02", "complete and readable"), ("V01", "corners"), ("P01", "once")):
        assert [line for line in lines[:-1] if f"subject: {subject};" in line and word in line], (subject, word)
    assert len(lines) == 4 + 1
    assert "found: 4, listed above" in lines[-1]


def test_a_good_study_passes(tiny_study, capsys):
    assert check(["study=bids", f"study.root={tiny_study}", "preprocessing.size=[48,48]"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "8 subjects (patient, volunteer) are fit to use" in captured.out


def test_nerve_outside_the_crop_is_a_warning(tiny_study, capsys):
    assert check(["study=bids", f"study.root={tiny_study}", "preprocessing.size=[8,8]"]) == 0
    assert "outside the centre crop of 8 x 8" in capsys.readouterr().out
