"""Result files of a segmented scan; `summary.json` is written last, so a folder that has it is complete.

    mask.nii.gz (.mha, .nrrd as the input)   the nerve, in the scan's own grid
    labels.nii.gz (likewise)                 of a model of several classes: the label values of its study
    mask-<class>.nii.gz (likewise)           each class by itself, if asked for (per_class)
    automatic.nii.gz (likewise)              copy of the mask (of several classes: the label map) as the model made it
    branches.nii.gz, .txt, .ctbl             side and branch of the nerve, with names for ITK-SNAP and 3D Slicer
    lesion.nii.gz (likewise)                 the lesion, if one was looked for
    workspace.itksnap                        scan, masks and channels for ITK-SNAP
    profile.csv                              one row per slice and branch
    check.png                                slices with the outline, the profile, the flags
    thumbnail.jpg                            one slice with the outline, for the page of many scans
    report.html                              a page with every slice, the surface, the profiles, a review
    registration-<channel>.png               a registered channel before and after
    probability.nii.gz, channel-<name>.nii.gz, mask.dcm, measurements.dcm   if asked for
    summary.json                             measurements of the nerve, flags, hashes, versions

A folder with the results of another scan, or with a file of such a name from elsewhere, is not written to. While a
result is being written the folder holds `.unfinished`. A mask that was changed since the summary was written is a
person's correction, and is not written to either; no file of a person's is ever deleted (`scans.own_files`).
"""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from nerveseg.biomarkers.quality import Flag
from nerveseg.biomarkers.summary import NerveSummary
from nerveseg.biomarkers.wording import in_words as slices_in_words
from nerveseg.data.volumes.volume import VOLUME_SUFFIXES
from nerveseg.errors import RunError
from nerveseg.files import file_sha256, write_text
from nerveseg.inference.expected_dice import ExpectedDice
from nerveseg.inference.prediction_settings import Computation, PredictionSettings
from nerveseg.notices import NOTICE
from nerveseg.scans.grade import Grade
from nerveseg.scans.identity import Identity
from nerveseg.scans.list_picture import ListPicture
from nerveseg.scans.own_files import REPLACED, UNFINISHED, Written, clear, mark, recorded
from nerveseg.scans.request import ScanRequest

SUMMARY = "summary.json"
NAMED_BY_USER = ("mask-*", "channel-*")  # patterns of files whose names hold those of classes, channels and maps
OWN_FILES = (
    "mask.*", *NAMED_BY_USER, "labels.*", "branches.*", "nerve.stl", "nerve.ply", "automatic.*", "lesion.*",
    "probability.nii.gz", "measurements.dcm", "workspace.itksnap", "profile.csv", "check.png", "thumbnail.jpg",
    "report.html", "registration-*.png", SUMMARY,
)  # fmt: skip
"""Patterns of the names of result files."""

EDIT_SECONDS = 60
"""Seconds after the summary from which a mask of an earlier version, which recorded no hash, counts as changed."""


class ResultOptions(BaseModel, frozen=True, extra="forbid"):
    """Options of the files that are written besides the usual ones."""

    write_probability: bool = False  # flag: true to write `probability.nii.gz`
    write_channels: bool = False  # flag: true to write `channel-<name>.nii.gz`, further channels and maps on the grid
    # True to write `mask.dcm` of a DICOM input, which holds the patient's name; "always" also if it is not usable.
    dicom_seg: bool | Literal["always"] = False
    dicom_sr: bool | Literal["always"] = False  # the same of `measurements.dcm`, a report of the measurements
    surface: Literal["stl", "ply"] | None = None  # format of `nerve.stl` or `nerve.ply`, the surface of the nerve
    per_class: bool = False  # flag: true to write a mask of each class, too


class ModelRecord(BaseModel, frozen=True, extra="forbid"):
    """Record of the applied model."""

    name: str  # folder of the sweep, fold or bundle
    sha256: str  # hash of the weights
    study: str  # name of the study of its training
    folds: list[int]  # numbers of the folds that were averaged
    synthetic: bool  # flag: true if it was trained on simulated data


class MaskChanges(BaseModel, frozen=True, extra="forbid"):
    """Difference of a mask from the automatic one."""

    added_voxels: int  # number of voxels that only the mask holds
    removed_voxels: int  # number of voxels that only the automatic mask holds
    relabelled_voxels: int  # number of voxels of another class in the two; 0 for a single class
    volume_mm3: float  # volume of the mask less that of the automatic one, in mm3
    slices: list[int]  # numbers in the input file of the slices that differ

    def in_words(self) -> str:
        """Return the difference as text."""
        if not self.slices:
            return "none"
        moved = f", {self.relabelled_voxels} of another class" if self.relabelled_voxels else ""
        return (
            f"{self.added_voxels} voxels added, {self.removed_voxels} removed{moved} ({self.volume_mm3:+.1f} mm3) in "
            f"{slices_in_words(self.slices)}"
        )


class GivenMask(BaseModel, frozen=True, extra="forbid"):
    """Record of a mask that a person drew or corrected."""

    source: str  # name of its file
    sha256: str  # hash of the file
    edited_there: bool  # flag: true if the file is the result's own mask or label map, corrected in its folder
    changes: MaskChanges | None  # difference from the automatic mask; null where that is not known


class ScanSummary(BaseModel, frozen=True, extra="forbid"):
    """Content of `summary.json`."""

    warning: str  # warning "SYNTHETIC TRAINING DATA", or empty
    notice: str = NOTICE  # notice that this is no medical device
    name: str  # name of the scan
    shape: tuple[int, int, int]  # shape of the input's array
    spacing_mm: tuple[float, float, float]  # voxel spacing along the RAS axes in mm; the last is the slice step
    mask: str  # name of the mask's file
    # Label values of each class in the label map; empty where the mask is that of the one class.
    classes: dict[str, list[int]] = Field(default_factory=dict)
    class_masks: list[str] = Field(default_factory=list)  # names of the files of single classes, if asked for
    identified: list[str] = Field(default_factory=list)  # names of the files that hold the patient's name and ID
    # SHA-256 of each file of masks and labels by its name; empty in results of earlier versions.
    masks: dict[str, str] = Field(default_factory=dict)
    # SHA-256 of each volume that nerveseg wrote, by its name; a file with another hash is a person's.
    written: dict[str, str] = Field(default_factory=dict)
    # Name of the file of the mask as the model made it; null in results of earlier versions.
    automatic: str | None = None
    given: GivenMask | None = None  # record of the mask, if a person drew or corrected it
    request: ScanRequest | None = None  # files and options; null in results of earlier versions
    model: ModelRecord | None  # record of the applied model; null for a mask of another origin
    nerves: list[NerveSummary]  # summary of each side's nerve
    # Dice to expect of each class; empty of models without a calibration, and in results of earlier versions.
    expected_dice: dict[str, ExpectedDice] = Field(default_factory=dict)
    grade: Grade | None = None  # grade of the mask; null in results of earlier versions
    thumbnail: ListPicture | None = None  # slice in `thumbnail.jpg`; null in results of earlier versions
    flags: list[Flag]  # quality flags, for a person to check
    notes: list[str] = Field(default_factory=list)  # remarks on the origin of the numbers
    # Settings that the mask depends on; null in results of earlier versions.
    prediction: PredictionSettings | None = None
    # Device, runtime and search of the nerve; null in results of earlier versions.
    computation: Computation | None = None
    registrations: dict[str, dict[str, Any]] = Field(default_factory=dict)  # movement of each registered channel
    seconds: float  # time from reading the input to writing the last table, in s
    versions: dict[str, str]  # versions of nerveseg and the libraries that a result depends on
    identity: Identity  # hashes of the inputs, model and options

    @property
    def mask_sha256(self) -> str:
        """SHA-256 of the mask, of several classes of the label map; empty in results of earlier versions."""
        return self.masks[primary_mask(self.masks)] if self.masks else ""


def primary_mask(names: Collection[str]) -> str:
    """Return which of the files of masks is to be corrected: the label map of several classes, else the mask."""
    return next(name for start in ("labels.", "mask.") for name in names if name.startswith(start))


def in_words(nerve: NerveSummary) -> str:
    """Return the summary of a nerve as one line for the screen."""
    which = "nerve" if nerve.side == "unknown" else f"{nerve.side} nerve"
    if nerve.mean_csa_mm2 is None or nerve.max_csa_mm2 is None:
        return f"{which}: none found"
    split = "no split" if nerve.split_slice is None else f"split at slice {nerve.split_slice}"
    lesion = "" if nerve.lesion_burden is None else f", lesion {nerve.lesion_burden:.0%}"
    return (
        f"{which}: {nerve.volume_mm3:,.0f} mm3 over {nerve.length_mm:.0f} mm, area {nerve.mean_csa_mm2:.1f} mm2 on"
        f" average, {nerve.max_csa_mm2:.1f} mm2 at most (slice {nerve.max_csa_slice}), {split}{lesion}"
    )


def read_summary(folder: Path) -> ScanSummary | None:
    """Return the summary of a folder; None if there is none that can be read."""
    try:
        return ScanSummary.model_validate_json((folder / SUMMARY).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError, UnicodeDecodeError):
        return None


def changed_masks(folder: Path, summary: ScanSummary) -> list[str]:
    """Return the names of the masks and label maps that were changed after the summary of their result was written.

    A volume of such a name in another format (`mask.seg.nrrd`), which a person has saved, counts until it is measured.
    """
    if summary.masks:
        known = recorded(folder) | {*summary.masks.items()}  # recorded, if a measurement here was interrupted
        known |= {(summary.given.source, summary.given.sha256)} if summary.given else set()
        saved = [path for pattern in ("mask.*", "labels.*") for path in sorted(folder.glob(pattern))]
        files = [folder / name for name in summary.masks]
        files += [path for path in saved if path not in files and path.name.lower().endswith(VOLUME_SUFFIXES)]
        return [path.name for path in files if path.is_file() and (path.name, file_sha256(path)) not in known]
    names = [summary.mask, *summary.class_masks, *(path.name for path in folder.glob("labels.*"))]
    latest = (folder / SUMMARY).stat().st_mtime + EDIT_SECONDS
    return [name for name in names if (folder / name).is_file() and (folder / name).stat().st_mtime > latest]


def check_free(folder: Path, identity: Identity, *, by_hand: bool = False) -> ScanSummary | None:
    """Return the summary if the folder holds this result complete; None if it has to be made, or cannot be read.

    Args:
        folder: Folder of the result.
        identity: Identity of the result.
        by_hand: Flag of a mask that a person gives, which replaces an earlier one of the same origin only.

    Raises:
        RunError: The folder holds the result of another scan, a mask that would be lost, or files of these names from
            elsewhere.
    """
    earlier = read_summary(folder)
    if earlier is None:
        _check_nothing_foreign(folder)
        return None
    if earlier.identity.inputs.get("image") != identity.inputs["image"]:
        raise RunError(
            "a folder holds the results of one scan",
            found=f"the results of another scan, {earlier.name}",
            path=folder,
            remedy="output=<another folder>, or delete this one",
        )
    same = earlier.identity == identity and (folder / earlier.mask).is_file()
    changed = changed_masks(folder, earlier)
    if changed or _would_be_lost(earlier, same, by_hand):
        what = f"{', '.join(changed)}, changed after the result" if changed else f"the mask of {earlier.name}"
        raise RunError(
            "a mask that was corrected by hand is kept, and a result that can be corrected",
            found=what + (f", from {earlier.given.source}" if earlier.given and not changed else ""),
            path=folder,
            remedy=f"python -m nerveseg.measure {folder} measures a corrected mask there; else output=<another folder>",
        )
    return earlier if same else None


def _would_be_lost(earlier: ScanSummary, same: bool, by_hand: bool) -> bool:
    """Return true if another result in its folder would replace a corrected mask, or an automatic one by hand."""
    if by_hand:
        return bool(earlier.identity.model) or (earlier.given is not None and earlier.given.edited_there)
    return earlier.given is not None and not same


def is_result(path: Path) -> bool:
    """Return true for a result file, or a correction of one, which a pattern such as `scans/**` finds as well."""
    folder = path.parent.parent if path.parent.name.startswith(REPLACED) else path.parent
    ours = any((folder / name).is_file() for name in (SUMMARY, UNFINISHED))
    return ours and any(fnmatchcase(path.name, pattern) for pattern in OWN_FILES)


def begin(folder: Path, named: Sequence[str] = ()) -> None:
    """Mark a folder as being written, and clear it of the files of a result.

    Of files `mask-*` and `channel-*`, only those that nerveseg wrote or is about to write (`named`) give way: others
    are a person's own.
    """
    own = own_files(folder, read_summary(folder))
    mark(folder, own)
    found = {
        path.name
        for pattern in OWN_FILES
        for path in folder.glob(pattern)
        if pattern not in NAMED_BY_USER or path.name in {*named, *dict(own)}
    }
    clear(folder, sorted(found), own)


def own_files(folder: Path, summary: ScanSummary | None) -> Written:
    """Return the volumes that nerveseg wrote to a folder, whose result may be unfinished."""
    own = recorded(folder)
    if summary is None:
        return own
    written = summary.written
    if not written and not summary.masks:  # of earlier versions, whose masks are told by their time
        changed = changed_masks(folder, summary)
        names = {summary.mask, *summary.class_masks, *(path.name for path in folder.glob("labels.*"))}
        written = {name: file_sha256(folder / name) for name in names - {*changed} if (folder / name).is_file()}
    return own | {*written.items()}


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
            "a folder for results has no files of the same names from elsewhere",
            found=", ".join(foreign[:3]),
            path=folder,
            remedy="output=<another folder>, or move these files away",
        )
