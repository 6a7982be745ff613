import numpy as np
import pytest
from pydantic import ValidationError

from nerveseg.data.context import Context


def mirrored(number, slices):
    """The slice that a mirror at both ends of the stack shows at a position outside of it."""
    while slices > 1 and not 0 <= number < slices:
        number = -number if number < 0 else 2 * (slices - 1) - number
    return number if slices > 1 else 0


@pytest.mark.parametrize("neighbours", [0, 1, 2, 5])
@pytest.mark.parametrize("slices", [1, 2, 3, 4, 20])
def test_a_window_is_a_slice_between_its_neighbours_mirrored_at_the_ends(neighbours, slices):
    windows = Context(neighbours=neighbours).windows(slices)
    expected = [
        [mirrored(index + offset, slices) for offset in range(-neighbours, neighbours + 1)] for index in range(slices)
    ]
    assert windows.tolist() == expected
    assert Context(neighbours=neighbours).slices == windows.shape[1]
    np.testing.assert_array_equal(windows[:, neighbours], np.arange(slices))


@pytest.mark.parametrize("value", [-1, 33, 1.5, "2", True])
def test_a_number_of_neighbours_is_a_small_whole_number(value):
    with pytest.raises(ValidationError):
        Context(neighbours=value)
