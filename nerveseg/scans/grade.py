"""Grade of a scan's mask: usable, check or not usable, with the reason as one sentence.

The grade says whether a mask may be used after a look (usable), has a sign of a fault that a person has to judge
(check), or cannot be meant (not usable: there is no nerve, the slices are not axial, scan and mask are unlike those of
the training in several respects, or even the upper end of the expected Dice is below its limit). Flags that concern no
number of the nerve are no signs of a fault, and neither is an unsure network where a reliable expected Dice has weighed
the same evidence. Limits: `QualityLimits`; how often the grade is right: `docs/expected_dice.md`.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel

from nerveseg.biomarkers.quality import Flag
from nerveseg.biomarkers.wording import listed
from nerveseg.inference.expected_dice import ExpectedDice
from nerveseg.scans.expectation import OTHER_SETTINGS, UNLIKE_TRAINING, named_expectations

Level: TypeAlias = Literal["usable", "check", "not usable"]

LEVELS: tuple[Level, ...] = ("not usable", "check", "usable")  # levels, the worst first
REMARKS = frozenset({"stray_pieces", "no_muscle_ratio"})  # codes of flags that say nothing against the nerve's numbers
SUPERSEDED = frozenset({"low_probability"})
"""Codes of flags whose evidence a reliable expected Dice of all classes has weighed; of two legs it still counts."""
MOST_UNLIKE = 1  # number of properties of scan and mask unlike those of the training up to which a mask is worth a look


class Grade(BaseModel, frozen=True, extra="forbid"):
    """Grade of a mask."""

    level: Level  # usable, check, or not usable
    reason: str  # reason, a clause without a full stop

    def in_words(self) -> str:
        """Return the grade as one sentence without a full stop."""
        return f"{self.level}: {self.reason}"


def grade_mask(
    flags: Sequence[Flag], expected: Mapping[str, ExpectedDice], classes: Sequence[str], limit: float
) -> Grade:
    """Grade a mask.

    Args:
        flags: Quality flags of the scan.
        expected: Dice to expect of each class with a calibration.
        classes: Names of all classes of the model.
        limit: Dice below which a mask is of no use (`QualityLimits.useless_dice`).
    """
    codes = {flag.code for flag in flags}
    if "no_nerve" in codes:
        return Grade(level="not usable", reason="no nerve was found")
    unlike = dict.fromkeys(UNLIKE_TRAINING[flag.code] for flag in flags if flag.code in UNLIKE_TRAINING)
    unlike |= dict.fromkeys(reason for each in expected.values() for reason in each.unlike)
    unlike.pop(OTHER_SETTINGS, None)  # of the user's choice: a sign that asks for a look
    if "not_axial" in codes:
        return Grade(level="not usable", reason="the slices are not axial")
    if len(unlike) > MOST_UNLIKE:
        return Grade(level="not usable", reason=f"scan and mask are unlike those of the training ({', '.join(unlike)})")
    words = named_expectations(dict(expected), classes)
    poor = [f"{name} {each.in_words()}" for name, each in words if not each.unlike and each.high < limit]
    if poor:
        return Grade(level="not usable", reason=f"{listed(poor)}, all of it below {limit:g}")
    calibrated = bool(expected) and all(name in expected and not expected[name].unlike for name in classes)
    weighed = SUPERSEDED if calibrated else frozenset()
    signs = [flag for flag in flags if flag.code not in REMARKS and (flag.code not in weighed or flag.side)]
    if signs:
        first = f"{signs[0].side} side: {signs[0].message}" if signs[0].side else signs[0].message
        more = f", and {len(signs) - 1} more" if len(signs) > 1 else ""
        return Grade(level="check", reason=f"{first}{more}")
    known = [f"{name} {each.in_words()}" for name, each in words if not each.unlike]
    return Grade(level="usable", reason=", ".join(["no sign of a fault", *known]))
