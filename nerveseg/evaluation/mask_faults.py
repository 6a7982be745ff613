"""Faults and doubts about raters' masks, from their measures.

A fault is certain: the same voxels under two names, no voxel where others drew, a mask that fits the other raters only
after a mirroring or a displacement. A doubt is likely, and a look at the picture decides: a mask one slice off, a piece
far from the nerve, a place or an intensity unlike that of all other subjects. Limits were chosen so that the synthetic
cohorts and the real studies of the tests have no fault, and at most one doubt in 20 subjects.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np

from nerveseg.data.classes import NERVE
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

USUAL = 0.25  # share of a class's masks from which on a shape that is unlike a nerve is the class's own

VOLUME_RATIO = 4.0  # ratio of a mask's volume to the median of the other raters that is doubted, in both directions


@dataclass(frozen=True)
class Doubt:
    """Probable mistake, which a look at the picture decides."""

    subject: str  # participant id, without `sub-`
    rater: str  # name of the rater, or empty if all masks of the subject are meant
    text: str  # fact and what to look at
    structure: str = ""  # name of the class in a study with several, or empty if all are meant

    def __str__(self) -> str:
        """Return one line: subject, rater, class, text."""
        named = {"rater": self.rater, "class": self.structure}
        return f"sub-{self.subject}{''.join(f', {word} {name}' for word, name in named.items() if name)}: {self.text}"


def judge_masks(
    rows: Sequence[MaskMeasures], nerves: Collection[str] = (NERVE,), declared: Collection[int] = ()
) -> tuple[list[NervesegError], list[Doubt]]:
    """Return the faults and doubts of all masks of a study.

    Args:
        rows: Measures of every mask of every class.
        nerves: Names of the classes to which the rules on the shape of a nerve apply; those on its place apply to the
            largest of them, because images and masks are mirrored as a whole.
        declared: Label values of the classes; read where there are several.
    """
    classes = list(dict.fromkeys(row.structure for row in rows))
    several = len(classes) > 1
    faults, doubts = _copies(rows)
    largest = max(nerves, key=lambda name: sum(row.voxels for row in rows if row.structure == name))
    faults += _mirrored_study([row for row in rows if row.structure == largest])
    doubts += _unusual_labels([row for row in rows if row.structure == classes[0]], declared if several else ())
    blank = {row.path for row in rows} - {row.path for row in rows if row.voxels}
    for structure in classes:
        own_class = [row for row in rows if row.structure == structure]
        label = structure if several else ""
        usual = _usual_shapes(own_class) if several else set()
        for own in _by_subject(own_class):
            for row in own:
                others = [other for other in own if other is not row]
                faults += _faults(row, others, label, blank)
                texts = [*_doubts(row, others, label, blank)]
                if structure in nerves:
                    texts += [text for shape, text in _shape_doubts(row) if shape not in usual]
                doubts += [Doubt(row.subject, row.rater, text, label) for text in texts]
            elsewhere = [row for row in own_class if row.subject != own[0].subject and row.voxels]
            if structure == largest:
                doubts += [Doubt(own[0].subject, "", text) for text in _subject_doubts(own, elsewhere)]
    undrawn = {row.subject for row in rows} - {row.subject for row in rows if row.voxels}
    nothing = f"no rater drew any {'class' if several else 'nerve'}"
    return faults, doubts + [Doubt(subject, "", nothing) for subject in sorted(undrawn)]


def _by_subject(rows: Iterable[MaskMeasures]) -> Iterable[list[MaskMeasures]]:
    by_subject: dict[str, list[MaskMeasures]] = defaultdict(list)
    for row in rows:
        by_subject[row.subject].append(row)
    return by_subject.values()


def _usual_shapes(rows: Sequence[MaskMeasures]) -> set[str]:
    """Return the shapes that `USUAL` of a class's masks have, such as pieces far apart: no mistake of one mask."""
    drawn = [row for row in rows if row.voxels]
    counts = Counter(shape for row in drawn for shape in dict(_shape_doubts(row)))
    return {shape for shape, count in counts.items() if count >= USUAL * len(drawn)}


def _copies(rows: Sequence[MaskMeasures]) -> tuple[list[NervesegError], list[Doubt]]:
    """Return a fault for every file with the voxels of an earlier file, and a doubt for those of some classes only."""
    seen: dict[tuple[str, str], MaskMeasures] = {}
    copied: dict[tuple[str, str], tuple[MaskMeasures, MaskMeasures, list[str]]] = {}
    for row in rows:
        if row.voxels >= SAME_VOXELS_FROM:
            first = seen.setdefault((row.structure, row.sha256), row)
            if first is not row:
                copied.setdefault((first.path, row.path), (first, row, []))[2].append(row.structure)
    faults, doubts = [], []
    for first, row, structures in copied.values():
        if {other.structure for other in rows if other.path == row.path and other.voxels} > set(structures):
            text = f"the same voxels as in the mask of sub-{first.subject} by {first.rater}"
            doubts += [Doubt(row.subject, row.rater, text, structure) for structure in structures]
            continue
        same_file = Path(first.path).resolve() == Path(row.path).resolve()
        what = "file" if same_file else "same voxels as the mask"
        found = f"the {what} of sub-{first.subject} by {first.rater}"
        remedy = "export the mask again, or correct the template of the rater in study.raters"
        faults.append(_fault(row, "every mask was drawn separately", found, remedy))
    return faults, doubts


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


def _unusual_labels(rows: Sequence[MaskMeasures], declared: Collection[int]) -> Iterable[Doubt]:
    """Yield a doubt for each set of labels, without the declared ones, that other masks of the study do not have."""
    drawn = [row for row in rows if row.labels]
    labels_of = {row.path: " ".join(each for each in row.labels.split() if int(each) not in declared) for row in drawn}
    ranked = Counter(labels_of[row.path] for row in drawn).most_common()
    for labels, count in ranked[1:]:
        first = next(row for row in drawn if labels_of[row.path] == labels)
        what = "labels of no class" if declared else "labels"
        usual = f"{ranked[0][0] or 'none'} ({count} of {len(drawn)} masks)"
        yield Doubt(first.subject, first.rater, f"{what} {labels or 'none'}, in most masks of the study {usual}")


def _faults(
    row: MaskMeasures, others: Sequence[MaskMeasures], label: str, blank: Collection[str]
) -> Iterable[NervesegError]:
    """Yield the faults of one mask; `blank` are the files without a voxel of any class."""
    if not row.voxels:
        if row.path in blank and any(other.voxels for other in others):
            yield _fault(
                row,
                "a rater's mask holds the nerve that the other raters drew",
                f"no voxel (values above zero in the file: {row.labels or 'none'})",
                "export the mask again, or remove the file and set study.missing_raters=allow",
                label,
            )
        return
    if _is_swapped(row):
        yield _fault(
            row,
            "a class has the same label values in all masks",
            f"Dice {row.dice:.2f}, and {row.swapped_dice:.2f} with the other raters' {row.swapped}",
            "exchange the two labels in the file",
            label,
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
            label,
        )


def _is_swapped(row: MaskMeasures) -> bool:
    return row.dice < LOW_DICE and row.swapped_dice >= 0.6


def _doubts(row: MaskMeasures, others: Sequence[MaskMeasures], label: str, blank: Collection[str]) -> Iterable[str]:
    """Yield the texts of doubts about one mask beside the other raters' masks."""
    drawn = [other.volume_mm3 for other in others if other.voxels]
    if not row.voxels:
        if label and drawn and row.path not in blank:
            yield f"no voxel, where {len(drawn)} of {len(others)} other raters drew this class"
        return
    gain, mutual = row.changed_dice - row.dice, np.nan_to_num(row.others_dice)
    along = row.change.startswith("shifted by (0, 0,")
    fits = row.changed_dice >= FITS * mutual
    if _is_swapped(row):
        return
    if fits and (LIKELY_GAIN <= gain < CERTAIN_GAIN or (along and SLICE_GAIN <= gain < CERTAIN_GAIN)):
        yield f"Dice {row.dice:.2f} with the other raters, {row.changed_dice:.2f} {row.change}"
    elif row.dice < LOW_DICE and mutual > 2 * LOW_DICE and not fits:
        yield f"Dice {row.dice:.2f} with the other raters: another structure or another subject?"
    usual = float(np.median(drawn)) if drawn else row.volume_mm3
    if not 1 / VOLUME_RATIO < row.volume_mm3 / usual < VOLUME_RATIO:
        yield f"{row.volume_mm3:.0f} mm3, {usual:.0f} mm3 by the other raters"


def _shape_doubts(row: MaskMeasures) -> Iterable[tuple[str, str]]:
    """Yield name and text of every property of one mask that is unlike a nerve."""
    if not row.voxels:
        return
    if row.foreground_share > LARGE_SHARE:
        yield "large", f"the mask covers {row.foreground_share:.0%} of the volume"
    if row.stray_mm > STRAY_MM and row.stray_voxels <= max(1, STRAY_SHARE * row.voxels):
        share = row.stray_voxels / row.voxels
        yield "stray", f"a piece of {share:.1%} of the mask lies {row.stray_mm:.0f} mm from the rest"
    if forgotten := row.last_slice - row.first_slice + 1 - row.slices:
        text = f"{forgotten} of its slices without any voxel, between slices {row.first_slice} and {row.last_slice}"
        yield "gap", text


def _subject_doubts(own: Sequence[MaskMeasures], others: Sequence[MaskMeasures]) -> Iterable[str]:
    """Yield the texts of doubts about all masks of one subject beside those of the other subjects."""
    drawn = [row for row in own if row.voxels]
    if not drawn or len({row.subject for row in others}) < OTHERS:
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


def _fault(row: MaskMeasures, rule: str, found: str, remedy: str, label: str = "") -> NervesegError:
    found = f"rater {row.rater}{f', class {label}' if label else ''}: {found}"
    return StudyError(rule, found=found, subject=row.subject, path=row.path, remedy=remedy)
