"""Layout of a run's folder, and the record of the origin of its results.

    outputs/<name>/[<settings>/]fold-<k>/     checkpoints/ model/ predictions/ scores.csv metrics.csv config.yaml
                                              provenance.json
    outputs/<name>/[<settings>/]evaluation/   the tables of `evaluation.analysis`, and the printed summary
    outputs/<name>/settings.csv               of a sweep over settings: each cross-validation, best first

A fold is complete once it has its `scores.csv`, which is written last and atomically, beside its weights and metrics.
"""

import platform
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from operator import not_
from pathlib import Path

from pydantic import BaseModel, Field

from nerveseg.errors import RunError

FOLD_PREFIX = "fold-"
WEIGHTS = "weights.safetensors"
RECORDED_PACKAGES = (
    "nerveseg", "torch", "pytorch-lightning", "torchio", "nibabel", "numpy", "scipy", "SimpleITK", "hydra-core",
)  # fmt: skip


@dataclass
class FoldFolder:
    """Files of one trained fold."""

    path: Path  # folder of the fold

    def __post_init__(self) -> None:
        self.checkpoints = self.path / "checkpoints"  # folder of the Lightning checkpoints that a run is resumed from
        self.best = self.path / "best"  # folder of the best epoch's checkpoint, where a callback keeps one
        self.model = self.path / "model"  # folder of the model bundle
        self.predictions = self.path / "predictions"  # folder of the test subjects' masks and pictures
        self.seconds = self.predictions / "seconds.json"  # prediction time of each test subject, in s
        self.validation_scores = self.path / "validation.csv"  # scores of the subjects by which settings are chosen
        self.uncertainty = self.path / "uncertainty.csv"  # features of the test subjects' masks, to expect Dice from
        self.scores = self.path / "scores.csv"  # scores of the test subjects; written last
        self.metrics = self.path / "metrics.csv"  # values that the training logged
        self.config = self.path / "config.yaml"  # resolved configuration
        self.provenance = self.path / "provenance.json"  # versions, data and times

    @property
    def number(self) -> int:
        """Number of the fold, from the folder's name."""
        return int(self.path.name.removeprefix(FOLD_PREFIX))

    @property
    def is_complete(self) -> bool:
        """Flag: true if the fold is trained, predicted and scored, and neither its weights nor its log were deleted."""
        was_trained_here = self.model.is_dir() or self.checkpoints.is_dir()
        needed = (self.scores, self.model / WEIGHTS, self.metrics) if was_trained_here else (self.scores,)
        return all(path.is_file() for path in needed)

    def former_config(self, number: int) -> Path:
        """Return the file of a configuration that `resume=force` replaced; numbered from 1."""
        return self.path / f"config.before-{number}.yaml"

    def prediction(self, subject_id: str) -> Path:
        """Return the file of the mask that the model made of a test subject."""
        return self.predictions / f"sub-{subject_id}_label-nerve_mask.nii.gz"

    def validation_mask(self, subject_id: str) -> Path:
        """Return the file of the mask that the model made of a validation subject."""
        return self.path / "validation" / f"sub-{subject_id}_label-nerve_mask.nii.gz"

    def overlay(self, subject_id: str) -> Path:
        """Return the file of the picture of a subject's mask on its image."""
        return self.predictions / f"sub-{subject_id}_overlay.png"


def fold_folder(cross_validation: Path, fold: int) -> FoldFolder:
    """Return the folder of one fold of a cross-validation."""
    return FoldFolder(cross_validation / f"{FOLD_PREFIX}{fold}")


def find_folds(cross_validation: Path) -> list[FoldFolder]:
    """Return the folds in a cross-validation's folder by number, complete or not."""
    paths = [path for path in cross_validation.glob(f"{FOLD_PREFIX}*") if path.name[len(FOLD_PREFIX) :].isdecimal()]
    return sorted((FoldFolder(path) for path in paths if path.is_dir()), key=lambda fold: fold.number)


def find_cross_validations(run: Path) -> list[Path]:
    """Return every folder at or below `run` that holds folds; raise `RunError` if none does."""
    if run.is_dir():
        candidates = sorted({path.parent for path in run.rglob(f"{FOLD_PREFIX}*") if path.is_dir()})
        found = [folder for folder in candidates if find_folds(folder)]
        if found:
            return found
    raise RunError(
        "run= names a folder of trained folds",
        found="no fold-<k> folder below it" if run.is_dir() else "no such folder",
        path=run,
        remedy="run=outputs/<name> of a sweep, or train one: python -m nerveseg.train fold=0..3",
    )


class ConfigChange(BaseModel, extra="forbid"):
    """Change of a run's configuration by `resume=force`."""

    # Time of the change, local, ISO 8601.
    changed: str = Field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    differences: list[str]  # options that changed, as `key: old -> new`
    former: str  # name of the file in the fold's folder with the earlier configuration
    command: list[str]  # command line that changed it


class StartRecord(BaseModel, frozen=True, extra="forbid"):
    """Record of the model whose weights a training began with, as the bundle's record of the training has it."""

    init: str  # hash of the weights
    init_subjects: dict[str, dict[str, str]]  # hash of every file of each of its training subjects, by `init/<id>`
    voxels: dict[str, str]  # hash of the voxels of each of them, where known
    # Number of samples made on the fly that it, and the models before it, had seen; left out without any.
    samples: int = Field(default=0, exclude_if=not_)
    # Flag: true if it, or the model that it began with, learnt from simulated data; left out where false.
    init_synthetic: bool = Field(default=False, exclude_if=not_)


class Provenance(BaseModel, extra="forbid"):
    """Record of the origin of a fold's results."""

    command: list[str]  # command line that Hydra was given
    # Versions of nerveseg and the libraries that a result depends on.
    versions: dict[str, str] = Field(default_factory=lambda: package_versions())
    # Commit of the checkout, with `-dirty` where it had changes; empty outside a checkout.
    commit: str = Field(default_factory=lambda: source_commit())
    data: str  # hash of all input files and of the preprocessing (the slice store's key)
    config_sha256: str  # hash of the resolved configuration
    device: str  # description of the device
    # Time of the start, local, ISO 8601.
    started: str = Field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    training_seconds: float | None = None  # wall-clock time, in s, of the processes that trained to the end
    config_changes: list[ConfigChange] = Field(default_factory=list)  # changes by `resume=force`, oldest first
    # Record of the model that the training began with; left out without `init`.
    init: StartRecord | None = Field(default=None, exclude_if=lambda init: init is None)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def source_commit() -> str:
    """Return the commit of the checkout, with `-dirty` if it has changes; empty outside a checkout."""
    top = Path(__file__).resolve().parents[1]
    if not (top / ".git").exists():
        return ""
    command = ["git", "-C", str(top), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
