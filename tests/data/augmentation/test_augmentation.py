import numpy as np
import pytest
import torch
from scipy import ndimage

from nerveseg.data.augmentation import NoAugmentation, TensorAugmentation, TorchioAugmentation, slice_seed
from nerveseg.errors import ConfigurationError

SPACING_MM = (1.0, 1.0)
OFF = {"flip_probability": 0.0, "translation_probability": 0.0, "elastic_probability": 0.0}


@pytest.fixture(params=[TorchioAugmentation, TensorAugmentation])
def kind(request):
    """All that is said here holds for both."""
    return request.param


@pytest.fixture
def only(kind):
    """Makes an augmentation of which everything else is switched off."""
    return lambda **options: kind(**(OFF | options))


def pair(shape=(48, 40), centre=None, radius=6.0):
    """A bright disc on a smooth background, and the disc as its label."""
    x, y = np.meshgrid(*map(np.arange, shape), indexing="ij")
    centre = centre or tuple((size - 1) / 2 for size in shape)
    distance = np.hypot(x - centre[0], y - centre[1])
    image = np.stack([10 / (1 + np.exp(2 * (distance - radius))), distance / 10]).astype(np.float32)
    return torch.from_numpy(image), torch.from_numpy((distance < radius).astype(np.uint8))


def dice(first, second):
    return 2 * float((first & second).sum()) / float(first.sum() + second.sum())


def centre_of(label):
    return np.array(ndimage.center_of_mass(label.numpy()))


def test_nothing_leaves_the_plane(kind):
    image, label = pair()
    augment = kind(translation_mm=8.0, elastic_displacement_mm=3.0)
    for seed in range(60):
        moved_image, moved_label = augment(image, label, (0.6, 0.6), seed)
        assert moved_label.sum() > 0.6 * label.sum()
        assert moved_image.shape == image.shape
        assert moved_image[0].max() > 0.8 * image[0].max()


def test_image_and_label_move_together(kind):
    image, label = pair(radius=8.0)
    augment = kind(flip_axes=(0, 1), translation_mm=8.0, elastic_displacement_mm=3.0)
    for seed in range(60):
        moved_image, moved_label = augment(image, label, SPACING_MM, seed)
        assert dice(moved_image[0] > 5, moved_label.bool()) > 0.9


def test_all_channels_move_together(kind):
    image, label = pair()
    image[1] = 3 * image[0] + 2
    for seed in range(20):
        moved, _ = kind(elastic_displacement_mm=3.0)(image, label, SPACING_MM, seed)
        torch.testing.assert_close(moved[1], 3 * moved[0] + 2, rtol=1e-4, atol=1e-3)


def test_types_and_values_stay(kind):
    image, label = pair()
    before = image.clone(), label.clone()
    for seed in range(30):
        moved_image, moved_label = kind(elastic_displacement_mm=3.0)(image, label, SPACING_MM, seed)
        assert (moved_image.dtype, moved_label.dtype) == (torch.float32, torch.uint8)
        assert set(moved_label.unique().tolist()) == {0, 1}
        assert moved_image.min() >= image.min() - 1e-4
        assert moved_image.max() <= image.max() + 1e-4
    torch.testing.assert_close((image, label), before, rtol=0, atol=0)


def test_a_slice_without_nerve_stays_without(kind):
    image, label = pair()
    for seed in range(20):
        assert kind(elastic_displacement_mm=3.0)(image, label * 0, SPACING_MM, seed)[1].sum() == 0


def test_what_comes_in_at_the_border_is_air_and_background(only):
    image = torch.full((2, 30, 30), 5.0)
    image[0, 15, 15], image[1, 15, 15] = -7, -2
    label = torch.ones(30, 30, dtype=torch.uint8)
    augment = only(translation_probability=1.0, translation_mm=6.0)
    for seed in range(10):
        moved, moved_label = augment(image, label, SPACING_MM, seed)
        came_in = moved_label == 0
        assert 0 < came_in.sum() < 0.5 * label.numel()
        assert moved[0][came_in].median() == -7
        assert moved[1][came_in].median() == -2


def test_a_seed_fixes_the_result_whatever_the_global_state_is(kind):
    image, label = pair()
    augment = kind(elastic_displacement_mm=3.0)
    results = []
    for state in (1, 2, 3):
        torch.manual_seed(state)
        np.random.seed(state)
        results.append(augment(image, label, SPACING_MM, 11))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)
    fresh = kind(elastic_displacement_mm=3.0)
    torch.testing.assert_close(fresh(image, label, SPACING_MM, 11), results[0], rtol=0, atol=0)
    different = [augment(image, label, SPACING_MM, seed)[0] for seed in range(20)]
    assert len({float(moved.double().square().sum()) for moved in different}) == 20


def test_the_global_states_are_left_as_they_were(kind, monkeypatch):
    image, label = pair()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _seed: pytest.fail("reseeds the GPU, and its dropout"))
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    kind(elastic_displacement_mm=3.0)(image, label, SPACING_MM, 5)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert str(np.random.get_state()) == str(numpy_state)


@pytest.mark.parametrize(
    ("spacing_mm", "pixels"), [((1.0, 1.0), (6, 6)), ((0.5, 0.5), (12, 12)), ((0.5, 2.0), (12, 3))]
)
def test_a_translation_is_in_millimetres(only, spacing_mm, pixels):
    image, label = pair((60, 60), radius=5.0)
    augment = only(translation_probability=1.0, translation_mm=6.0)
    shifts = np.array([centre_of(augment(image, label, spacing_mm, seed)[1]) for seed in range(150)]) - 29.5
    for axis in (0, 1):
        assert 0.9 * pixels[axis] < np.abs(shifts[:, axis]).max() < pixels[axis] + 0.6
        assert abs(shifts[:, axis].mean()) < 0.2 * pixels[axis]


def test_the_same_millimetres_are_twice_the_pixels_at_half_the_spacing(only):
    image, label = pair((60, 60), radius=5.0)
    augment = only(translation_probability=1.0, translation_mm=6.0)
    for seed in range(10):
        coarse, fine = (centre_of(augment(image, label, (step, step), seed)[1]) - 29.5 for step in (1.0, 0.5))
        np.testing.assert_allclose(fine, 2 * coarse, atol=1.1)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), [0]])
def test_a_flip_reverses_the_chosen_axes(only, axes):
    image, label = pair(centre=(15, 12))
    flipped = only(flip_axes=axes, flip_probability=1.0)(image, label, SPACING_MM, 3)
    torch.testing.assert_close(flipped[0], image.flip([axis + 1 for axis in axes]), rtol=0, atol=0)
    torch.testing.assert_close(flipped[1], label.flip(list(axes)), rtol=0, atol=0)


def test_each_axis_is_flipped_with_its_probability(only):
    image, label = pair(centre=(15, 12))
    augment = only(flip_axes=(0, 1), flip_probability=0.3)
    centres = np.array([centre_of(augment(image, label, SPACING_MM, seed)[1]) for seed in range(400)])
    flipped = np.abs(centres - centre_of(label)) > 2
    assert flipped.mean(axis=0) == pytest.approx([0.3, 0.3], abs=0.1)
    assert flipped.all(axis=1).mean() == pytest.approx(0.09, abs=0.06)


def test_no_axes_are_no_flip(only):
    image, label = pair(centre=(15, 12))
    for seed in range(10):
        moved, _ = only(flip_axes=(), flip_probability=1.0)(image, label, SPACING_MM, seed)
        torch.testing.assert_close(moved, image, rtol=0, atol=0)


@pytest.mark.parametrize("option", ["translation", "elastic"])
def test_each_step_is_taken_with_its_probability(only, option):
    image, label = pair()
    augment = only(**{f"{option}_probability": 0.4}, translation_mm=4.0, elastic_displacement_mm=3.0)
    moved = [not torch.equal(augment(image, label, SPACING_MM, seed)[0], image) for seed in range(200)]
    assert np.mean(moved) == pytest.approx(0.4, abs=0.12)


def test_without_displacement_or_translation_nothing_changes(only):
    image, label = pair()
    augment = only(
        elastic_probability=1.0, elastic_displacement_mm=0.0, translation_probability=1.0, translation_mm=0.0
    )
    for seed in range(5):
        moved_image, moved_label = augment(image, label, SPACING_MM, seed)
        torch.testing.assert_close(moved_image, image, rtol=1e-5, atol=1e-5)
        assert torch.equal(moved_label, label)


def test_an_elastic_deformation_bends_at_most_its_millimetres_and_hardly_the_border(only):
    """On an image of its own coordinates the displacement can be read off.

    At the border a cubic B-spline weighs the first free control point with one sixth.
    """
    coordinates = torch.stack(torch.meshgrid(torch.arange(60.0), torch.arange(60.0), indexing="ij"))
    label = torch.zeros(60, 60, dtype=torch.uint8)
    augment = only(elastic_probability=1.0, elastic_displacement_mm=2.0)
    largest = []
    for seed in range(30):
        moved = augment(coordinates, label, (0.5, 0.5), seed)[0]
        displacement_mm = 0.5 * (moved - coordinates).abs()
        displacement_mm[moved == 0] = 0  # what came in from outside
        largest.append(displacement_mm.max().item())
        assert displacement_mm[:, [0, -1]].max() < 2 / 6 + 0.01
        assert displacement_mm[:, :, [0, -1]].max() < 2 / 6 + 0.01
    assert max(largest) <= 2.0
    assert np.median(largest) > 0.4


def test_no_augmentation_hands_on_the_pair():
    image, label = pair()
    assert NoAugmentation()(image, label, SPACING_MM, 1) == (image, label)


def test_slice_seeds_are_distinct_and_stay_the_same():
    seeds = {slice_seed(seed, epoch, index) for seed in range(5) for epoch in range(20) for index in range(50)}
    assert len(seeds) == 5000
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert slice_seed(1, 2, 3) == int(np.random.SeedSequence([1, 2, 3]).generate_state(1)[0])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("flip_axes", [0, 2]),
        ("flip_probability", 1.5),
        ("translation_probability", -0.1),
        ("elastic_probability", 2.0),
        ("elastic_control_points", 4),
        ("translation_mm", -5.0),
        ("elastic_displacement_mm", -1.0),
    ],
)
def test_values_out_of_range_are_named(kind, name, found):
    with pytest.raises(ConfigurationError) as caught:
        kind(**{name: found})
    assert f"augmentation.{name} " in caught.value.rule
    assert caught.value.found == found
