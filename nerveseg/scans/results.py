"""The files that a segmented scan leaves; `summary.json` comes last, so a folder that has it is complete.

    mask.nii.gz (.mha, .nrrd as the input)   in the scan's own grid
    profile.csv                              one row per slice and branch
    check.png                                slices with the outline, the profile, the flags
    report.html                              the same to leaf through: every slice, the surface, the profiles, a review
    registration-<channel>.png               a registered channel before and after
    probability.nii.gz, mask.dcm             where asked for
    summary.json                             what the nerve measures, flags, hashes, versions

A folder that holds the results of another scan, or a file of such a name that is none of ours, is not written to.
While a result is being written, `.unfinished` lies beside it: what is there may be replaced.
"""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nerveseg.biomarkers.quality import Flag
from nerveseg.biomarkers.summary import NerveSummary
from nerveseg.errors import RunError
from nerveseg.files import write_text
from nerveseg.inference.prediction_settings import Computation, PredictionSettings
from nerveseg.notices import NOTICE

SUMMARY = "summary.json"
UNFINISHED = ".unfinished"
OWN_FILES = ("mask.*", "probability.nii.gz", "profile.csv", "check.png", "report.html", "registration-*.png", SUMMARY)
"""Patterns of the names of what is written."""


class ResultOptions(BaseModel):
    """Which files are written besides the usual ones.

    Attributes:
        write_probability: `probability.nii.gz`.
        dicom_seg: `mask.dcm` of a DICOM input; auto where highdicom is installed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    write_probability: bool = False
    dicom_seg: bool | Literal["auto"] = "auto"


class Identity(BaseModel):
    """What a result was made of; the same identity is the same result.

    Attributes:
        inputs: Hash of every input file by what it is, of the table of norms too.
        model: Hash of the descriptions of the model's members, which hold those of their weights.
        options: Hash of the options.
        version: Of nerveseg.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: dict[str, str]
    model: str
    options: str
    version: str


class ModelRecord(BaseModel):
    """The model that was applied.

    Attributes:
        name: Folder of the sweep, fold or bundle.
        sha256: Hash of the weights.
        study: It was trained on.
        folds: Members that were averaged.
        synthetic: It has never seen a real nerve.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str
    study: str
    folds: list[int]
    synthetic: bool


class FlagRecord(BaseModel):
    """One quality flag.

    Attributes:
        code: Name of the rule.
        message: In words.
        side: Of the nerve, where there are two.
        slices: Numbers in the input file's order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    message: str
    side: str | None
    slices: list[int]

    @classmethod
    def of(cls, flag: Flag) -> FlagRecord:
        """As it is written."""
        return cls(code=flag.code, message=flag.message, side=flag.side, slices=list(flag.slices))


class ScanSummary(BaseModel):
    """`summary.json`.

    Attributes:
        warning: SYNTHETIC TRAINING DATA where that is so, else empty.
        notice: What this is not.
        name: Of the scan.
        shape: Of the input's array.
        spacing_mm: Along its RAS axes; the last is the slice step.
        mask: Name of the mask's file.
        model: What was applied.
        nerves: One per side.
        flags: What a human should look at.
        notes: How the numbers came about, in words.
        prediction: Everything that the mask depends on besides the model; null in results from before it was recorded.
        computation: Device, runtime and search of the nerve.
        registrations: Movement of each registered channel.
        seconds: From the first byte read to the last table.
        versions: Of the libraries that matter.
        identity: What the result was made of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    warning: str
    notice: str = NOTICE
    name: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    mask: str
    model: ModelRecord
    nerves: list[NerveSummary]
    flags: list[FlagRecord]
    notes: list[str] = Field(default_factory=list)
    prediction: PredictionSettings | None = None
    computation: Computation | None = None
    registrations: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seconds: float
    versions: dict[str, str]
    identity: Identity


def in_words(nerve: NerveSummary) -> str:
    """One line for the screen."""
    which = "nerve" if nerve.side == "unknown" else f"{nerve.side} nerve"
    if nerve.mean_csa_mm2 is None or nerve.max_csa_mm2 is None:
        return f"{which}: none found"
    split = "no split" if nerve.split_slice is None else f"split at slice {nerve.split_slice}"
    lesion = "" if nerve.lesion_burden is None else f", lesion {nerve.lesion_burden:.0%}"
    return (
        f"{which}: {nerve.volume_mm3:,.0f} mm3 over {nerve.length_mm:.0f} mm, area {nerve.mean_csa_mm2:.1f} mm2 on"
        f" average, {nerve.max_csa_mm2:.1f} mm2 at most (slice {nerve.max_csa_slice}), {split}{lesion}"
    )


def options_sha256(*options: BaseModel) -> str:
    """Hash of options that change a result."""
    return hashlib.sha256("".join(option.model_dump_json() for option in options).encode()).hexdigest()


def earlier_summary(folder: Path) -> ScanSummary | None:
    """What a complete result's folder says of itself; None where there is none, or of another format."""
    try:
        return ScanSummary.model_validate_json((folder / SUMMARY).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError, UnicodeDecodeError):
        return None


def check_free(folder: Path, identity: Identity) -> ScanSummary | None:
    """The summary of this very result if the folder has it complete; None if it has to be made.

    Raises:
        RunError: The folder holds the result of another scan, or files of these names that are none of ours.
    """
    earlier = earlier_summary(folder)
    if earlier is None:
        _check_nothing_foreign(folder)
        return None
    if earlier.identity.inputs.get("image") != identity.inputs["image"]:
        raise RunError(
            "a folder holds the results of one scan",
            found=f"those of another scan, {earlier.name}",
            path=folder,
            remedy="output=<another folder>, or delete this one",
        )
    return earlier if earlier.identity == identity and (folder / earlier.mask).is_file() else None


def is_result(path: Path) -> bool:
    """Whether a file is one of ours: a pattern such as `scans/**` also finds the masks that were written there."""
    ours = any((path.parent / name).is_file() for name in (SUMMARY, UNFINISHED))
    return ours and any(fnmatchcase(path.name, pattern) for pattern in OWN_FILES)


def begin(folder: Path) -> None:
    """Mark a folder as being written, and take away what an earlier result left there."""
    write_text(folder / UNFINISHED, "nerveseg is writing here; the same command continues\n")
    for pattern in OWN_FILES:
        for path in folder.glob(pattern):
            path.unlink()


def finish(folder: Path, summary: ScanSummary) -> None:
    """Write the summary, after which the folder is complete."""
    write_text(folder / SUMMARY, summary.model_dump_json(indent=1) + "\n")
    (folder / UNFINISHED).unlink(missing_ok=True)


def _check_nothing_foreign(folder: Path) -> None:
    if (folder / UNFINISHED).is_file():
        return
    foreign = sorted(path.name for pattern in OWN_FILES for path in folder.glob(pattern))
    if foreign:
        raise RunError(
            "a folder for results holds no files of their names from elsewhere",
            found=", ".join(foreign[:3]),
            path=folder,
            remedy="output=<another folder>, or move these files away",
        )
