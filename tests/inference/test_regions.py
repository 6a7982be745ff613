import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.inference.regions import MERGED_COST, Region, merged, pieces

SIZE = (40, 56)


def regions(size=SIZE):
    def of(ends):
        (x_start, x_end), (y_start, y_end) = (sorted(pair) for pair in ends)
        return Region(x_start, x_end + 1, y_start, y_end + 1)

    along = [st.tuples(st.integers(0, pixels - 1), st.integers(0, pixels - 1)) for pixels in size]
    return st.tuples(*along).map(of)


def drawn(region, size=SIZE):
    pixels = np.zeros(size, dtype=bool)
    pixels[region.index] = True
    return pixels


@given(regions(), regions())
def test_one_contains_another_as_its_pixels_do(one, other):
    assert one.contains(other) == (not (drawn(other) & ~drawn(one)).any())
    assert one.pixels == drawn(one).sum()


@given(regions(), st.integers(0, 20), st.sampled_from([1, 4, 16]))
def test_a_widened_region_lies_on_multiples_and_reaches_far_enough(region, pixels, multiple):
    wide = region.widened(pixels, SIZE, multiple)
    assert wide.contains(region)
    for start, end, was_start, was_end, size in zip(
        (wide.x_start, wide.y_start), (wide.x_end, wide.y_end), (region.x_start, region.y_start),
        (region.x_end, region.y_end), SIZE, strict=True,
    ):  # fmt: skip
        assert start % multiple == 0
        assert end % multiple == 0 or end == size
        assert max(0, was_start - pixels) - multiple < start <= max(0, was_start - pixels)
        assert min(size, was_end + pixels) <= end <= size


@given(regions())
def test_depth_counts_pixels_to_the_nearest_side_that_cuts(region):
    depth = region.depth(SIZE)
    assert depth.shape == region.size
    padded = np.pad(drawn(region), 1, constant_values=True)
    cut = np.argwhere(~padded) - 1
    for x, y in {(0, 0), (region.size[0] - 1, region.size[1] - 1), (region.size[0] // 2, region.size[1] // 2)}:
        if len(cut):
            beside = [
                (abs(cut - (x + region.x_start, y + region.y_start)))[within, axis].min(initial=2**15 - 1)
                for axis, at in ((0, y + region.y_start), (1, x + region.x_start))
                for within in [cut[:, 1 - axis] == at]
            ]
            assert depth[x, y] == min(beside)
        else:
            assert depth[x, y] == 2**15 - 1


@given(st.lists(regions(), max_size=6))
def test_merged_regions_cover_all_pixels_and_pay_for_themselves(some):
    joined = merged(some)
    covered = sum((drawn(region).astype(int) for region in joined), start=np.zeros(SIZE, dtype=int)) > 0
    for region in some:
        assert covered[region.index].all()
        assert any(other.contains(region) for other in joined)
    for index, one in enumerate(joined):
        for other in joined[index + 1 :]:
            assert one.joined(other).pixels > MERGED_COST * (one.pixels + other.pixels)


def test_pieces_are_boxes_of_what_hangs_together_over_corners_too():
    mask = np.zeros(SIZE, dtype=bool)
    mask[2, 3] = mask[3, 4] = True
    mask[30:33, 50:56] = True
    assert pieces(mask) == [Region(2, 4, 3, 5), Region(30, 33, 50, 56)]
    assert pieces(mask & False) == []
