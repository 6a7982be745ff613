"""Questions are answered, and slips of the finger told, before anything large is imported; mistakes, before torch."""

import subprocess
import sys

import pytest

LARGE = ("torch", "pytorch_lightning", "torchio", "pandas", "scipy", "SimpleITK", "nibabel", "matplotlib", "wandb")
SLOW = ("torch", "pytorch_lightning", "torchio", "wandb")
VERBS = ("train", "evaluate", "segment", "measure", "compare", "simulate", "check")
IMPORTED = f"""
import importlib, sys
try:
    sys.exit(getattr(importlib.import_module(sys.argv.pop(1)), sys.argv.pop(1))())
finally:
    print("large:", *[name for name in {LARGE} if name in sys.modules])
"""


def imported_by(module, *arguments, function="main"):
    """What a command printed, its exit code, and which large packages it imported."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, module, function, *arguments], capture_output=True, text=True, timeout=60
    )
    return done.stdout, done.returncode, done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("verb", VERBS)
def test_help_imports_nothing_large(verb):
    printed, code, large = imported_by(f"nerveseg.{verb}", "--help")
    assert "Configuration groups" in printed
    assert (code, large) == (0, [])


def test_help_of_all_imports_nothing_large():
    printed, code, large = imported_by("nerveseg.launch.main", "--help", function="run_verb")
    assert "usage: nerveseg" in printed
    assert (code, large) == (0, [])


def test_showing_a_configuration_imports_nothing_large():
    printed, code, large = imported_by("nerveseg.train", "--cfg", "job", "experiment=paper")
    assert "growth_rate: 12" in printed
    assert (code, large) == (0, [])


@pytest.mark.parametrize("arguments", [["foo=1"], ["fold=0..3", "experiment=nosuch"]])
def test_a_slip_is_told_before_anything_large_is_imported(arguments):
    _, code, large = imported_by("nerveseg.train", *arguments)
    assert (code, large) == (2, [])


MISTAKES = (
    ("train", "fold=a"),
    ("train", "study=bids", "study.root=none"),
    ("evaluate", "run=none"),
    ("segment", "scan.nii.gz", "side=up"),
    ("segment", "none.nii.gz"),
    ("segment", "scan.nii.gz", "model=none"),
    ("segment", "none.nii.gz", "model=model"),
    ("segment", "scan.nii.gz", "model=model", "images.FS=none.nii.gz"),
    ("measure", "none.nii.gz", "mask=none.nii.gz"),
    ("measure", "scan.nii.gz", "mask=none.nii.gz"),
    ("compare", "none", "none"),
    ("simulate", "workers=0"),
    ("check", "study=bids", "study.root=none"),
)
MADE = f"""
import importlib, sys
for verb, *words in {MISTAKES}:
    code = importlib.import_module(f"nerveseg.{{verb}}").main(words)
    print("made:", code, *(name for name in {SLOW} if name in sys.modules))
"""


def test_wrong_values_and_missing_inputs_are_told_without_torch(tmp_path):
    (tmp_path / "scan.nii.gz").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.json").touch()
    done = subprocess.run([sys.executable, "-c", MADE], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert [line for line in done.stdout.splitlines() if line.startswith("made:")] == ["made: 2"] * len(MISTAKES)
    assert "Traceback" not in done.stderr
