"""Slice numbers and names as words of a sentence, for flags and notes."""

from collections.abc import Iterable, Sequence
from itertools import pairwise


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
