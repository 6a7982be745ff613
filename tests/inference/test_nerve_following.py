"""The search with an engine that thresholds the image: the right answer is the image, whatever region is asked for."""

import numpy as np
import pytest
import torch

from nerveseg.inference import nerve_following
from nerveseg.inference.nerve_following import EVERYTHING, SliceStack, sufficient_halo, tracked_probability

SIZE = (320, 256)
SLICES = 40


class Engine:
    """The image itself as probability; `context` pixels along each cut side of a region come out empty.

    So a region gives what the whole slice gives only where it reaches far enough.
    """

    def __init__(self, context=0):
        self.context = context
        self.pixels = 0
        self.shapes = []

    def __call__(self, slices):
        self.pixels += slices.shape[0] * slices.shape[2] * slices.shape[3]
        self.shapes += [tuple(slices.shape[2:])] * len(slices)
        probability = slices[:, 0].clone()
        for axis in (1, 2):
            if slices.shape[axis + 1] < SIZE[axis - 1] and self.context:
                probability.narrow(axis, 0, min(self.context, slices.shape[axis + 1])).zero_()
                start = max(0, slices.shape[axis + 1] - self.context)
                probability.narrow(axis, start, slices.shape[axis + 1] - start).zero_()
        return probability[:, None]


def disc(x, y, radius=6):
    across, along = np.ogrid[: SIZE[0], : SIZE[1]]
    return (across - x) ** 2 + (along - y) ** 2 <= radius**2


def nerve(at, slices=SLICES):
    """Slices of 0.9 where `at(number)` names places, else 0.02."""
    volume = np.full((slices, *SIZE), 0.02, dtype=np.float32)
    for number in range(slices):
        for x, y in at(number):
            volume[number][disc(x, y)] = 0.9
    return volume


def track(volume, engine, multiple=16):
    stack = SliceStack(
        slice_at=lambda number: torch.from_numpy(volume[number])[None],
        slices=len(volume), parts=1, size=SIZE, multiple=multiple, engine=engine,
        pixels_at_a_time=8 * SIZE[0] * SIZE[1],
    )  # fmt: skip
    return tracked_probability(stack)[:, 0]


def share(engine, volume):
    return engine.pixels / volume.size


def assert_same_mask(found, volume):
    np.testing.assert_array_equal(found > 0.5, volume > 0.5)


def test_a_nerve_that_wanders_is_followed_for_a_part_of_the_pixels():
    volume = nerve(lambda number: [(40 + 2 * number, 60 + 10 * np.sin(number / 5))])
    engine = Engine()
    assert_same_mask(track(volume, engine), volume)
    assert share(engine, volume) < 0.25


def test_both_branches_are_followed_after_the_split():
    volume = nerve(lambda number: [(160 - number, 120), (160 + number, 120 - number)])
    engine = Engine()
    assert_same_mask(track(volume, engine), volume)
    assert share(engine, volume) < 0.4


def test_a_jump_from_slice_to_slice_is_not_lost():
    volume = nerve(lambda number: [(30, 30) if number < 17 else (250, 200)])
    assert_same_mask(track(volume, Engine()), volume)


def test_a_nerve_that_ends_and_comes_back_is_found_again():
    volume = nerve(lambda number: [] if 3 <= number % 20 < 7 else [(60, 60)])
    assert_same_mask(track(volume, Engine()), volume)


def test_slices_that_the_search_never_reaches_are_segmented_whole():
    volume = nerve(lambda number: [(60, 60)] if number < 5 or number > 35 else [])
    assert_same_mask(track(volume, Engine()), volume)


def test_a_second_nerve_that_no_anchor_shows_is_followed_from_where_it_touches_a_region():
    volume = nerve(lambda number: [(60, 60), *([(60, 80 + number)] if number < 9 else [])])
    assert_same_mask(track(volume, Engine()), volume)


def test_an_empty_scan_is_searched_whole():
    volume = nerve(lambda number: [])
    engine = Engine()
    assert_same_mask(track(volume, engine), volume)
    assert share(engine, volume) == 1


@pytest.mark.parametrize("context", [0, 20, 30, 40])
def test_the_halo_is_what_the_network_needs(context):
    volume = nerve(lambda number: [(160, 128)])
    stack = SliceStack(
        slice_at=lambda number: torch.from_numpy(volume[number])[None],
        slices=SLICES, parts=1, size=SIZE, multiple=1, engine=Engine(context), pixels_at_a_time=10**6,
    )  # fmt: skip
    tracking_halos = [halo for halo in nerve_following.HALOS if halo >= context]
    assert sufficient_halo(stack, volume, [5, 20]) == tracking_halos[0]


@pytest.mark.parametrize(("ring", "halo"), [(0.02, 16), (0.3, 32)])
def test_what_alters_the_surroundings_of_a_mask_needs_a_larger_halo(ring, halo):
    """A ring around the nerve that smaller regions cut off: no part of the mask, but it might be of another slice's."""
    volume = nerve(lambda number: [(160, 128)], 2)
    volume[:, disc(160, 128, 22) & ~disc(160, 128, 20)] = ring
    stack = SliceStack(
        slice_at=lambda number: torch.from_numpy(volume[number])[None],
        slices=2, parts=1, size=SIZE, multiple=1, engine=Engine(context=12), pixels_at_a_time=10**6,
    )  # fmt: skip
    assert sufficient_halo(stack, volume, [0, 1]) == halo


@pytest.mark.parametrize("slices", [1, 2, 12, 30, 60])
def test_more_than_one_slice_is_segmented_whole_to_begin_with(slices):
    engine = Engine()
    track(nerve(lambda number: [(160, 128)], slices), engine)
    assert engine.shapes.count(SIZE) == min(2, slices)


def test_a_network_that_needs_the_whole_slice_gets_it():
    volume = nerve(lambda number: [(160, 128)])
    engine = Engine(context=100)
    found = track(volume, engine)
    np.testing.assert_array_equal(found, volume)
    stack = SliceStack(
        slice_at=lambda number: torch.from_numpy(volume[number])[None],
        slices=SLICES, parts=1, size=SIZE, multiple=1, engine=engine, pixels_at_a_time=10**6,
    )  # fmt: skip
    assert sufficient_halo(stack, volume, [5, 20]) == EVERYTHING


@pytest.mark.parametrize("context", [10, 30])
def test_a_nerve_near_the_border_of_a_region_is_segmented_with_its_halo(context):
    """It moves by 3 pixels a slice, so that regions of the neighbour never quite fit."""
    volume = nerve(lambda number: [(80 + 3 * number, 128)])
    assert_same_mask(track(volume, Engine(context)), volume)


def test_where_regions_overlap_the_deeper_one_counts():
    """Two nerves pass each other; either's region cuts through the other's surroundings."""
    volume = nerve(lambda number: [(120 + 2 * number, 110), (200 - 2 * number, 135)])
    assert_same_mask(track(volume, Engine(context=24)), volume)


def test_regions_begin_on_multiples_of_what_the_transitions_divide_by():
    volume = nerve(lambda number: [(60, 60)])
    engine = Engine()
    track(volume, engine, multiple=16)
    assert all(x % 16 == 0 and y % 16 == 0 for x, y in engine.shapes)


def test_progress_reaches_every_slice():
    volume = nerve(lambda number: [(60, 60)])
    told = []
    stack = SliceStack(
        slice_at=lambda number: torch.from_numpy(volume[number])[None],
        slices=SLICES, parts=1, size=SIZE, multiple=16, engine=Engine(), pixels_at_a_time=10**5,
    )  # fmt: skip
    tracked_probability(stack, lambda done, total: told.append((done, total)))
    assert told[-1] == (SLICES, SLICES)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
