import numpy as np
import pytest
from pydantic import ValidationError

from nerveseg.data.context import Context, mirrored


def reflected(number, slices):
    """The slice that a mirror at both ends of the stack shows at a position outside of it."""
    while slices > 1 and not 0 <= number < slices:
        number = -number if number < 0 else 2 * (slices - 1) - number
    return number if slices > 1 else 0


@pytest.mark.parametrize("neighbours", [0, 1, 2, 5])
@pytest.mark.parametrize("slices", [1, 2, 3, 4, 20])
def test_a_window_is_a_slice_between_its_neighbours_mirrored_at_the_ends(neighbours, slices):
    windows = Context(neighbours=neighbours).windows(slices)
    expected = [
        [reflected(index + offset, slices) for offset in range(-neighbours, neighbours + 1)] for index in range(slices)
    ]
    assert windows.tolist() == expected
    assert Context(neighbours=neighbours).slices == windows.shape[1]
    np.testing.assert_array_equal(windows[:, neighbours], np.arange(slices))


@pytest.mark.parametrize("value", [-1, 33, 1.5, "2", True])
def test_a_number_of_neighbours_is_a_small_whole_number(value):
    with pytest.raises(ValidationError):
        Context(neighbours=value)


VOLUME = Context(depth=4)


@pytest.mark.parametrize("depth", [2, 4, 16])
@pytest.mark.parametrize("slices", [1, 2, 3, 4, 15, 16, 17, 60])
def test_patches_that_follow_one_another_show_every_slice_and_stay_inside_if_they_can(slices, depth):
    context = Context(depth=depth)
    windows = [context.positions(slices, sample) for sample in range(context.samples(slices))]
    assert {len(window) for window in windows} == {depth}
    assert set(range(slices)) <= {int(position) for window in windows for position in window}
    assert len(windows) == np.ceil(slices / depth)
    if slices >= depth:
        assert all(window[0] >= 0 and window[-1] < slices for window in windows)
    else:
        assert abs((windows[0][0] + windows[0][-1]) / 2 - (slices - 1) / 2) <= 0.5, "in the middle"


@pytest.mark.parametrize("slices", [1, 3, 4, 21])
def test_positions_outside_a_stack_show_its_mirrored_slices(slices):
    positions = np.arange(-9, slices + 9)
    assert mirrored(positions, slices).tolist() == [reflected(int(position), slices) for position in positions]


def test_patches_at_random_places_show_each_slice_about_once_in_an_epoch():
    slices, shares = 21, np.random.default_rng(0).random((3000, VOLUME.samples(21)))
    seen = np.zeros(slices)
    for epoch in shares:
        for sample, share in enumerate(epoch):
            window = VOLUME.positions(slices, sample, share)
            assert set(window) <= set(range(slices))
            seen[window] += 1
    per_epoch = seen / len(shares)
    assert per_epoch[4:-4] == pytest.approx(24 / 21, abs=0.1)
    assert per_epoch.min() > 0.4
    assert per_epoch.max() < 1.8


def test_a_patch_deeper_than_the_stack_shows_all_of_it_wherever_it_lies():
    starts = set()
    for share in np.linspace(0, 0.999, 50):
        window = VOLUME.positions(3, 0, share)
        assert {0, 1, 2} <= set(window.tolist())
        starts.add(int(window[0]))
    assert starts <= {-1, 0}


def test_a_patch_lies_inside_the_crop_around_its_share():
    context = Context(depth=4, size=(3, 10))
    assert context.shape((8, 10)) == (3, 10, 4)
    assert VOLUME.shape((8, 10)) == (8, 10, 4)
    assert Context().shape((8, 10)) == (8, 10)
    assert Context(neighbours=1, size=(3, 10)).shape((8, 10)) == (3, 10)
    places = [context.in_plane((8, 10), (share, share)) for share in (0.0, 0.5, 0.999)]
    assert places == [(slice(x, x + 3), slice(0, 10)) for x in (0, 3, 5)]
    assert VOLUME.in_plane((8, 10), (0.9, 0.1)) == (slice(0, 8), slice(0, 10))


@pytest.mark.parametrize(
    "values",
    [
        {"centred": 0.5},
        {"centred": 0.5, "neighbours": 2},
        {"size": (8, 8), "centred": 1.1},
        {"size": (8, 8), "centred": -0.1},
        {"depth": 4, "neighbours": 1},
        {"depth": 1},
        {"depth": 0},
        {"depth": 1000},
        {"depth": 4.5},
        {"depth": 4, "size": (0, 8)},
        {"depth": 4, "size": (8, 8, 8)},
        {"depth": 4, "slices": 3},
    ],
)
def test_a_context_is_of_one_kind(values):
    with pytest.raises(ValidationError):
        Context(**values)


def test_a_size_may_come_from_a_file():
    assert Context.model_validate({"depth": 4, "size": [8, 6]}) == Context(depth=4, size=(8, 6))


@pytest.mark.parametrize(
    ("context", "recorded"),
    [
        (Context(), {"neighbours": 0}),
        (Context(neighbours=2), {"neighbours": 2}),
        (VOLUME, {"neighbours": 0, "depth": 4}),
        (Context(size=(8, 6), centred=0.5), {"neighbours": 0, "size": [8, 6], "centred": 0.5}),
    ],
)
def test_the_record_of_slices_is_that_of_bundles_before_there_were_patches(context, recorded):
    assert context.model_dump(mode="json") == recorded
    assert Context.model_validate_json(context.model_dump_json()) == context
