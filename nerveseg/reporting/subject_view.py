"""What the page of one subject shows, as plain data: one image with masks, and what was measured and found odd.

The same record is filled from a subject of a study (with reference and scores) and from a scan that was segmented.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Bool

from nerveseg.biomarkers.flags import Flag
from nerveseg.biomarkers.summary import NerveSummary
from nerveseg.errors import GeometryError
from nerveseg.types import Image, Mask, SpacingMm

AnyMask: TypeAlias = Bool[np.ndarray[Any, Any], "_x _y _z"]
"""A mask whose shape has still to be compared with the image's."""

LESION = "lesion"
"""Name of the mask of what is abnormal inside the nerve."""


@dataclass(frozen=True)
class SubjectView:
    """Everything on the page of a subject.

    Attributes:
        name: The study's own id or the scan's name; never a path.
        title: Heads the page.
        warning: "SYNTHETIC TRAINING DATA", "SYNTHETIC STUDY", or empty.
        image: The first channel, in RAS order.
        spacing_mm: Voxel spacing; the last is the slice step.
        slice_numbers: The input file's own number of each slice.
        masks: By name in drawing order, the one to be judged first: "Auto", then "GT", raters, "lesion".
        profiles: Rows of `biomarkers.profile` by the name of their mask; may be empty.
        facts: Names and values, in words.
        flags: What a human should look at.
        scores: Against the reference, by metric as of scores.csv; None where there is no reference.
        notes: How the numbers came about, in words.
        sides: Where the image shows both legs, the columns (along x) of each, for a closer look.
        registrations: Pictures (PNG) of channels that were moved onto the first, by channel.
        study: Reviews are kept under it; empty for a single scan.
    """

    name: str
    title: str
    warning: str
    image: Image
    spacing_mm: SpacingMm
    slice_numbers: Sequence[int]
    masks: Mapping[str, AnyMask]
    profiles: Mapping[str, pd.DataFrame]
    facts: Sequence[tuple[str, str]] = ()
    flags: Sequence[Flag] = ()
    scores: Mapping[str, float] | None = None
    notes: Sequence[str] = ()
    sides: Mapping[str, slice] = field(default_factory=dict)
    registrations: Mapping[str, bytes] = field(default_factory=dict)
    study: str = ""

    def __post_init__(self) -> None:
        found = {name: mask.shape for name, mask in self.masks.items() if mask.shape != self.image.shape}
        if found or len(self.slice_numbers) != self.image.shape[2]:
            raise GeometryError(
                "an image, its masks and its slice numbers belong together",
                found=f"image {self.image.shape}, masks {found or 'of that shape'}, "
                f"{len(self.slice_numbers)} slice numbers",
                subject=self.name,
            )
        if unknown := set(self.profiles) - set(self.masks):
            raise GeometryError(
                "a profile belongs to a mask", found=f"profiles of {sorted(unknown)}, masks {list(self.masks)}",
                subject=self.name,
            )  # fmt: skip

    @property
    def order(self) -> list[int]:
        """Indices of the slices, in the order of the file's numbers."""
        return [int(index) for index in np.argsort(self.slice_numbers, kind="stable")]

    @property
    def outlines(self) -> dict[str, Mask]:
        """The masks of whole nerves, without the lesion."""
        return {name: mask for name, mask in self.masks.items() if name != LESION}

    @property
    def digest(self) -> str:
        """Tells the masks of this page from those of another, so that a review stays with what was reviewed."""
        hashed = hashlib.sha256(repr(self.image.shape).encode())
        for name, mask in self.outlines.items():
            hashed.update(name.encode() + np.packbits(mask).tobytes())
        return hashed.hexdigest()[:16]


def facts_of(nerves: Iterable[NerveSummary]) -> list[tuple[str, str]]:
    """What a nerve measures, in words; with the side in front where there are several."""
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
    return facts + [(f"z-score, {quantity}", f"{value:+.1f}") for quantity, value in nerve.z_scores.items()]
