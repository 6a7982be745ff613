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
    """Quality flag of a scan.

    Attributes:
        code: Code for programs, such as "area_jump".
        message: Message for readers, a sentence without a full stop.
        side: Side, "left" or "right", where an image shows both legs; otherwise None.
        slices: Numbers of the slices in the input file; empty where the flag concerns the whole scan.
    """

    code: str
    message: str
    side: str | None = None
    slices: tuple[int, ...] = ()


class QualityLimits(BaseModel, frozen=True, extra="forbid"):
    """Limits beyond which a flag is raised.

    Attributes:
        area_change_per_mm: Change of the area's logarithm per mm along the nerve. Assumed; the real mask changes by
            0.069 at most, the phantom's true nerves by 0.079 at the shoulder of a focal swelling.
        area_change_at_split: Change of the area's logarithm per mm where the number of sections changes. Assumed, half
            as much again: oblique sections of a split are drawn together or apart.
        area_change_mm2: Least change of the area in mm2, since a few pixels at the outline are no jump. Assumed.
        far_mm: Distance in mm of a part from the rest of the nerve. Assumed: more than twice a nerve's diameter.
        mean_probability: Least mean of the network's probability inside the mask. Assumed.
        expected_overlap: Least Dice coefficient to expect if the probabilities are right. Assumed; the authors reach
            0.72 in patients, where raters agree in 0.79.
        spacing_ratio: Ratio of the in-plane spacing to that of the training scans, either way. Assumed.
        step_ratio: Ratio of the slice step to that of the training scans, either way. Assumed.
        anisotropy: Ratio of the in-plane spacings along x and y, either way: axial slices have square pixels. Assumed.
        field_ratio: Ratio of the field of view to the network's training field, either way. Assumed; both thighs are
            2.4 times.
        intensity_margin: Distance of a percentile from the training range, in widths of that range. Assumed.
        side_ratio: Ratio of the mean areas of the two sides. Assumed; neuropathy enlarges 1.3 to 3 times.
    """

    area_change_per_mm: Positive = 0.1
    area_change_at_split: Positive = 0.15
    area_change_mm2: Positive = 8.0
    far_mm: Positive = FAR_MM
    mean_probability: Share = 0.7
    expected_overlap: Share = 0.7
    spacing_ratio: Ratio = 1.5
    step_ratio: Ratio = 2.5
    anisotropy: Ratio = 1.5
    field_ratio: Ratio = 3.0
    intensity_margin: Annotated[float, Field(ge=0)] = 0.5
    side_ratio: Ratio = 2.0


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
