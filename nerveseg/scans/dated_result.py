"""One date of a comparison: a complete folder of results of `segment` or `measure`, and its scan where it still is."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from nerveseg.biomarkers.change import NerveRows
from nerveseg.data.legs import Side
from nerveseg.data.volumes.grids import Grid, Volume
from nerveseg.data.volumes.volume import read_image, read_image_grid, read_labels
from nerveseg.errors import NervesegError, RunError, VolumeError
from nerveseg.files import file_sha256
from nerveseg.scans.own_files import UNFINISHED
from nerveseg.scans.reading import input_sha256
from nerveseg.scans.results import SUMMARY, ScanSummary, changed_masks, read_summary
from nerveseg.types import Mask

PROFILE = "profile.csv"
RIGHT = (4, 5, 6)  # values of the right nerve in the map of branches (`scans.viewer_files`)


@dataclass(frozen=True)
class DatedResult:
    """Result of one date."""

    folder: Path
    summary: ScanSummary
    profile: pd.DataFrame  # rows of `biomarkers.profile` of all sides

    def rows(self, side: Side) -> NerveRows:
        """Return the profile of one nerve."""
        return NerveRows(self.profile[self.profile["side"] == side], self.summary.spacing_mm[2])

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Hash of the summary, the profile and the mask, by their names."""
        return {name: file_sha256(self.folder / name) for name in (SUMMARY, PROFILE, self.summary.mask)}

    @cached_property
    def grid(self) -> Grid:
        """Grid of the mask, which is that of the scan."""
        return read_image_grid(self.folder / self.summary.mask)

    def nerve(self, side: Side) -> Mask:
        """Return the mask of one nerve in RAS order; raise `RunError` if the map that tells two apart is missing."""
        named = next((name for name in self.summary.masks if name.startswith("branches.")), None)
        if named is None or not (self.folder / named).is_file():
            if len(self.summary.nerves) > 1:
                raise RunError(
                    "the result of two legs has a map of sides", found="no branches.*", path=self.folder,
                    remedy="segment or measure the scan again",
                )  # fmt: skip
            return np.asarray(read_labels(self.folder / self.summary.mask, self.grid) > 0, dtype=np.bool_)
        labels = read_labels(self.folder / named, self.grid)
        right = np.isin(labels, RIGHT)
        return np.asarray(right if side == "right" else (labels > 0) & ~right, dtype=np.bool_)

    @cached_property
    def image(self) -> Volume | None:
        """Image of the scan; None where it is not, or another one is, at the path that the summary records."""
        try:
            return self.needed_image
        except (NervesegError, OSError):
            return None

    @cached_property
    def needed_image(self) -> Volume:
        """Image of the scan; raises `VolumeError` where it is not at the path that the summary records."""
        request = self.summary.request
        files = request.scan_files(self.summary.name) if request else None
        if request is None or files is None or input_sha256(files)["image"] != self.summary.identity.inputs["image"]:
            raise VolumeError(
                "the scan of a result is where its summary records it",
                found="another or no file" if request else "an image in memory, or an earlier version",
                path=files.image if files else self.folder / SUMMARY,
                remedy="put it back, or align=split, align=header",
            )
        return read_image(files.image, geometry=request.options.geometry, series=files.series)


@dataclass(frozen=True)
class Sides:
    """Sides of two dates."""

    both: tuple[tuple[Side, Side], ...]  # names of each common nerve in the first and in the second
    only_one: frozenset[Side]  # sides that only one of them has


def read_result(folder: Path) -> DatedResult:
    """Read a folder of results; raise `RunError` as `measured_summary` does."""
    summary = measured_summary(folder)
    return DatedResult(folder, summary, pd.read_csv(folder / PROFILE))


def measured_summary(folder: Path) -> ScanSummary:
    """Return the summary of a complete result whose numbers are those of its mask.

    Raises:
        RunError: The folder holds no result, an unfinished one, no mask, or a mask that was changed and not measured.
    """
    summary = read_summary(folder)
    missing = [name for name in (SUMMARY, PROFILE) if not (folder / name).is_file()]
    if summary is None or missing or (folder / UNFINISHED).is_file():
        found = f"no {missing[0]}" if missing else "a summary that cannot be read" if summary is None else "unfinished"
        raise RunError(
            "a folder holds a complete result of segment or measure", found=found, path=folder,
            remedy="give the folder of a result; the command that was interrupted there continues",
        )  # fmt: skip
    if changed := changed_masks(folder, summary):
        raise RunError(
            "the numbers of a result are those of its mask", found=f"{', '.join(changed)}, changed after the result",
            path=folder, remedy=f"python -m nerveseg.measure {folder} measures the corrected mask",
        )  # fmt: skip
    if not (folder / summary.mask).is_file():
        raise RunError("a result has its mask", found=f"no {summary.mask}", path=folder)
    return summary


def read_results(first: Path, second: Path) -> tuple[DatedResult, DatedResult]:
    """Read the results of two dates; raise `RunError` as `read_result` does, and for one folder twice."""
    if first.resolve() == second.resolve():
        raise RunError("compare takes the results of two dates", found="one folder twice", path=first)
    return read_result(first), read_result(second)


def sides_of_both(first: DatedResult, second: DatedResult) -> Sides:
    """Return the nerves that both results hold; an unknown side of a single nerve is that of the other's single nerve.

    Raises:
        RunError: They are of other sides or classes, or one holds no nerve.
    """
    if first.summary.classes != second.summary.classes:
        names = (", ".join(each.summary.classes) or "nerve" for each in (first, second))
        raise RunError(
            "two results of the same classes", found=" and ".join(names), path=second.folder,
            remedy="segment both scans with one model",
        )  # fmt: skip
    found: list[list[Side]] = [
        [nerve.side for nerve in each.summary.nerves if nerve.slices_with_nerve] for each in (first, second)
    ]
    if len(found[0]) == len(found[1]) == 1 and "unknown" in (found[0][0], found[1][0]):
        return Sides(((found[0][0], found[1][0]),), frozenset())
    both = [side for side in found[0] if side in found[1]]
    if not both:
        texts = (" and ".join(sides) or "no nerve" for sides in found)
        raise RunError(
            "two results of one leg", found="; ".join(texts), path=second.folder,
            remedy="results of the same side; side=left or side=right of segment names it",
        )  # fmt: skip
    return Sides(tuple((side, side) for side in both), frozenset({*found[0]} ^ {*found[1]}))
