"""Data of a subject's page: one image with masks, measurements and quality flags.

The same record describes a subject of a study (with reference and scores) and a segmented scan.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from nerveseg.biomarkers.course import NerveCourse
from nerveseg.biomarkers.norms import Norm
from nerveseg.biomarkers.quality import Flag
from nerveseg.biomarkers.summary import NerveSummary
from nerveseg.errors import GeometryError
from nerveseg.evaluation.metrics.mask_pair import AnyMask
from nerveseg.reporting.overlay import check_one_grid
from nerveseg.types import Affine, Image, Mask, Probability, SpacingMm

LESION = "lesion"  # name of the mask of the abnormal part of the nerve
STRAY = "stray"  # name of the mask of the pieces away from the nerve, which no number includes
VERDICTS = {
    "accept": "the mask may be used as it is",
    "correct": "the mask may be used after a correction",
    "reject": "the mask, or the scan, is of no use",
}
"""Verdicts of a reviewer, and their meanings."""


@dataclass(frozen=True)
class SubjectView:
    """Content of the page of a subject."""

    name: str  # subject id or name of the scan; never a path
    title: str
    warning: str  # "SYNTHETIC TRAINING DATA", "SYNTHETIC STUDY", or empty
    image: Image  # first channel, in RAS order
    spacing_mm: SpacingMm  # the last is the slice step
    slice_numbers: Sequence[int]  # number of each slice in the input file
    masks: Mapping[
        str, AnyMask
    ]  # in drawing order, the one under review first: "Auto", "stray", "GT", raters, "lesion"
    profiles: Mapping[str, pd.DataFrame]  # rows of `biomarkers.profile` by the name of their mask; may be empty
    grade: str = ""  # grade of a single scan's mask as a sentence; its first word is the level
    facts: Sequence[tuple[str, str]] = ()  # names and values of the measurements, as text
    flags: Sequence[Flag] = ()
    scores: Mapping[str, float] | None = None  # by metric of scores.csv; None without a reference
    notes: Sequence[str] = ()  # on the measurements
    sides: Mapping[str, slice] = field(default_factory=dict)  # columns (along x) of each leg, where both are shown
    registrations: Mapping[str, bytes] = field(default_factory=dict)  # PNG of channels registered to the first
    study: str = ""  # name of the study, under which reviews are kept; empty for a single scan
    # SHA-256 of the image, under which reviews of a scan without a study are kept; empty if not known.
    scan_sha256: str = ""
    mask_sha256: str = ""  # SHA-256 of the file of the mask under review, where there is one
    model_sha256: str = ""  # SHA-256 of the model that made the mask, if a known one did
    classes: Mapping[str, str] = field(
        default_factory=dict
    )  # page of each class, relative to this one; of several only
    label: str = ""  # class that the masks show, where there are several
    noun: str = "nerve"  # name of what the masks show
    probability: Probability | None = None  # probability of the first mask, for the map of uncertainty
    channel: str = "image"  # name of the first channel
    channels: Mapping[str, Image] = field(default_factory=dict)  # further channels and maps on its grid, by name
    courses: Sequence[NerveCourse] = ()  # nerve of each leg in the first mask, for the views along it
    norms: Mapping[str, Norm] = field(default_factory=dict)  # norms of the person by quantity of the summary
    affine: Affine | None = None  # matrix from voxel indices of the image to mm (RAS+), where it is known
    provenance: Sequence[tuple[str, str]] = ()  # names and values of the origin of the result, as text

    def __post_init__(self) -> None:
        check_one_grid(self.image, {**self.masks, **self.channels}, self.slice_numbers, self.name)
        if unknown := set(self.profiles) - set(self.masks):
            found = f"profiles of {sorted(unknown)}, masks {list(self.masks)}"
            raise GeometryError("profiles of masks of the page", found=found, subject=self.name)

    @property
    def order(self) -> list[int]:
        """Indices of the slices, in the order of the file's numbers."""
        return [int(index) for index in np.argsort(self.slice_numbers, kind="stable")]

    @property
    def numbers(self) -> list[int]:
        """Numbers of the slices in the file, in order."""
        return [int(self.slice_numbers[index]) for index in self.order]

    @property
    def outlines(self) -> dict[str, Mask]:
        """Masks of whole nerves, without the lesion."""
        return {name: mask for name, mask in self.masks.items() if name != LESION}

    @property
    def digest(self) -> str:
        """Hash of the mask's file, or else of the outlines, so that a review applies to what was reviewed only."""
        if self.mask_sha256:
            return self.mask_sha256
        hashed = hashlib.sha256(repr(self.image.shape).encode())
        for name, mask in self.outlines.items():
            hashed.update(name.encode() + np.packbits(mask).tobytes())
        return hashed.hexdigest()


def facts_of(nerves: Iterable[NerveSummary]) -> list[tuple[str, str]]:
    """Format the measurements of the nerves; with the side in front where there are several."""
    nerves = list(nerves)
    return [
        (name if len(nerves) == 1 else f"{nerve.side} nerve: {name}", value)
        for nerve in nerves
        for name, value in _facts(nerve)
    ]


def _facts(nerve: NerveSummary) -> list[tuple[str, str]]:
    if nerve.mean_csa_mm2 is None or nerve.max_csa_mm2 is None:
        return [("nerve", "none found")]
    facts = [
        ("volume", f"{nerve.volume_mm3:,.0f} mm³"),
        ("length", f"{nerve.length_mm:.0f} mm"),
        ("mean area in the slices", f"{nerve.mean_csa_mm2:.1f} mm²"),
        ("largest area", f"{nerve.max_csa_mm2:.1f} mm² in slice {nerve.max_csa_slice}"),
        ("slices with nerve", f"{nerve.slices_with_nerve} of {nerve.slices_total}"),
        ("split into branches", "not in this stack" if nerve.split_slice is None else f"slice {nerve.split_slice}"),
    ]
    if nerve.mean_csa_perpendicular_mm2 is not None:
        facts.insert(3, ("mean area across the nerve", f"{nerve.mean_csa_perpendicular_mm2:.1f} mm²"))
    if nerve.lesion_burden is not None and nerve.lesion_volume_mm3 is not None:
        exploratory = ", exploratory" if nerve.lesion_exploratory else ""
        coverage = "" if nerve.lesion_coverage in (None, 1.0) else f", judged in {nerve.lesion_coverage:.0%} of it"
        burden = f"{nerve.lesion_burden:.0%} of the nerve{coverage} ({nerve.lesion_volume_mm3:,.0f} mm³{exploratory})"
        facts.append(("lesion", burden))
    facts += [(f"mean signal, {channel}", f"{value:.4g}") for channel, value in nerve.mean_signal.items()]
    if nerve.stray_pieces:
        facts.append(("stray pieces, in no number", f"{nerve.stray_pieces} ({nerve.stray_volume_mm3:,.0f} mm³)"))
    return facts + [(f"z-score, {quantity}", f"{value:+.1f}") for quantity, value in nerve.z_scores.items()]
