"""Quality flags and their limits. A flag changes no number: it asks for a visual check."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, Field

from nerveseg.biomarkers.course import FAR_MM

Positive = Annotated[float, Field(gt=0)]
Ratio = Annotated[float, Field(gt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Flag:
    """Quality flag of a scan."""

    code: str  # code for programs, such as "area_jump"
    message: str  # message for readers, a sentence without a full stop
    side: str | None = None  # side, "left" or "right", where an image shows both legs; otherwise None
    slices: tuple[int, ...] = ()  # numbers in the input file; empty where the flag concerns the whole scan


class QualityLimits(BaseModel, frozen=True, extra="forbid"):
    """Limits beyond which a flag is raised; all are assumed."""

    # The area's change is that of its logarithm per mm. The real mask changes by 0.069 at most, the phantom's true
    # nerves by 0.079 at the shoulder of a focal swelling; oblique sections of a split are drawn together or apart.
    area_change_per_mm: Positive = 0.1  # along the nerve
    area_change_at_split: Positive = 0.15  # where the number of sections changes
    area_change_mm2: Positive = 8.0  # least change, since a few pixels at the outline are no jump
    far_mm: Positive = FAR_MM  # distance of a part from the rest of the nerve: more than twice a nerve's diameter
    mean_probability: Share = 0.7  # least mean of the network's probability inside the mask
    expected_overlap: Share = 0.7  # least Dice that the probabilities predict; in patients the authors reach 0.72
    # Ratios are either way: the larger to the smaller.
    spacing_ratio: Ratio = 1.5  # in-plane spacing to that of the training scans
    step_ratio: Ratio = 2.5  # slice step to that of the training scans
    anisotropy: Ratio = 1.5  # in-plane spacing along x to that along y: axial slices have square pixels
    field_ratio: Ratio = 3.0  # field of view to the network's training field; both thighs are 2.4 times
    intensity_margin: Annotated[float, Field(ge=0)] = 0.5  # from the training range, in widths of that range
    side_ratio: Ratio = 2.0  # mean areas of the two sides; neuropathy enlarges 1.3 to 3 times


def in_words(slices: Iterable[int]) -> str:
    """Format slice numbers for a sentence.

    >>> in_words([4]), in_words([7, 3, 4, 5]), in_words([1, 2, 9, 10])
    ('slice 4', 'slices 3 to 5 and 7', 'slices 1, 2, 9 and 10')
    """
    numbers = sorted(set(slices))
    starts = [0, *(index for index, (a, b) in enumerate(pairwise(numbers), 1) if b != a + 1), len(numbers)]
    parts: list[str] = []
    for first, stop in pairwise(starts):
        run = numbers[first:stop]
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(number) for number in run]
    return f"slice{'s' if len(numbers) > 1 else ''} {listed(parts)}"


def listed(names: Sequence[str]) -> str:
    """Join names for a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
