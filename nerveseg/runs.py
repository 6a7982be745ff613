"""Where the files of a run lie, and where its results come from.

    outputs/<name>/[<settings>/]fold-<k>/     checkpoints/ model/ predictions/ scores.csv metrics.csv config.yaml
                                              provenance.json
    outputs/<name>/[<settings>/]evaluation/   the tables of `evaluation.analysis`, and what was printed of them
    outputs/<name>/settings.csv               of a sweep over settings: each cross-validation, best first

A fold is complete when its `scores.csv` is there: it is written last, and in one piece.
"""

from __future__ import annotations

import platform
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from nerveseg.errors import RunError

FOLD_PREFIX = "fold-"
RECORDED_PACKAGES = (
    "nerveseg", "torch", "pytorch-lightning", "torchio", "nibabel", "numpy", "scipy", "SimpleITK", "hydra-core",
)  # fmt: skip


@dataclass(frozen=True)
class FoldFolder:
    """The files of one trained fold."""

    path: Path

    @property
    def number(self) -> int:
        """The fold's number, from the folder's name."""
        return int(self.path.name.removeprefix(FOLD_PREFIX))

    @property
    def checkpoints(self) -> Path:
        """Lightning checkpoints, only for resuming this run."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Folder of the best epoch's checkpoint, where a callback keeps one."""
        return self.path / "best"

    @property
    def model(self) -> Path:
        """The model bundle."""
        return self.path / "model"

    @property
    def predictions(self) -> Path:
        """Masks of the test subjects, and their pictures."""
        return self.path / "predictions"

    @property
    def validation_scores(self) -> Path:
        """Scores of the validation subjects; to choose settings by."""
        return self.path / "validation.csv"

    @property
    def scores(self) -> Path:
        """Scores of the test subjects; written last."""
        return self.path / "scores.csv"

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        """Versions, data and times."""
        return self.path / "provenance.json"

    def former_config(self, number: int) -> Path:
        """A configuration that the run was begun with before `resume=force` changed it; numbered from 1."""
        return self.path / f"config.before-{number}.yaml"

    @property
    def is_complete(self) -> bool:
        """Trained, predicted and scored."""
        return self.scores.is_file()

    @property
    def seconds(self) -> Path:
        """How long each test subject took."""
        return self.predictions / "seconds.json"

    def prediction(self, subject_id: str) -> Path:
        """Mask that the model made of a subject."""
        return self.predictions / f"sub-{subject_id}_label-nerve_mask.nii.gz"

    def validation_mask(self, subject_id: str) -> Path:
        """Mask that the model made of a validation subject."""
        return self.path / "validation" / f"sub-{subject_id}_label-nerve_mask.nii.gz"

    def overlay(self, subject_id: str) -> Path:
        """Picture of a subject's mask on its image."""
        return self.predictions / f"sub-{subject_id}_overlay.png"


def settings_folder(output_root: Path, name: str, settings: str) -> Path:
    """Folder of one cross-validation: its folds and their evaluation."""
    return output_root / name / settings if settings else output_root / name


def fold_folder(cross_validation: Path, fold: int) -> FoldFolder:
    """Folder of one fold of a cross-validation."""
    return FoldFolder(cross_validation / f"{FOLD_PREFIX}{fold}")


def find_folds(cross_validation: Path) -> list[FoldFolder]:
    """The folds that lie in a cross-validation's folder, by number, complete or not."""
    paths = [path for path in cross_validation.glob(f"{FOLD_PREFIX}*") if path.name[len(FOLD_PREFIX) :].isdecimal()]
    return sorted((FoldFolder(path) for path in paths if path.is_dir()), key=lambda fold: fold.number)


def find_cross_validations(run: Path) -> list[Path]:
    """Every folder at or below `run` that holds folds.

    Raises:
        RunError: There is none.
    """
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


class ConfigChange(BaseModel):
    """A configuration that a run went on from, with `resume=force`.

    Attributes:
        changed: Local time, ISO 8601.
        differences: `key: old -> new`.
        former: Name of the file in the fold's folder that keeps the configuration of before.
        command: The command line that changed it.
    """

    model_config = ConfigDict(extra="forbid")

    changed: str = Field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    differences: list[str]
    former: str
    command: list[str]


class Provenance(BaseModel):
    """Where a fold's results come from.

    Attributes:
        command: The command line that Hydra was given.
        versions: Of nerveseg and the libraries that matter.
        commit: Of the checkout, with `-dirty` where it had changes; empty outside a checkout.
        data: Hash of all input files and of the preprocessing (the slice store's key).
        config_sha256: Hash of the resolved configuration.
        device: What it ran on.
        started: Local time, ISO 8601.
        training_seconds: Wall-clock time of the training, of the processes that came to its end.
        config_changes: What `resume=force` changed, oldest first.
    """

    model_config = ConfigDict(extra="forbid")

    command: list[str]
    versions: dict[str, str] = Field(default_factory=lambda: package_versions())
    commit: str = Field(default_factory=lambda: source_commit())
    data: str
    config_sha256: str
    device: str
    started: str = Field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    training_seconds: float | None = None
    config_changes: list[ConfigChange] = Field(default_factory=list)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on."""
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def source_commit() -> str:
    """Commit of the source tree, `-dirty` if it has changes; empty where nerveseg does not lie in its own checkout."""
    top = Path(__file__).resolve().parents[1]
    if not (top / ".git").exists():
        return ""
    command = ["git", "-C", str(top), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
