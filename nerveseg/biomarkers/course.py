"""Nerve of each leg in one scan: its mask, its branches and their centrelines, the input of profile and summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nerveseg.biomarkers.branches import Branches, trace_branches
from nerveseg.biomarkers.centreline import Centreline, centrelines, length_mm
from nerveseg.biomarkers.legs import Leg, Side
from nerveseg.types import Affine, Mask


@dataclass(frozen=True)
class NerveCourse:
    """Nerve of one leg.

    Attributes:
        side: Side of the leg.
        leg: Columns of the leg in the image.
        mask: Nerve of this leg on the whole grid, in RAS order.
        branches: Branches of the nerve.
        centrelines: Centrelines of the branches.
        affine: Affine of the RAS array.
    """

    side: Side
    leg: Leg
    mask: Mask
    branches: Branches
    centrelines: tuple[Centreline, ...]
    affine: Affine

    @property
    def length_mm(self) -> float:
        """Length in mm along the undivided and the tibial nerve, between the centres of the first and last slice."""
        points = {line.branch: line for line in self.centrelines if line.branch != "peroneal"}
        ordered = sorted(points.values(), key=lambda line: int(line.slices[0]))
        return length_mm(np.concatenate([line.points_mm for line in ordered])) if ordered else 0.0


def follow_nerves(mask: Mask, affine: Affine, legs: Sequence[Leg]) -> tuple[NerveCourse, ...]:
    """Trace the nerve of every leg.

    Args:
        mask: Nerve of all legs, in RAS order; may be empty in a leg.
        affine: Affine of the RAS array; may be oblique.
        legs: Legs from `find_legs`, or one `Leg` whose side the study states.
    """
    return tuple(_course(mask, affine, leg) for leg in legs)


def _course(mask: Mask, affine: Affine, leg: Leg) -> NerveCourse:
    own = np.zeros_like(mask)
    own[leg.columns] = mask[leg.columns]
    x, y, z = (float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    branches = trace_branches(own, (x, y, z), leg.side)
    return NerveCourse(leg.side, leg, own, branches, centrelines(branches, affine), affine)
