"""Rotation and scaling against SimpleITK's transforms of positions in millimetres."""

import math
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
import torch
from scipy import ndimage

from nerveseg.data.augmentation import AugmentationOptions, TensorAugmentation
from nerveseg.data.augmentation.warp import Movements, draw_movements, draw_turns, move_slices
from nerveseg.errors import ConfigurationError

OFF = {"flip_probability": 0.0, "translation_probability": 0.0, "elastic_probability": 0.0}


def rough_pair(shape=(75, 61), seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = ndimage.gaussian_filter(torch.randn((2, *shape), generator=generator).numpy(), (0, 1, 1))
    return torch.from_numpy(image), (torch.rand(shape, generator=generator) > 0.5).to(torch.uint8)


def by_itk(plane, spacing_mm, degrees, size, shift_mm, flip, interpolator):
    """Resample by ITK's similarity transform about the centre; a flip goes first."""
    axes = [axis for axis in (0, 1) if flip[axis]]
    image = SimpleITK.GetImageFromArray(np.flip(plane, axes).T.astype(np.float32))
    image.SetSpacing(spacing_mm)
    centre = [step * (pixels - 1) / 2 for step, pixels in zip(spacing_mm, plane.shape, strict=True)]
    forth = SimpleITK.Similarity2DTransform(size, math.radians(degrees), shift_mm, centre)
    moved = SimpleITK.Resample(image, image, forth.GetInverse(), interpolator, -9.0)
    return SimpleITK.GetArrayFromImage(moved).T


@pytest.mark.parametrize("flip", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0), (0.5, 1.3)])
@pytest.mark.parametrize(
    ("degrees", "size", "shift_mm"), [(25, 1, (0, 0)), (0, 1.15, (0, 0)), (0, 0.83, (3, -2)), (-140, 0.9, (2.5, 4))]
)
def test_turns_and_scales_as_itk_does(degrees, size, shift_mm, spacing_mm, flip):
    image, label = rough_pair()
    angle = math.radians(degrees)
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / size
    moving = Movements(
        flipped=torch.tensor([flip]),
        shift_mm=torch.tensor([shift_mm], dtype=torch.float64),
        bend_mm=torch.zeros(1, 2, 7, 7, dtype=torch.float64),
        turn=torch.from_numpy(back)[None],
    )
    images, labels = move_slices(image[None], label[None], [spacing_mm], moving)
    here, label_here = images[0, 0].numpy(), labels[0].numpy()
    there = by_itk(image[0].numpy(), spacing_mm, degrees, size, shift_mm, flip, SimpleITK.sitkLinear)
    label_there = by_itk(label.numpy(), spacing_mm, degrees, size, shift_mm, flip, SimpleITK.sitkNearestNeighbor)
    inside = there > -9
    assert 0.3 < inside.mean() <= 1
    assert (np.abs(here - there)[inside] > 1e-3).mean() < 0.03, "at the outermost pixels ITK extrapolates otherwise"
    assert np.median(np.abs(here - there)[inside]) < 1e-5
    assert (label_here != label_there)[inside].mean() < 0.01
    air = ndimage.binary_erosion(~inside, border_value=1)
    np.testing.assert_array_equal(here[air], image[0].min().numpy())
    assert not label_here[air].any()


def test_old_movements_are_drawn_as_before_beside_the_new_ones():
    old = AugmentationOptions(flip_axes=(0, 1), translation_mm=6.0, elastic_displacement_mm=4.0)
    new = TensorAugmentation(**vars(old), rotation_degrees=20.0, scaling=0.2, contrast=0.3, noise_sd=0.1)
    before, after = draw_movements(old, list(range(50))), draw_movements(new, list(range(50)))
    assert before.turn is None
    for name in ("flipped", "shift_mm", "bend_mm"):
        assert torch.equal(getattr(before, name), getattr(after, name))


def test_what_is_not_turned_is_moved_as_without_the_option():
    image, label = rough_pair()
    moving = draw_movements(AugmentationOptions((0, 1), translation_mm=6.0), [3])
    plain = move_slices(image[None], label[None], [(0.7, 0.9)], moving)
    turned = replace(moving, turn=torch.eye(2, dtype=torch.float64)[None])
    kept = move_slices(image[None], label[None], [(0.7, 0.9)], turned)
    torch.testing.assert_close(kept[0], plain[0], rtol=0, atol=1e-4)
    assert (kept[1] != plain[1]).float().mean() < 1e-3


def test_turns_have_their_range_and_share():
    options = TensorAugmentation(rotation_degrees=30.0, rotation_probability=0.4, scaling=0.2, scaling_probability=0.7)
    turns = draw_turns(options, list(range(3000)))
    sizes = torch.linalg.det(turns).rsqrt()
    angles = torch.rad2deg(torch.atan2(turns[:, 0, 1], turns[:, 0, 0]))
    assert (angles != 0).double().mean() == pytest.approx(0.4, abs=0.03)
    assert ((sizes - 1).abs() > 1e-9).double().mean() == pytest.approx(0.7, abs=0.03)
    assert 29 < angles.max() <= 30
    assert -30 <= angles.min() < -29
    assert 1.19 < sizes.max() <= 1.2 + 1e-9
    assert 0.8 - 1e-9 <= sizes.min() < 0.81
    assert torch.equal(turns[7], draw_turns(options, [7])[0])


@pytest.mark.parametrize("options", [{"rotation_degrees": 30.0}, {"scaling": 0.3}])
def test_a_patch_is_turned_as_one_and_a_batch_is_its_slices(options):
    augment = TensorAugmentation(**OFF | options)
    image, label = rough_pair()
    patch = torch.stack([label, label])
    moved, labels = augment(image, patch, (0.8, 1.2), 5)
    assert torch.equal(labels[0], labels[1])
    assert not torch.equal(labels[0], label)
    batch = augment.augment_batch(image.expand(3, -1, -1, -1), patch.expand(3, -1, -1, -1), 3 * [(0.8, 1.2)], [1, 5, 9])
    torch.testing.assert_close(batch[0][1], moved, rtol=0, atol=1e-4)
    assert (batch[1][1] != labels).float().mean() < 1e-3


@pytest.mark.parametrize(
    "wrong",
    [{"rotation_degrees": 181.0}, {"rotation_degrees": -1.0}, {"scaling": 1.0}, {"rotation_probability": 1.5}],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigurationError) as caught:
        TensorAugmentation(**wrong)
    assert next(iter(wrong)) in caught.value.rule
