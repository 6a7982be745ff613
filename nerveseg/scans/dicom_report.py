"""Content of the DICOM report of a scan: what is measured of each nerve and of its branches.

A nerve that divides has a group of measurements, and so has each branch that it shows; an undivided nerve has one. Maps
of T1, T2 and T2* are reported in ms, which their files do not say; other maps are left out, since they have no term.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from nerveseg.biomarkers.branch_summary import BranchNumbers, branch_numbers
from nerveseg.biomarkers.branches import PERONEAL, TIBIAL, UNDIVIDED
from nerveseg.biomarkers.summary import NerveSummary
from nerveseg.data.classes import NERVE_TERM, TIBIAL_TERM, Term
from nerveseg.data.legs import Side
from nerveseg.names import folded
from nerveseg.scans.measuring import MeasuredScan
from nerveseg.scans.viewer_files import NAMES, PLACE

if TYPE_CHECKING:
    from nerveseg.data.volumes.dicom_sr import MeasuredStructure, Quantity

Structure: TypeAlias = tuple[Side, int]
"""Side and branch, of `biomarkers.branches`."""

BRANCH_TERMS = {UNDIVIDED: NERVE_TERM, TIBIAL: TIBIAL_TERM, PERONEAL: NERVE_TERM}
"""Terms of the branches; sciatic and peroneal nerve have that of peripheral nerves, and are told by their names."""

PLAUSIBLE_MS = {"t1": (100.0, 5000.0), "t2": (5.0, 400.0), "t2*": (1.0, 200.0)}
"""Limits of the relaxation times of tissue in ms; a map with a value beyond them is in another unit."""


MOST_LETTERS = 40  # letters of a class in the name of a structure, which has 64 in DICOM (PS3.5, LO)


@dataclass(frozen=True)
class OwnClass:
    """Class that is measured in place of the sciatic nerve and its branches."""

    name: str  # name of the class
    term: Term  # coded term


def structure_name(side: Side, branch: int | None, own: OwnClass | None = None) -> str:
    """Return the name of a branch, or of the whole nerve (None), of a side.

    >>> structure_name("left", 1), structure_name("unknown", None)
    ('Left tibial nerve', 'Nerve with all branches')
    >>> median = OwnClass("median", NERVE_TERM)
    >>> structure_name("left", UNDIVIDED, median), structure_name("left", 1, median)
    ('Left median', 'Left median, branch 1')
    """
    if own is None:
        name = "nerve with all branches" if branch is None else f"{NAMES[PLACE[branch]]} nerve"
    else:
        of_branch = f", branch {PLACE[branch]}" if branch is not None and PLACE[branch] else ""
        name = own.name[:MOST_LETTERS] + (" with all branches" if branch is None else of_branch)
    words = name if side == "unknown" else f"{side} {name}"
    return words[0].upper() + words[1:]


def structure_term(branch: int | None, own: OwnClass | None = None) -> Term:
    """Return the coded term of a branch, or of the whole nerve (None)."""
    return own.term if own else NERVE_TERM if branch is None else BRANCH_TERMS[branch]


def structures_of(
    scan: MeasuredScan, segments: Mapping[Structure, int], own: OwnClass | None = None
) -> tuple[list[MeasuredStructure], list[str]]:
    """Return the nerves and branches of a scan with their measurements, and notes on the unit of its maps.

    Args:
        scan: Scan with its measurements.
        segments: Number of the segment of each side and branch in the DICOM segmentation, where there is one.
        own: Class that is measured, unless it is the sciatic nerve.
    """
    from nerveseg.data.volumes.dicom_sr import MeasuredStructure

    found: list[MeasuredStructure] = []
    notes: list[str] = []
    in_ms: set[str] = set()

    def add(side: Side, branch: int | None, measured: NerveSummary | BranchNumbers, number: int | None) -> None:
        name = structure_name(side, branch, own)
        signals, left_out = _signals(measured.mean_signal, scan)
        quantities = (*_sizes(measured), *signals)
        in_ms.update(each.source for each in signals if each.unit == "ms")
        notes.extend(f"the DICOM report leaves out {text}, {name}" for text in left_out)
        found.append(MeasuredStructure(name, structure_term(branch, own), side, quantities, scan.grade.level, number))

    for course, nerve in zip(scan.courses, scan.nerves, strict=True):
        branches = branch_numbers(scan.profile, course, (scan.channel, *scan.scan.channels, *scan.scan.maps))
        if all(each.label == UNDIVIDED for each in branches):
            add(course.side, UNDIVIDED, nerve, segments.get((course.side, UNDIVIDED)))
            continue
        add(course.side, None, nerve, None)
        for each in branches:
            add(course.side, each.label, each, segments.get((course.side, each.label)))
    if in_ms:
        taken = ", ".join(name for name in scan.scan.maps if name in in_ms)
        notes.insert(0, f"the DICOM report takes {taken} to be in ms")
    return found, notes


def _sizes(measured: NerveSummary | BranchNumbers) -> list[Quantity]:
    from nerveseg.data.volumes.dicom_sr import AREA, LENGTH, MAXIMUM, MEAN, VOLUME, Quantity

    found = [Quantity(VOLUME, measured.volume_mm3, "mm3")]
    if measured.length_mm is not None:
        found.append(Quantity(LENGTH, measured.length_mm, "mm"))
    if measured.mean_csa_mm2 is not None and measured.max_csa_mm2 is not None:
        found.append(Quantity(AREA, measured.mean_csa_mm2, "mm2", MEAN))
        found.append(Quantity(AREA, measured.max_csa_mm2, "mm2", MAXIMUM))
    return found


def _signals(means: Mapping[str, float], scan: MeasuredScan) -> tuple[list[Quantity], list[str]]:
    """Return the mean signal of each channel and relaxation time of each map, and the maps that are not in ms."""
    from nerveseg.data.volumes.dicom_sr import MEAN, RELAXATION, SIGNAL, Quantity

    found, left_out = [], []
    for name, value in means.items():
        if name not in scan.scan.maps:
            found.append(Quantity(SIGNAL, value, "1", MEAN, name))
        elif kind := _relaxation(name):
            lowest, highest = PLAUSIBLE_MS[kind]
            if lowest <= value <= highest:
                found.append(Quantity(RELAXATION[kind], value, "ms", MEAN, name))
            else:
                limits = f"{lowest:g} to {highest:g} ms"
                left_out.append(f"{name}: mean {value:.4g}, expected {kind.upper()} of {limits}")
    return found, left_out


def _relaxation(name: str) -> str:
    """Return which relaxation time a map is of, by its name; empty for none.

    >>> _relaxation("T2map"), _relaxation("T2star"), _relaxation("fat fraction")
    ('t2', 't2*', '')
    """
    kind = folded(name).replace("map", "").replace("star", "*").strip("_- ")
    return kind if kind in ("t1", "t2", "t2*") else ""
