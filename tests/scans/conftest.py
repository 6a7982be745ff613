"""A sweep of four folds with random weights whose training data are the tiny synthetic study's subjects."""

import hashlib

import pytest

from nerveseg.segment import main as segment
from tests.helpers.scan_models import write_model
from tests.helpers.studies import write_study

FOLDS = 4


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory):
    """The tiny synthetic study, with its fat-suppressed series and its truth."""
    return write_study("tiny", tmp_path_factory.mktemp("study") / "tiny")


@pytest.fixture(scope="session")
def image_of(tiny_study):
    return lambda subject: tiny_study / f"sub-{subject}" / "anat" / f"sub-{subject}_T2w.nii.gz"


@pytest.fixture(scope="session")
def fat_suppressed_of(tiny_study):
    return lambda subject: tiny_study / f"sub-{subject}" / "anat" / f"sub-{subject}_acq-fatsat_T2w.nii.gz"


@pytest.fixture(scope="session")
def truth_of(tiny_study):
    return lambda subject, what: next(
        (tiny_study / "derivatives" / "truth" / f"sub-{subject}").rglob(f"*{what}*.nii.gz")
    )


@pytest.fixture(scope="session")
def sweep(tiny_study, tmp_path_factory):
    """Four folds; the subject number k of the study is held out by fold k modulo 4."""
    root = tmp_path_factory.mktemp("runs") / "sweep"
    images = sorted(tiny_study.glob("sub-*/anat/*_T2w.nii.gz"))
    images = [path for path in images if "acq-" not in path.name]
    for fold in range(FOLDS):
        hashes = {
            path.name.split("_")[0].removeprefix("sub-"): {"T2": hashlib.sha256(path.read_bytes()).hexdigest()}
            for number, path in enumerate(images)
            if number % FOLDS != fold
        }
        write_model(root / f"fold-{fold}" / "model", 10 + fold, hashes, fold)
    return root


@pytest.fixture
def in_process(tmp_path, capsys, monkeypatch):
    """A function that makes a command run in this process and in a folder of its own; it gives what was printed."""
    monkeypatch.chdir(tmp_path)

    def of(main):
        def command(*arguments, code=0):
            returned = main([str(argument) for argument in arguments])
            printed = capsys.readouterr()
            assert returned == code, f"{printed.out}\n{printed.err}"
            return printed

        return command

    return of


@pytest.fixture
def run(in_process):
    """`segment` in this process."""
    return in_process(segment)
