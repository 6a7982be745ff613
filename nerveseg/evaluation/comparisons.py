"""Which masks meet which (paper 2.5 and Table 1), and the scores of a subject as a tidy table.

Every rater meets every other rater and the consensus; the automatic segmentation meets every rater and the consensus.
With a single rater his masks are the consensus, so the only comparison left is the automatic one with it. With four
raters or more, each rater and the automatic segmentation also meet the consensus of all other raters ("GT w/o OS"),
which, unlike "GT", that rater had no part in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

import pandas as pd

from nerveseg.errors import GeometryError, NervesegError, RunError, StudyError
from nerveseg.evaluation.metrics import AnyMask, score_pair
from nerveseg.files import atomic_write
from nerveseg.types import SpacingMm

CONSENSUS = "GT"
AUTOMATIC = "Auto"
AUTOMATIC_CONSENSUS = f"{AUTOMATIC}-{CONSENSUS}"
RATER_RATER = "R-R"
"""All pairs of raters, pooled or averaged."""

SCORE_COLUMNS = ("subject", "cohort", "location", "side", "fold", "comparison", "metric", "value")
_COLUMN_TYPES = {column: "string" for column in SCORE_COLUMNS} | {"fold": "Int64", "value": "float64"}
_NEVER_EMPTY = ["subject", "cohort", "comparison", "metric"]


@dataclass(frozen=True)
class SubjectMasks:
    """All masks of one subject, on one grid.

    Attributes:
        subject: The participant, without `sub-`.
        cohort: For instance "volunteer" or "patient".
        location: Part of the thigh (proximal, medial, distal), if the study says so.
        side: Which leg, if the study says so.
        fold: The fold that tested the subject; None where nothing was trained.
        spacing_mm: Distance between voxel centres; the last is the slice step.
        raters: The manual masks by rater, in the study's order.
        consensus: What the raters agree on.
        automatic: The prediction, if there is one.
        consensus_without: By rater, the consensus of all others; empty where fewer than four raters drew.

    Raises:
        StudyError: There is no rater, or a rater bears a name that means something else here.
        GeometryError: The masks differ in shape.
    """

    subject: str
    cohort: str
    location: str | None
    side: str | None
    fold: int | None
    spacing_mm: SpacingMm
    raters: dict[str, AnyMask]
    consensus: AnyMask
    automatic: AnyMask | None
    consensus_without: dict[str, AnyMask] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_raters(list(self.raters))
        for name, mask in self.named().items():
            if mask.shape != self.consensus.shape:
                raise GeometryError(
                    "the masks of a subject have one shape",
                    found=f"{name} {mask.shape}, consensus {self.consensus.shape}",
                    subject=self.subject,
                    remedy="draw or export all masks on the image's own grid",
                )

    def named(self) -> dict[str, AnyMask]:
        """Every mask by the name it bears in a comparison, but for the consensus without a rater."""
        automatic = {} if self.automatic is None else {AUTOMATIC: self.automatic}
        return self.raters | {CONSENSUS: self.consensus} | automatic


def rater_pairs(raters: Sequence[str]) -> list[str]:
    """The comparisons that the table pools as R-R, in the raters' order: OS-BW, OS-LG, BW-LG."""
    return [f"{first}-{second}" for first, second in combinations(raters, 2)]


def leave_one_out_pairs(raters: Sequence[str]) -> list[tuple[str, str]]:
    """Per rater the comparisons with the consensus of the others: OS-GT w/o OS, and Auto-GT w/o OS."""
    return [(f"{rater}-{without(rater)}", f"{AUTOMATIC}-{without(rater)}") for rater in raters]


def without(rater: str) -> str:
    """Name of the consensus of all raters but one."""
    return f"{CONSENSUS} w/o {rater}"


def cohorts_in_order(scores: pd.DataFrame) -> list[str]:
    """The cohorts of a table as all tables show them: volunteer, patient, others by name."""
    first = ["volunteer", "patient"]
    return sorted(set(scores["cohort"]), key=lambda name: (first.index(name) if name in first else len(first), name))


def comparison_names(raters: Sequence[str], automatic: bool) -> list[str]:
    """The comparisons in the order of the paper's Table 1.

    Args:
        raters: In the study's order.
        automatic: Whether there are predictions.

    Returns:
        For raters OS, BW, LG: OS-BW, OS-LG, OS-GT, BW-LG, BW-GT, LG-GT, Auto-OS, Auto-BW, Auto-LG, Auto-GT. For one
        rater, who is the reference himself: Auto-GT, or nothing without predictions.

    Raises:
        StudyError: There is no rater, or a rater bears a name that means something else here.
    """
    return [f"{first}-{second}" for first, second in _meetings(raters, automatic)]


def score_subject(masks: SubjectMasks, study_raters: Sequence[str] | None = None) -> pd.DataFrame:
    """Score every comparison of one subject.

    Args:
        masks: Of the subject.
        study_raters: All raters of the study, some of whom may not have drawn this subject. If one only has, Auto meets
            him as it meets every rater, and he, being the consensus, meets nobody. By default those of the subject.

    Returns:
        One row per comparison and metric, with the columns `SCORE_COLUMNS`; metrics as in `metrics.PairScores`. A value
        is NaN where an empty mask leaves it undefined.
    """
    named = masks.named() | {without(rater): mask for rater, mask in masks.consensus_without.items()}
    rows = [
        (masks.subject, masks.cohort, masks.location, masks.side, masks.fold, f"{first}-{second}", metric, value)
        for first, second in _subject_meetings(masks, len(study_raters or masks.raters) > 1)
        for metric, value in asdict(score_pair(named[second], named[first], masks.spacing_mm)).items()
    ]
    return _typed(pd.DataFrame(rows, columns=list(SCORE_COLUMNS)))


def write_scores(path: Path, frame: pd.DataFrame) -> None:
    """Write scores as CSV in full precision; nothing appears under `path` until the file is complete."""
    with atomic_write(path) as aside:
        frame[list(SCORE_COLUMNS)].to_csv(aside, index=False, lineterminator="\n")


def read_scores(path: Path) -> pd.DataFrame:
    """Read what `write_scores` wrote: the same rows, subjects as text ("001"), undefined values as NaN.

    Raises:
        RunError: There is no such file, or it is not a complete table of scores.
    """
    if not path.is_file():
        raise RunError(
            "a table of scores exists", found="no such file", path=path, remedy="finish the run that writes it"
        )
    try:
        text = path.read_bytes().decode("utf-8")
        header = text.partition("\n")[0].strip()
        if header != ",".join(SCORE_COLUMNS):
            raise _damaged(path, f"the columns {header[:200] or '(none)'}")
        if not text.endswith("\n"):
            raise _damaged(path, "a last line that breaks off")
        frame = pd.read_csv(
            path, dtype="string", keep_default_na=False, na_values={"location": "", "side": "", "fold": "", "value": ""}
        )
        frame = _typed(frame)
    except (ValueError, TypeError) as error:  # pandas' parser errors and UnicodeDecodeError are ValueErrors
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if frame[_NEVER_EMPTY].isna().to_numpy().any() or (frame[_NEVER_EMPTY] == "").to_numpy().any():
        raise _damaged(path, "rows without " + ", ".join(_NEVER_EMPTY))
    return frame


def _damaged(path: Path, found: str) -> NervesegError:
    return RunError(
        "a table of scores is complete and has the columns " + ",".join(SCORE_COLUMNS),
        found=found,
        path=path,
        remedy="delete the file and run the evaluation again",
    )


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(_COLUMN_TYPES)


def _meetings(raters: Sequence[str], automatic: bool) -> list[tuple[str, str]]:
    _check_raters(raters)
    several = list(raters) if len(raters) > 1 else []
    pairs = list(combinations([*several, CONSENSUS], 2))
    return pairs + [(AUTOMATIC, other) for other in [*several, CONSENSUS] if automatic]


def _subject_meetings(masks: SubjectMasks, several: bool) -> list[tuple[str, str]]:
    """Who meets whom of the masks that a subject has; `several` says whether the study has several raters."""
    raters, automatic = list(masks.raters), masks.automatic is not None
    meetings = _meetings(raters, automatic)
    if automatic and several and len(raters) == 1:
        meetings.insert(0, (AUTOMATIC, raters[0]))
    for rater in masks.consensus_without:
        meetings += [(first, without(rater)) for first in (rater, *([AUTOMATIC] if automatic else []))]
    return meetings


def _check_raters(raters: Sequence[str]) -> None:
    pairs = rater_pairs([AUTOMATIC, *raters, CONSENSUS])
    taken = {CONSENSUS, AUTOMATIC, RATER_RATER, ""} | {without(rater) for rater in raters}
    if not raters or len(set(pairs)) < len(pairs) or taken & set(raters):
        raise StudyError(
            "a study has at least one rater, and raters' names, alone and in pairs (A-B), are different from each other"
            f" and from {CONSENSUS} and {AUTOMATIC}",
            found=", ".join(raters) or "no rater",
            remedy="rename the entries of study.raters",
        )
