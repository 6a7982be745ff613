"""Comparisons between masks (paper 2.5 and Table 1), and scores and quantities of a subject as tidy tables.

Raters, their consensus and the automatic segmentation are compared pairwise. The masks of a single rater are the
consensus, so Auto-GT is the only comparison. With four raters or more, each rater and the automatic segmentation are
also compared with the consensus of all other raters ("GT w/o OS"). A volume includes the gap between slices: the last
spacing is the slice step (in the paper 4.4 mm, not 4.0).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from nerveseg.data.classes import NERVE
from nerveseg.errors import GeometryError, NervesegError, RunError, StudyError
from nerveseg.evaluation.metrics.mask_pair import AnyMask, nominal_spacing
from nerveseg.evaluation.metrics.pair_scores import score_pair
from nerveseg.files import write_csv
from nerveseg.types import Mask, SpacingMm

CONSENSUS = "GT"
AUTOMATIC = "Auto"
AUTOMATIC_CONSENSUS = f"{AUTOMATIC}-{CONSENSUS}"
RATER_RATER = "R-R"  # all pairs of raters, pooled or averaged

CLASS = "class"  # column with the name of the class

SCORE_COLUMNS = ("subject", "group", "cohort", "location", "side", CLASS, "fold", "comparison", "metric", "value")
_COLUMN_TYPES = {column: "string" for column in SCORE_COLUMNS} | {"fold": "Int64", "value": "float64"}
QUANTITY_COLUMNS = ("subject", "group", "cohort", "location", "side", CLASS, "source", "quantity", "value")
SLICE_COLUMNS = ("subject", "group", "cohort", CLASS, "comparison", "slice", "dice")
VOLUME, MEAN_AREA = "volume_mm3", "mean_cross_sectional_area_mm2"
_NEVER_EMPTY = ["subject", "group", "cohort", CLASS, "comparison", "metric"]


@dataclass(frozen=True)
class SubjectMasks:
    """Masks of one class of one subject on one grid.

    Raises:
        StudyError: There is no rater, or a rater has a reserved name.
        GeometryError: The masks differ in shape.
    """

    subject: str  # participant id, without `sub-`
    cohort: str  # name of the cohort, for instance "volunteer" or "patient"
    location: str | None  # part of the thigh (proximal, medial, distal), if the study states it
    side: str | None  # side of the leg, if the study states it
    fold: int | None  # number of the fold that tested the subject; None where nothing was trained
    # Distance between voxel centres in mm, brought to its nominal value; the last is the slice step.
    spacing_mm: SpacingMm
    raters: dict[str, AnyMask]  # manual masks by rater, in the study's order
    consensus: AnyMask  # consensus of the raters
    automatic: AnyMask | None  # automatic mask, if there is one
    # Consensus of all other raters, by rater; empty where fewer than four raters drew.
    consensus_without: dict[str, AnyMask] = field(default_factory=dict)
    # Independent unit of the statistics (a person, with all legs and scans); by default the subject alone.
    group: str = ""
    structure: str = NERVE  # name of the class that the masks show

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.subject)
        object.__setattr__(self, "spacing_mm", nominal_spacing(self.spacing_mm))
        _check_raters(list(self.raters))
        for name, mask in self.named().items():
            if mask.shape != self.consensus.shape:
                found = f"{name} {mask.shape}, consensus {self.consensus.shape}"
                remedy = "draw or export all masks on the image's own grid"
                raise GeometryError("masks of one shape per subject", found=found, subject=self.subject, remedy=remedy)

    def facts(self) -> tuple[str, str, str, str | None, str | None, str]:
        """Return the first columns of every table of subjects: subject, group, cohort, location, side, class."""
        return self.subject, self.group, self.cohort, self.location, self.side, self.structure

    def named(self) -> dict[str, AnyMask]:
        """Return the masks by their names in comparisons, without `consensus_without`."""
        automatic = {} if self.automatic is None else {AUTOMATIC: self.automatic}
        return self.raters | {CONSENSUS: self.consensus} | automatic


def rater_pairs(raters: Sequence[str]) -> list[str]:
    """Return the comparisons that are pooled as R-R, in the raters' order: OS-BW, OS-LG, BW-LG."""
    return [f"{first}-{second}" for first, second in combinations(raters, 2)]


def leave_one_out_pairs(raters: Sequence[str]) -> list[tuple[str, str]]:
    """Return, per rater, the comparisons with the consensus of the others: OS-GT w/o OS, and Auto-GT w/o OS."""
    return [(f"{rater}-{without(rater)}", f"{AUTOMATIC}-{without(rater)}") for rater in raters]


def without(rater: str) -> str:
    """Return the name of the consensus of all raters but one."""
    return f"{CONSENSUS} w/o {rater}"


def cohorts_in_order(scores: pd.DataFrame) -> list[str]:
    """Return the cohorts of a table in the order of all tables: volunteer, patient, others by name."""
    first = ["volunteer", "patient"]
    return sorted(set(scores["cohort"]), key=lambda name: (first.index(name) if name in first else len(first), name))


def comparison_names(raters: Sequence[str], automatic: bool) -> list[str]:
    """Return the comparisons in the order of the paper's Table 1, with or without automatic masks.

    For raters OS, BW, LG: OS-BW, OS-LG, OS-GT, BW-LG, BW-GT, LG-GT, Auto-OS, Auto-BW, Auto-LG, Auto-GT. For one rater:
    Auto-GT, or nothing.

    Raises:
        StudyError: There is no rater, or a rater has a reserved name.
    """
    return [f"{first}-{second}" for first, second in _compared_pairs(raters, automatic)]


def score_subject(masks: SubjectMasks, study_raters: Sequence[str] | None = None) -> pd.DataFrame:
    """Score every comparison of one subject: a row per comparison and metric of `PairScores`.

    Args:
        masks: Masks of the subject.
        study_raters: Names of all raters of the study, by default those of the subject. If a single one of several
            drew it, Auto is compared with this rater too, and the rater, being the consensus, with nobody.

    Returns:
        Table with columns `SCORE_COLUMNS`; distances and volumes are rounded to 1e-6.
    """
    named = masks.named() | {without(rater): mask for rater, mask in masks.consensus_without.items()}
    rows = [
        (*masks.facts(), masks.fold, f"{first}-{second}", metric, _to_precision(metric, value))
        for first, second in _subject_comparisons(masks, study_raters)
        for metric, value in asdict(score_pair(named[second], named[first], masks.spacing_mm)).items()
    ]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS)).astype(_COLUMN_TYPES)


def _to_precision(metric: str, value: float) -> float:
    return round(value, 6) if metric.endswith(("_mm", "_mm3")) else value


def slice_scores(masks: SubjectMasks, study_raters: Sequence[str] | None = None) -> pd.DataFrame:
    """Compute the Dice of every slice (along z, from 0) in which a mask of a comparison shows nerve."""
    named = masks.named() | {without(rater): mask for rater, mask in masks.consensus_without.items()}
    voxels = {name: np.count_nonzero(mask, axis=(0, 1)) for name, mask in named.items()}
    rows = []
    for first, second in _subject_comparisons(masks, study_raters):
        both = 2 * np.count_nonzero(named[first] & named[second], axis=(0, 1))
        either = voxels[first] + voxels[second]
        facts = (masks.subject, masks.group, masks.cohort, masks.structure, f"{first}-{second}")
        rows += [(*facts, int(z), float(both[z] / either[z])) for z in np.flatnonzero(either)]
    return pd.DataFrame(rows, columns=list(SLICE_COLUMNS))


def write_scores(path: Path, frame: pd.DataFrame) -> None:
    """Write scores as CSV in full precision and in one piece."""
    write_csv(path, frame[list(SCORE_COLUMNS)])


def read_scores(path: Path) -> pd.DataFrame:
    """Read scores as `write_scores` wrote them: subjects as text ("001"), undefined values as NaN.

    Raises:
        RunError: There is no such file, or it is not a complete table of scores.
    """
    if not path.is_file():
        raise RunError("a table of scores", found="no such file", path=path, remedy="finish the run that writes it")
    try:
        text = path.read_bytes().decode("utf-8")
        header = text.partition("\n")[0].strip()
        if header != ",".join(SCORE_COLUMNS):
            raise _damaged(path, f"the columns {header[:200] or '(none)'}")
        if not text.endswith("\n"):
            raise _damaged(path, "a last line that breaks off")
        missing = {"location": "", "side": "", "fold": "", "value": ""}
        frame = pd.read_csv(path, dtype="string", keep_default_na=False, na_values=missing).astype(_COLUMN_TYPES)
    except (ValueError, TypeError) as error:  # pandas' parser errors and UnicodeDecodeError are ValueErrors
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if frame[_NEVER_EMPTY].isin([pd.NA, ""]).to_numpy().any():
        raise _damaged(path, "rows without " + ", ".join(_NEVER_EMPTY))
    return frame


def scans_note(scans: int, units: int, how: str) -> str:
    """Return a note where some units have several scans, or an empty text."""
    return f"{scans} scans of {units} independent units, {how}" if scans > units else ""


def automatic_dice(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the automatic mask's Dice against the consensus, of every class."""
    return scores[(scores["comparison"] == AUTOMATIC_CONSENSUS) & (scores["metric"] == "dice")]


def subject_dice(scores: pd.DataFrame) -> pd.DataFrame:
    """Return subject, cohort, and the automatic mask's Dice (`value`): the mean over the classes that have a value."""
    return automatic_dice(scores).groupby(["subject", "cohort"], sort=False)["value"].mean().reset_index()


def classes_of(table: pd.DataFrame) -> list[str]:
    """Return the classes of a table with a column `class`, in the table's order."""
    return list(dict.fromkeys(map(str, table[CLASS])))


def _damaged(path: Path, found: str) -> NervesegError:
    rule = "a complete table of scores with the columns " + ",".join(SCORE_COLUMNS)
    return RunError(rule, found=found, path=path, remedy="delete the file and run the evaluation again")


def _compared_pairs(raters: Sequence[str], automatic: bool) -> list[tuple[str, str]]:
    _check_raters(raters)
    several = list(raters) if len(raters) > 1 else []
    pairs = list(combinations([*several, CONSENSUS], 2))
    return pairs + [(AUTOMATIC, other) for other in [*several, CONSENSUS] if automatic]


def _subject_comparisons(masks: SubjectMasks, study_raters: Sequence[str] | None) -> Iterator[tuple[str, str]]:
    """Yield the comparisons of a subject's masks."""
    raters, automatic = list(masks.raters), masks.automatic is not None
    if automatic and len(raters) == 1 and len(study_raters or ()) > 1:
        yield AUTOMATIC, raters[0]
    yield from _compared_pairs(raters, automatic)
    for rater in masks.consensus_without:
        yield rater, without(rater)
        if automatic:
            yield AUTOMATIC, without(rater)


def _check_raters(raters: Sequence[str]) -> None:
    pairs = rater_pairs([AUTOMATIC, *raters, CONSENSUS])
    taken = {CONSENSUS, AUTOMATIC, RATER_RATER, ""} | {without(rater) for rater in raters}
    if not raters or len(set(pairs)) < len(pairs) or taken & set(raters):
        raise StudyError(
            "at least one rater, and raters' names that, alone and in pairs (A-B), differ from each other and from"
            f" {CONSENSUS} and {AUTOMATIC}",
            found=", ".join(raters) or "no rater",
            remedy="rename the entries of study.raters",
        )


def nerve_volume_mm3(mask: Mask, spacing_mm: SpacingMm) -> float:
    """Return the volume in mm3 of a mask (x, y, z); the last spacing is the slice step."""
    return float(np.count_nonzero(mask) * np.prod(spacing_mm))


def mean_cross_sectional_area_mm2(mask: Mask, spacing_mm: SpacingMm) -> float:
    """Return the mean area in mm2 of a mask (x, y, z) over the slices along z that hold nerve.

    It is 0 for an empty mask: left out, a method would be judged only by the cases in which it found a nerve.
    """
    voxels = np.count_nonzero(mask, axis=(0, 1))
    return float(voxels[voxels > 0].mean() * spacing_mm[0] * spacing_mm[1]) if voxels.any() else 0.0


def measure_masks(masks: SubjectMasks) -> pd.DataFrame:
    """Measure volume and mean area of every mask of a subject, to 1e-6: a table with columns `QUANTITY_COLUMNS`."""
    sources = {name: mask for name, mask in masks.named().items() if name != CONSENSUS or len(masks.raters) > 1}
    measures = {VOLUME: nerve_volume_mm3, MEAN_AREA: mean_cross_sectional_area_mm2}
    rows = [
        (*masks.facts(), name, quantity, round(measure(mask, masks.spacing_mm), 6))
        for name, mask in sources.items()
        for quantity, measure in measures.items()
    ]
    return pd.DataFrame(rows, columns=list(QUANTITY_COLUMNS))
