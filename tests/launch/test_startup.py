"""Questions are answered, and slips of the finger told, before anything large is imported."""

import contextlib
import subprocess
import sys

import pytest

from nerveseg.launch import main
from nerveseg.launch.main import run_command

LARGE = ("torch", "pytorch_lightning", "torchio", "pandas", "scipy", "SimpleITK", "nibabel", "matplotlib", "wandb")
VERBS = ("train", "evaluate", "segment", "simulate", "check")
IMPORTED = f"""
import importlib, sys
try:
    sys.exit(importlib.import_module(sys.argv.pop(1)).main())
finally:
    print("large:", *[name for name in {LARGE} if name in sys.modules])
"""


def imported_by(module, *arguments):
    """What a command printed, its exit code, and which large packages it imported."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, module, *arguments], capture_output=True, text=True, timeout=60
    )
    return done.stdout, done.returncode, done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("verb", VERBS)
def test_help_imports_nothing_large(verb):
    printed, code, large = imported_by(f"nerveseg.{verb}", "--help")
    assert "Configuration groups" in printed
    assert (code, large) == (0, [])


def test_help_of_all_imports_nothing_large():
    printed, code, large = imported_by("nerveseg.launch.main", "--help")
    assert "usage: nerveseg" in printed
    assert (code, large) == (0, [])


def test_showing_a_configuration_imports_nothing_large():
    printed, code, large = imported_by("nerveseg.train", "--cfg", "job", "experiment=paper")
    assert "growth_rate: 12" in printed
    assert (code, large) == (0, [])


@pytest.mark.parametrize("arguments", [["foo=1"], ["fold=0..3", "experiment=nosuch"], ["fold=0..3", "network.foo=2"]])
def test_a_slip_is_told_before_anything_large_is_imported(arguments):
    _, code, large = imported_by("nerveseg.train", *arguments)
    assert (code, large) == (2, [])


@pytest.mark.parametrize("question", [["--help"], ["--hydra-help"], ["--help", "--config-dir", "conf/study"]])
def test_the_quick_listing_is_that_of_hydra(question, capsys, monkeypatch):
    def answer():
        with pytest.raises(SystemExit, match=r"^0$"):  # Hydra ends the process
            run_command("train", lambda config: None, question)
        return capsys.readouterr().out

    quick = answer()
    monkeypatch.setattr(main, "_listing_without_copies", contextlib.nullcontext)
    assert quick == answer()
    assert "study: aorta, bids" in quick or question == ["--hydra-help"]
