"""The nerve followed through the stack: a few slices are segmented whole, the others only around what was found.

A nerve is a thousandth of its slice and runs through all of them, so a slice's neighbour tells where to look. The rules
are those of a search that ends when nothing new is found:

- Every `ANCHOR_EVERY`-th slice, an anchor, is segmented whole. It begins the search, and shows what runs elsewhere.
- How much a network has to see around a nerve is its own affair, and no two are alike. So the anchors' pieces are
  segmented again with less and less left away, and the smallest of `HALOS` that gives the anchors' masks again is taken
  for the scan. If none does, every slice is segmented whole.
- A piece that is found in a slice is looked for in that slice and its neighbours, with the halo around it, unless what
  was segmented there already reaches that far. So regions widen where the nerve nears their border,
  both branches are followed after the split, and a second nerve or a vessel is followed as well.
- A slice without any nerve beside one with nerve is segmented whole, and so is a slice that the search never reached.

What the search cannot see is a piece that no anchor and no neighbour's piece leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from nerveseg.inference.regions import Region, merged, pieces
from nerveseg.inference.runtimes import Runner
from nerveseg.types import Size2d

ANCHOR_EVERY = 25

FEWEST_ANCHORS = 2
"""One slice alone tells too little of how much the network has to see: docs/speed.md has an example."""

HALOS = (16, 24, 32, 48, 64, 96)
"""Pixels around a piece that are segmented with it."""

SLACK = 6
"""Pixels more than the halo that a region gets, so that a nerve may move a little before it is segmented again."""

EVERYTHING = -1
"""The halo of a scan whose slices are all segmented whole."""

WORTHWHILE = 1 / 3
"""Share of the pixels above which looking around the nerve only saves too little."""

FOLLOWED_ABOVE = 0.5
"""Probability above which a pixel is part of a piece: that of the mask."""

AGREEMENT = 0.997
"""Dice of the anchors' masks, segmented around their pieces, against the same segmented whole."""

BESIDE_THE_MASK = (0.2, 0.8)
"""Probabilities at whose level the same has to hold where both were segmented. What leaves the mask of an anchor as it
is may alter another slice's, and shows there first."""


Wanted = Mapping[int, Sequence[Region]]
"""Regions by slice."""


@dataclass(frozen=True)
class SliceStack:
    """Slices to segment, and what segments them.

    Attributes:
        slice_at: The slice of a number as the network takes it.
        slices: How many there are.
        size: Of a slice.
        multiple: What the network's transitions divide the size by.
        engine: What slices go through.
        pixels_at_a_time: Of all regions that go through the network together; a region goes in one piece.
    """

    slice_at: Callable[[int], Float32[Tensor, "channel x y"]]
    slices: int
    size: Size2d
    multiple: int
    engine: Runner
    pixels_at_a_time: int

    @property
    def whole(self) -> Region:
        """A slice."""
        return Region(0, self.size[0], 0, self.size[1])

    def around(self, boxes: Sequence[Region], halo: int) -> list[Region]:
        """Regions that hold pieces with so many pixels around them."""
        return merged([box.widened(halo, self.size, self.multiple) for box in boxes])

    def segment(self, wanted: Wanted) -> Iterator[tuple[int, Region, Float32[np.ndarray, "x y"]]]:
        """What the network says of regions; those of one size go through it together."""
        for (x, y), places in _by_size(wanted):
            at_a_time = max(1, self.pixels_at_a_time // (x * y))
            for some in (places[start : start + at_a_time] for start in range(0, len(places), at_a_time)):
                seen = torch.stack([self.slice_at(number)[:, *region.index] for number, region in some])
                for (number, region), probability in zip(some, self.engine(seen), strict=True):
                    yield number, region, probability.numpy()


def tracked_probability(
    stack: SliceStack, progress: Callable[[int, int], None] | None = None
) -> Float32[np.ndarray, "slice x y"]:
    """Nerve probability of every slice; 0 where nothing was looked for.

    Args:
        stack: The slices.
        progress: Told how many slices were reached, of how many.
    """
    search = _Search(stack)
    wanted = search.anchors()
    while wanted:
        for number, region, probability in stack.segment(wanted):
            search.take(number, region, probability)
        if search.halo is None:
            search.halo = sufficient_halo(stack, search.probability, list(wanted))
        if progress:
            progress(search.reached, stack.slices)
        wanted = search.wanted()
    return search.probability


def sufficient_halo(stack: SliceStack, whole: Float32[np.ndarray, "slice x y"], anchors: Sequence[int]) -> int:
    """The smallest of `HALOS` with which regions of the anchors give what the whole slices gave.

    Args:
        stack: The slices.
        whole: Probability of every slice; only the anchors' is read.
        anchors: Slices that were segmented whole.

    Returns:
        `EVERYTHING` where no halo does, or none that saves work, or there is nothing to tell it by.
    """
    found = {number: pieces(whole[number] > FOLLOWED_ABOVE) for number in anchors}
    for halo in HALOS if any(found.values()) else ():
        regions = {number: stack.around(boxes, halo) for number, boxes in found.items()}
        pixels = sum(region.pixels for boxes in regions.values() for region in boxes)
        if pixels > WORTHWHILE * len(anchors) * stack.whole.pixels:
            break
        again = np.zeros_like(whole)
        seen = np.zeros(whole.shape, dtype=np.bool_)
        for number, region, probability in stack.segment(regions):
            at = (number, *region.index)
            again[at] = np.maximum(again[at], probability)
            seen[at] = True
        if _agree(whole[anchors], again[anchors], seen[anchors]):
            return halo
    return EVERYTHING


def _agree(
    whole: Float32[np.ndarray, "anchor x y"],
    again: Float32[np.ndarray, "anchor x y"],
    seen: Bool[np.ndarray, "anchor x y"],
) -> bool:
    """Whether anchors came out the same when part of them was seen: the mask everywhere, its surroundings there."""
    if not _is_same(whole > FOLLOWED_ABOVE, again > FOLLOWED_ABOVE):
        return False
    return all(_is_same((whole > level) & seen, again > level) for level in BESIDE_THE_MASK)


def _is_same(one: Bool[np.ndarray, "anchor x y"], other: Bool[np.ndarray, "anchor x y"]) -> bool:
    return 2 * int((one & other).sum()) >= AGREEMENT * (int(one.sum()) + int(other.sum()))


class _Search:
    """What was segmented so far, and what follows from it."""

    def __init__(self, stack: SliceStack) -> None:
        self.probability = np.zeros((stack.slices, *stack.size), dtype=np.float32)
        self.halo: int | None = None
        self._stack = stack
        self._depth = np.zeros((stack.slices, *stack.size), dtype=np.int16)
        self._segmented: list[list[Region]] = [[] for _ in range(stack.slices)]
        self._pieces: list[list[Region]] = [[] for _ in range(stack.slices)]
        self._changed: set[int] = set()

    @property
    def reached(self) -> int:
        """Slices of which anything was segmented."""
        return sum(bool(regions) for regions in self._segmented)

    def anchors(self) -> dict[int, list[Region]]:
        """The slices that are segmented whole to begin with, evenly spread."""
        count = min(self._stack.slices, max(FEWEST_ANCHORS, round(self._stack.slices / ANCHOR_EVERY)))
        middles = {int((2 * number + 1) * self._stack.slices / (2 * count)) for number in range(count)}
        return {number: [self._stack.whole] for number in sorted(middles)}

    def take(self, number: int, region: Region, probability: Float32[np.ndarray, "x y"]) -> None:
        """Take in what the network says of a region; where regions overlap, the one that reaches farther counts."""
        at = (number, *region.index)
        depth = region.depth(self._stack.size)
        deeper = depth >= self._depth[at]
        self._depth[at] = np.where(deeper, depth, self._depth[at])
        self.probability[at] = np.where(deeper, probability, self.probability[at])
        self._segmented[number].append(region)
        self._pieces[number] = pieces(self.probability[number] > FOLLOWED_ABOVE)
        self._changed.add(number)

    def wanted(self) -> dict[int, list[Region]]:
        """What has to be segmented next, by slice; nothing once the search is over."""
        halo = self.halo or 0
        if halo == EVERYTHING:
            return self._whole_slices(number for number, regions in enumerate(self._segmented) if not regions)
        asked: dict[int, list[Region]] = {}
        for number in sorted(self._changed):
            for piece in self._pieces[number]:
                for neighbour in self._at_and_beside(number):
                    if not self._covered(neighbour, piece.widened(halo, self._stack.size)):
                        asked.setdefault(neighbour, []).append(piece)
        beside = {neighbour for number in self._changed for neighbour in self._at_and_beside(number)}
        lost = {number for number in beside if self._is_lost(number)}
        self._changed.clear()
        if not asked and not lost:
            lost = {number for number, regions in enumerate(self._segmented) if not regions}
        regions = {number: self._stack.around(boxes, halo + SLACK) for number, boxes in asked.items()}
        return regions | self._whole_slices(lost)

    def _whole_slices(self, numbers: Iterable[int]) -> dict[int, list[Region]]:
        return {number: [self._stack.whole] for number in sorted(numbers)}

    def _at_and_beside(self, number: int) -> range:
        return range(max(0, number - 1), min(self._stack.slices, number + 2))

    def _covered(self, number: int, region: Region) -> bool:
        return any(segmented.contains(region) for segmented in self._segmented[number])

    def _is_lost(self, number: int) -> bool:
        """Segmented and empty, while a neighbour shows nerve."""
        if not self._segmented[number] or self._pieces[number] or self._covered(number, self._stack.whole):
            return False
        return any(self._pieces[beside] for beside in self._at_and_beside(number))


def _by_size(wanted: Wanted) -> Iterator[tuple[Size2d, list[tuple[int, Region]]]]:
    groups: dict[Size2d, list[tuple[int, Region]]] = {}
    for number, regions in sorted(wanted.items()):
        for region in regions:
            groups.setdefault(region.size, []).append((number, region))
    return iter(groups.items())
