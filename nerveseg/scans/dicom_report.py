"""Content of the DICOM report of a scan: what is measured of each nerve and of its branches.

A nerve that divides has a group of measurements, and so has each branch that it shows; an undivided nerve has one. Maps
of T1, T2 and T2* are reported in ms, which their files do not say; other maps are left out, since they have no term.
"""

from __future__ import annotations

from collections.abc import Mapping
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

PLAUSIBLE_MS = (1.0, 5000.0)  # limits of a relaxation time of tissue, T1 included; another value has another unit


def structure_name(side: Side, branch: int | None) -> str:
    """Return the name of a branch, or of the whole nerve (None), of a side.

    >>> structure_name("left", 1), structure_name("unknown", None)
    ('Left tibial nerve', 'Nerve with all branches')
    """
    name = "nerve with all branches" if branch is None else f"{NAMES[PLACE[branch]]} nerve"
    return (name if side == "unknown" else f"{side} {name}").capitalize()


def structures_of(
    scan: MeasuredScan, segments: Mapping[Structure, int], own: Term | None = None
) -> list[MeasuredStructure]:
    """Return the nerves and branches of a scan with their measurements.

    Args:
        scan: Scan with its measurements.
        segments: Number of the segment of each side and branch in the DICOM segmentation, where there is one.
        own: Term of the study's one class in place of those of the branches, if it declares one.
    """
    from nerveseg.data.volumes.dicom_sr import MeasuredStructure

    found = []

    def add(side: Side, branch: int | None, measured: NerveSummary | BranchNumbers, number: int | None) -> None:
        term = own or (NERVE_TERM if branch is None else BRANCH_TERMS[branch])
        quantities = (*_sizes(measured), *_signals(measured.mean_signal, scan))
        name = structure_name(side, branch)
        found.append(MeasuredStructure(name, term, side, quantities, scan.grade.level, number))

    for course, nerve in zip(scan.courses, scan.nerves, strict=True):
        branches = branch_numbers(scan.profile, course, (scan.channel, *scan.scan.channels, *scan.scan.maps))
        if all(each.label == UNDIVIDED for each in branches):
            add(course.side, UNDIVIDED, nerve, segments.get((course.side, UNDIVIDED)))
            continue
        add(course.side, None, nerve, None)
        for each in branches:
            add(course.side, each.label, each, segments.get((course.side, each.label)))
    return found


def report_notes(scan: MeasuredScan) -> list[str]:
    """Return a note of the maps that a report takes to be in ms."""
    maps = [name for name in scan.scan.maps if _relaxation(name)]
    return [f"the DICOM report takes {', '.join(maps)} to be in ms"] if maps else []


def _sizes(measured: NerveSummary | BranchNumbers) -> list[Quantity]:
    from nerveseg.data.volumes.dicom_sr import AREA, LENGTH, MAXIMUM, MEAN, VOLUME, Quantity

    found = [Quantity(VOLUME, measured.volume_mm3, "mm3")]
    if measured.length_mm is not None:
        found.append(Quantity(LENGTH, measured.length_mm, "mm"))
    if measured.mean_csa_mm2 is not None and measured.max_csa_mm2 is not None:
        found.append(Quantity(AREA, measured.mean_csa_mm2, "mm2", MEAN))
        found.append(Quantity(AREA, measured.max_csa_mm2, "mm2", MAXIMUM))
    return found


def _signals(means: Mapping[str, float], scan: MeasuredScan) -> list[Quantity]:
    """Return the mean signal of each channel, and the mean relaxation time of each map of one."""
    from nerveseg.data.volumes.dicom_sr import MEAN, RELAXATION, SIGNAL, Quantity

    found = []
    for name, value in means.items():
        if name not in scan.scan.maps:
            found.append(Quantity(SIGNAL, value, "1", MEAN, name))
        elif (kind := _relaxation(name)) and PLAUSIBLE_MS[0] <= value <= PLAUSIBLE_MS[1]:
            found.append(Quantity(RELAXATION[kind], value, "ms", MEAN, name))
    return found


def _relaxation(name: str) -> str:
    """Return which relaxation time a map is of, by its name; empty for none.

    >>> _relaxation("T2map"), _relaxation("T2star"), _relaxation("fat fraction")
    ('t2', 't2*', '')
    """
    kind = folded(name).replace("map", "").replace("star", "*").strip("_- ")
    return kind if kind in ("t1", "t2", "t2*") else ""
