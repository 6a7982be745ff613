"""Questions are answered, and slips of the finger told, before anything large is imported."""

import subprocess
import sys

import pytest

LARGE = ("torch", "pytorch_lightning", "torchio", "pandas", "scipy", "SimpleITK", "nibabel", "matplotlib", "wandb")
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
