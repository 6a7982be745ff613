"""Follow the nerve through the stack: segment a few slices whole, and the others only around the nerve of a neighbour.

A nerve covers a thousandth of a slice and runs through all slices, so its position in one slice predicts the position
in the next. The search follows these rules until it finds no further piece of nerve:

- Every `ANCHOR_EVERY`-th slice, an anchor, is segmented whole. Anchors start the search and show nerves elsewhere.
- Networks differ in the context that they need around a nerve. So the pieces of the anchors are segmented again with
  growing halos, and the smallest of `HALOS` that reproduces the anchors' masks is used for the scan. If none does,
  every slice is segmented whole.
- A piece of one slice is searched in this slice and its neighbours, within the halo, unless the regions segmented
  there already cover it. So regions widen where the nerve nears their border, both branches are followed after the
  split, and a second nerve or a vessel is followed as well.
- A slice without nerve beside one with nerve is segmented whole, and so is a slice that the search did not reach.

The search misses a piece that is in no anchor and is not connected to any piece of a neighbouring slice.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from nerveseg.inference.regions import Region, merged, pieces
from nerveseg.inference.runtimes import Runner
from nerveseg.types import Size2d

ANCHOR_EVERY = 25  # number of slices from one anchor to the next

FEWEST_ANCHORS = 2
"""Least number of anchors, since one slice is too few to choose the halo by: docs/speed.md has an example."""

HALOS = (16, 24, 32, 48, 64, 96)
"""Widths that are tried, in pixels, of the margin around a piece that is segmented with it."""

SLACK = 6  # pixels added to the halo of a region, so that a nerve that moves a little is not segmented again

EVERYTHING = -1  # value of the halo for a scan whose slices are all segmented whole

WORTHWHILE = 1 / 3  # share of the pixels above which the search saves too little time

FOLLOWED_ABOVE = 0.5  # probability above which a pixel is part of a piece, equal to the threshold of the mask

AGREEMENT = 0.997
"""Least Dice of the anchors' masks, segmented around their pieces, against their masks from whole slices."""

BESIDE_THE_MASK = (0.2, 0.8)
"""Further probabilities at which the same Dice has to hold where both were segmented: a halo that is too small changes
them before it changes the mask of an anchor."""


Wanted = Mapping[int, Sequence[Region]]  # regions by slice


@dataclass(frozen=True)
class SliceStack:
    """Slices to segment, with the network that segments them."""

    # Function from a slice's number to the preprocessed slice.
    slice_at: Callable[[int], Float32[Tensor, "channel x y"]]
    slices: int  # number of slices
    parts: int  # number of parts
    size: Size2d  # size of a slice, in pixels
    multiple: int  # factor by which the network divides the size
    engine: Runner  # function from slices to the probability of each part
    pixels_at_a_time: int  # number of pixels, of one or several whole regions, that go through the network together

    @property
    def whole(self) -> Region:
        """Region that covers a whole slice."""
        return Region(0, self.size[0], 0, self.size[1])

    def around(self, boxes: Sequence[Region], halo: int) -> list[Region]:
        """Return regions that contain pieces with a margin of `halo` pixels."""
        return merged([box.widened(halo, self.size, self.multiple) for box in boxes])

    def segment(self, wanted: Wanted) -> Iterator[tuple[int, Region, Float32[np.ndarray, "part x y"]]]:
        """Yield the probabilities of each region; regions of one size go through the network together."""
        for (x, y), regions in _by_size(wanted):
            at_a_time = max(1, self.pixels_at_a_time // (x * y))
            for some in (regions[start : start + at_a_time] for start in range(0, len(regions), at_a_time)):
                seen = torch.stack([self.slice_at(number)[:, *region.index] for number, region in some])
                for (number, region), probability in zip(some, self.engine(seen), strict=True):
                    yield number, region, probability.numpy()


def tracked_probability(
    stack: SliceStack, progress: Callable[[int, int], None] | None = None
) -> Float32[np.ndarray, "slice part x y"]:
    """Return the probabilities of every slice, 0 outside the segmented regions; report slices done and all."""
    search = _Search(stack)
    wanted = search.anchors()
    while wanted:
        for number, region, probability in stack.segment(wanted):
            search.take(number, region, probability)
        if search.halo is None:
            search.halo = sufficient_halo(stack, search.foreground, list(wanted))
        if progress:
            progress(search.reached, stack.slices)
        wanted = search.wanted()
    return search.probability


def sufficient_halo(stack: SliceStack, whole: Float32[np.ndarray, "slice x y"], anchors: Sequence[int]) -> int:
    """Return the smallest of `HALOS` with which regions of the anchors give the same masks as whole slices.

    Of the probabilities `whole`, only those of the anchors are read. The halo is in pixels; it is `EVERYTHING` if none
    suffices or saves work, or the anchors show no nerve.
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
            again[at] = np.maximum(again[at], probability.sum(axis=0))
            seen[at] = True
        if _agree(whole[anchors], again[anchors], seen[anchors]):
            return halo
    return EVERYTHING


def _agree(
    whole: Float32[np.ndarray, "anchor x y"],
    again: Float32[np.ndarray, "anchor x y"],
    seen: Bool[np.ndarray, "anchor x y"],
) -> bool:
    """Return true if regions give the same masks as whole anchors, and the same further levels within the regions."""
    if not _is_same(whole > FOLLOWED_ABOVE, again > FOLLOWED_ABOVE):
        return False
    return all(_is_same((whole > level) & seen, again > level) for level in BESIDE_THE_MASK)


def _is_same(one: Bool[np.ndarray, "anchor x y"], other: Bool[np.ndarray, "anchor x y"]) -> bool:
    return 2 * int((one & other).sum()) >= AGREEMENT * (int(one.sum()) + int(other.sum()))


class _Search:
    """State of the search: the regions segmented so far, and the regions to segment next."""

    def __init__(self, stack: SliceStack) -> None:
        self.probability = np.zeros((stack.slices, stack.parts, *stack.size), dtype=np.float32)
        self.halo: int | None = None
        self._stack = stack
        self._depth = np.zeros((stack.slices, *stack.size), dtype=np.int16)
        self._segmented: list[list[Region]] = [[] for _ in range(stack.slices)]
        self._pieces: list[list[Region]] = [[] for _ in range(stack.slices)]
        self._changed: set[int] = set()

    @property
    def foreground(self) -> Float32[np.ndarray, "slice x y"]:
        """Probability of any part."""
        foreground: Float32[np.ndarray, "slice x y"] = self.probability.sum(axis=1)
        return foreground

    @property
    def reached(self) -> int:
        """Number of slices with a segmented region."""
        return sum(bool(regions) for regions in self._segmented)

    def anchors(self) -> dict[int, list[Region]]:
        """Return the anchors, evenly spread slices that are segmented whole first."""
        count = min(self._stack.slices, max(FEWEST_ANCHORS, round(self._stack.slices / ANCHOR_EVERY)))
        middles = {int((2 * number + 1) * self._stack.slices / (2 * count)) for number in range(count)}
        return {number: [self._stack.whole] for number in sorted(middles)}

    def take(self, number: int, region: Region, probability: Float32[np.ndarray, "part x y"]) -> None:
        """Store the probabilities of a region; where regions overlap, keep the value farther from its border."""
        at = (number, *region.index)
        depth = region.depth(self._stack.size)
        deeper = depth >= self._depth[at]
        self._depth[at] = np.where(deeper, depth, self._depth[at])
        within = self.probability[number][:, *region.index]
        within[...] = np.where(deeper, probability, within)
        self._segmented[number].append(region)
        self._pieces[number] = pieces(self.probability[number].sum(axis=0) > FOLLOWED_ABOVE)
        self._changed.add(number)

    def wanted(self) -> dict[int, list[Region]]:
        """Return the regions to segment next, by slice; empty at the end of the search."""
        halo = self.halo or 0
        if halo == EVERYTHING:
            return self._whole_slices(number for number, regions in enumerate(self._segmented) if not regions)
        uncovered: dict[int, list[Region]] = {}
        for number in sorted(self._changed):
            for piece in self._pieces[number]:
                for neighbour in self._at_and_beside(number):
                    if not self._covered(neighbour, piece.widened(halo, self._stack.size)):
                        uncovered.setdefault(neighbour, []).append(piece)
        beside = {neighbour for number in self._changed for neighbour in self._at_and_beside(number)}
        lost = {number for number in beside if self._is_lost(number)}
        self._changed.clear()
        if not uncovered and not lost:
            lost = {number for number, regions in enumerate(self._segmented) if not regions}
        regions = {number: self._stack.around(boxes, halo + SLACK) for number, boxes in uncovered.items()}
        return regions | self._whole_slices(lost)

    def _whole_slices(self, numbers: Iterable[int]) -> dict[int, list[Region]]:
        return {number: [self._stack.whole] for number in sorted(numbers)}

    def _at_and_beside(self, number: int) -> range:
        return range(max(0, number - 1), min(self._stack.slices, number + 2))

    def _covered(self, number: int, region: Region) -> bool:
        return any(segmented.contains(region) for segmented in self._segmented[number])

    def _is_lost(self, number: int) -> bool:
        """Return true for a slice that is segmented in part and shows no nerve, while a neighbour shows nerve."""
        if not self._segmented[number] or self._pieces[number] or self._covered(number, self._stack.whole):
            return False
        return any(self._pieces[beside] for beside in self._at_and_beside(number))


def _by_size(wanted: Wanted) -> Iterator[tuple[Size2d, list[tuple[int, Region]]]]:
    groups: dict[Size2d, list[tuple[int, Region]]] = {}
    for number, regions in sorted(wanted.items()):
        for region in regions:
            groups.setdefault(region.size, []).append((number, region))
    return iter(groups.items())
