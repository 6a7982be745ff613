"""Faults and doubts about raters' masks, from their measures.

A fault is certain: the same voxels under two names, no voxel where others drew, a mask that fits the other raters only
after a mirroring or a displacement. A doubt is likely, and a look at the picture decides: a mask one slice off, a piece
far from the nerve, a place or an intensity unlike that of all other subjects. Limits were chosen so that the synthetic
cohorts and the real studies of the tests have no fault, and at most one doubt in 20 subjects.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np

from nerveseg.errors import NervesegError, StudyError
from nerveseg.evaluation.mask_measures import MaskMeasures

SAME_VOXELS_FROM = 20  # least number of voxels from which two equal masks are a copy and not a coincidence

FITS = 0.9  # share of the other raters' own agreement that a changed mask reaches if the change explains the difference

CERTAIN_GAIN, LIKELY_GAIN, SLICE_GAIN = 0.3, 0.1, 0.03
"""Increase of Dice by a mirroring or a displacement (fault, doubt), and by a shift along the slices (doubt)."""

LOW_DICE = 0.25  # mean Dice with the other raters below which a mask that no change explains is doubted

OTHERS = 5  # least number of other subjects with which a subject is compared

POSITION_SPREAD, POSITION_LIMIT, POSITION_UNUSUAL = 0.03, 4.5, 2.2
"""Least standard deviation of a position (of the body's width), and the number of them that is doubted: by itself, and
together with a contrast unlike the other subjects'."""

WEAK, ABSENT, STRONG = 0.4, 0.25, 0.7
"""Shares of the study's median contrast: masks below the first (alone: the second) lie on no such structure as those of
the other subjects, masks above the third do."""

STRAY_MM, STRAY_SHARE = 15.0, 0.02
"""Distance of a piece from the largest one, and its share of the voxels, that are doubted together."""

LARGE_SHARE = 0.2  # share of the volume's voxels above which a mask is doubted

VOLUME_RATIO = 4.0  # ratio of a mask's volume to the median of the other raters that is doubted, in both directions


@dataclass(frozen=True)
class Doubt:
    """Probable mistake, which a look at the picture decides."""

    subject: str  # participant id, without `sub-`
    rater: str  # name of the rater, or empty if all masks of the subject are meant
    text: str  # fact and what to look at

    def __str__(self) -> str:
        """Return one line: subject, rater, text."""
        return f"sub-{self.subject}{f', rater {self.rater}' if self.rater else ''}: {self.text}"


def judge_masks(rows: Sequence[MaskMeasures]) -> tuple[list[NervesegError], list[Doubt]]:
    """Return the faults and doubts of all masks of a study."""
    by_subject: dict[str, list[MaskMeasures]] = defaultdict(list)
    for row in rows:
        by_subject[row.subject].append(row)
    faults = [*_copies(rows), *_mirrored_study(rows)]
    doubts = list(_unusual_labels(rows))
    for own in by_subject.values():
        for row in own:
            others = [other for other in own if other is not row]
            faults += _faults(row, others)
            doubts += [Doubt(row.subject, row.rater, text) for text in _doubts(row, others)]
        elsewhere = [row for row in rows if row.subject != own[0].subject and row.voxels]
        doubts += [Doubt(own[0].subject, "", text) for text in _subject_doubts(own, elsewhere)]
    return faults, doubts


def _copies(rows: Sequence[MaskMeasures]) -> Iterable[NervesegError]:
    """Yield a fault for every mask whose voxels are those of an earlier mask."""
    seen: dict[str, MaskMeasures] = {}
    for row in rows:
        if row.voxels >= SAME_VOXELS_FROM:
            first = seen.setdefault(row.sha256, row)
            if first is not row:
                same_file = Path(first.path).resolve() == Path(row.path).resolve()
                what = "file" if same_file else "same voxels as the mask"
                found = f"the {what} of sub-{first.subject} by {first.rater}"
                remedy = "export the mask again, or correct the template of the rater in study.raters"
                yield _fault(row, "every mask was drawn separately", found, remedy)


def _mirrored_study(rows: Sequence[MaskMeasures]) -> Iterable[NervesegError]:
    """Yield a fault if the masks of nearly all subjects fit their images better after one mirroring."""
    better = defaultdict(list)
    for row in rows:
        if row.voxels and abs(row.mirrored_contrast) > 2 * abs(row.contrast):
            better[row.mirrored].append(row.subject)
    subjects = {row.subject for row in rows if row.voxels}
    for name, found in better.items():
        if len(subjects) > OTHERS and len(set(found)) >= 0.75 * len(subjects):
            yield StudyError(
                "the masks lie on their images as they are drawn",
                found=f"{len(set(found))} of {len(subjects)} subjects fit better with masks mirrored {name}",
                remedy="compare a mask with its image in a viewer; export the masks with the images' orientation",
            )


def _unusual_labels(rows: Sequence[MaskMeasures]) -> Iterable[Doubt]:
    """Yield a doubt for each set of labels that other masks of the study do not have."""
    drawn = [row for row in rows if row.voxels]
    ranked = Counter(row.labels for row in drawn).most_common()
    for labels, count in ranked[1:]:
        first = next(row for row in drawn if row.labels == labels)
        text = f"labels {labels}, in most masks of the study {ranked[0][0]} ({count} of {len(drawn)} masks)"
        yield Doubt(first.subject, first.rater, text)


def _faults(row: MaskMeasures, others: Sequence[MaskMeasures]) -> Iterable[NervesegError]:
    if not row.voxels:
        drawn = [other.rater for other in others if other.voxels]
        if drawn:
            yield _fault(
                row,
                "a rater's mask holds the nerve that the other raters drew",
                f"no voxel (values above zero in the file: {row.labels or 'none'})",
                "export the mask again, or remove the file and set study.missing_raters=allow",
            )
        return
    gain, mutual = row.changed_dice - row.dice, np.nan_to_num(row.others_dice)
    fits, poor = row.changed_dice >= FITS * mutual, row.dice < LOW_DICE and row.changed_dice >= 0.6
    if gain >= CERTAIN_GAIN and fits and (poor or row.change.startswith("mirrored")):
        yield _fault(
            row,
            "a mask overlaps with those of the other raters",
            f"Dice {row.dice:.2f}, and {row.changed_dice:.2f} {row.change}",
            "export the mask on the image's own grid and orientation",
        )


def _doubts(row: MaskMeasures, others: Sequence[MaskMeasures]) -> Iterable[str]:
    """Yield the texts of doubts about one mask, by itself and beside the other raters' masks."""
    if not row.voxels:
        return
    gain, mutual = row.changed_dice - row.dice, np.nan_to_num(row.others_dice)
    along = row.change.startswith("shifted by (0, 0,")
    fits = row.changed_dice >= FITS * mutual
    if fits and (LIKELY_GAIN <= gain < CERTAIN_GAIN or (along and SLICE_GAIN <= gain < CERTAIN_GAIN)):
        yield f"Dice {row.dice:.2f} with the other raters, {row.changed_dice:.2f} {row.change}"
    elif row.dice < LOW_DICE and mutual > 2 * LOW_DICE and not fits:
        yield f"Dice {row.dice:.2f} with the other raters: another structure or another subject?"
    if row.foreground_share > LARGE_SHARE:
        yield f"the mask covers {row.foreground_share:.0%} of the volume"
    if row.stray_mm > STRAY_MM and row.stray_voxels <= max(1, STRAY_SHARE * row.voxels):
        share = row.stray_voxels / row.voxels
        yield f"a piece of {share:.1%} of the mask lies {row.stray_mm:.0f} mm from the rest"
    if forgotten := row.last_slice - row.first_slice + 1 - row.slices:
        yield f"{forgotten} of its slices without any voxel, between slices {row.first_slice} and {row.last_slice}"
    drawn = [other.volume_mm3 for other in others if other.voxels]
    usual = float(np.median(drawn)) if drawn else row.volume_mm3
    if not 1 / VOLUME_RATIO < row.volume_mm3 / usual < VOLUME_RATIO:
        yield f"{row.volume_mm3:.0f} mm3, {usual:.0f} mm3 by the other raters"


def _subject_doubts(own: Sequence[MaskMeasures], others: Sequence[MaskMeasures]) -> Iterable[str]:
    """Yield the texts of doubts about all masks of one subject beside those of the other subjects."""
    drawn = [row for row in own if row.voxels]
    if not drawn:
        yield "no rater drew any nerve"
        return
    if len({row.subject for row in others}) < OTHERS:
        return
    known = [row.contrast for row in others if row.contrast == row.contrast]
    typical = (float(np.median(known)) if known else nan) or nan  # without any contrast, none is compared
    contrast = float(np.median([row.contrast for row in drawn])) / typical
    mirrored = [row for row in drawn if row.mirrored_contrast / typical > STRONG]
    unlike = {axis: _deviation(drawn, others, axis) for axis in ("x_share", "y_share")}
    if contrast < WEAK and len(mirrored) == len(drawn):
        yield f"the masks fit the image better when mirrored {mirrored[0].mirrored}"
    elif max(unlike.values()) > (POSITION_UNUSUAL if contrast < ABSENT else POSITION_LIMIT):
        axis = max(unlike, key=lambda name: unlike[name])
        side = {"x_share": "from left to right", "y_share": "from back to front"}[axis]
        place, usual = (float(np.median([getattr(row, axis) for row in rows])) for rows in (drawn, others))
        hint = ": image turned or mirrored?" if abs(1 - place - usual) < abs(place - usual) / 3 else ""
        yield f"the masks lie at {place:.0%} of the body {side}, usually at {usual:.0%}{hint}"


def _deviation(drawn: Sequence[MaskMeasures], others: Sequence[MaskMeasures], axis: str) -> float:
    """Return the distance of a subject's masks from those of the other subjects, in robust standard deviations."""
    values = np.array([getattr(row, axis) for row in others])
    centre = float(np.median(values))
    spread = max(POSITION_SPREAD, 1.4826 * float(np.median(np.abs(values - centre))))
    return abs(float(np.median([getattr(row, axis) for row in drawn])) - centre) / spread


def _fault(row: MaskMeasures, rule: str, found: str, remedy: str) -> NervesegError:
    return StudyError(rule, found=f"rater {row.rater}: {found}", subject=row.subject, path=row.path, remedy=remedy)
