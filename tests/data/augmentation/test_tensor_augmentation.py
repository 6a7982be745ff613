"""The augmentation in plain torch against TorchIO's and ITK's own resampling, for the same movements."""

import dataclasses
import pickle

import numpy as np
import pytest
import SimpleITK
import torch
import torchio as tio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from torchio.data.io import nib_to_sitk

from nerveseg.data.augmentation import AugmentationOptions, TensorAugmentation, TorchioAugmentation
from nerveseg.data.augmentation.warp import Movements, draw_movements, move_slices

OPTIONS = AugmentationOptions(flip_axes=(0, 1), translation_mm=6.0, elastic_displacement_mm=4.0)
SHAPES_AND_SPACINGS = [((96, 80), (1.0, 1.0)), ((75, 61), (0.7, 0.7)), ((64, 91), (0.5, 1.3))]


def movements(flip=(), shift_mm=(0.0, 0.0), bend_mm=None):
    """Of one slice."""
    return Movements(
        flipped=torch.tensor([[0 in flip, 1 in flip]]),
        shift_mm=torch.tensor([shift_mm], dtype=torch.float64),
        bend_mm=torch.zeros(1, 2, 7, 7, dtype=torch.float64) if bend_mm is None else bend_mm,
    )


def bends(seed=1, displacement_mm=3.0, points=7):
    options = dataclasses.replace(OPTIONS, elastic_displacement_mm=displacement_mm, elastic_control_points=points)
    return draw_movements(options, [seed]).bend_mm


def ours(image, label, spacing_mm, movements):
    images, labels = move_slices(image[None], label[None], [spacing_mm], movements)
    return images[0], labels[0]


def torchio_control_points(bend_mm):
    """TorchIO's axes run the other way (left and posterior), and its grid has five equal layers."""
    points = -bend_mm[0].flip((1, 2)).permute(1, 2, 0).numpy()
    with_z = np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1)
    return np.repeat(with_z[:, :, None], 5, axis=2)


def torchios(image, label, spacing_mm, movements):
    affine = np.diag([*spacing_mm, 1.0, 1.0])
    subject = tio.Subject(
        image=tio.ScalarImage(tensor=image.unsqueeze(-1), affine=affine),
        label=tio.LabelMap(tensor=label[None, ..., None], affine=affine),
    )
    axes = movements.flipped[0].nonzero().flatten().tolist()
    steps = [tio.Flip(axes)] if axes else []
    steps.append(tio.Affine((1, 1, 1), (0, 0, 0), (*movements.shift_mm[0].tolist(), 0)))
    steps.append(tio.ElasticDeformation(torchio_control_points(movements.bend_mm), (1, 1, 0)))
    moved = tio.Compose(steps)(subject)
    return moved["image"].data[..., 0], moved["label"].data[0, ..., 0].to(torch.uint8)


def smooth_pair(shape):
    """Two smooth channels that vanish towards the border, so that air seems to come in as it was; a disc as label."""
    x, y = np.meshgrid(*map(np.arange, shape), indexing="ij")
    distance = np.hypot((x - 0.53 * shape[0]) / 1.2, y - 0.47 * shape[1])
    window = np.prod([np.sin(np.pi * (axis + 0.5) / size) ** 4 for axis, size in zip((x, y), shape, strict=True)], 0)
    image = window * np.stack([2 + np.cos(x / 7), 3 + np.sin(y / 9) * np.cos(x / 11)])
    return torch.tensor(image, dtype=torch.float32), torch.tensor(distance < min(shape) / 5, dtype=torch.uint8)


def rough_pair(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn((2, *shape), generator=generator)
    return image, (torch.rand(shape, generator=generator) > 0.5).to(torch.uint8)


def border(label):
    """Number of voxels on the label's border, inside and outside."""
    mask = label.numpy().astype(bool)
    return int((ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)).sum())


@pytest.mark.parametrize(("shape", "spacing_mm"), SHAPES_AND_SPACINGS)
def test_bends_as_torchio_does(shape, spacing_mm):
    """A single interpolation on both sides: equal to rounding, also on noise, at the border and beyond it."""
    for seed, points in ((1, 7), (2, 5), (3, 9)):
        image, label = rough_pair(shape)
        moving = movements(bend_mm=bends(seed, points=points))
        (image_here, label_here), (image_there, label_there) = (
            move(image, label, spacing_mm, moving) for move in (ours, torchios)
        )
        assert (image_here - image).abs().max() > 0.2, "it bends"
        different = (image_here - image_there).abs().amax(0) > 2e-3
        assert different.float().mean() < 1e-3, "on the edges of the image rounding decides"
        assert (label_here != label_there).float().mean() < 1e-3


@pytest.mark.parametrize(("shape", "spacing_mm"), SHAPES_AND_SPACINGS)
@pytest.mark.parametrize("shift_mm", [(2.37, -4.11), (-5.9, 0.4)])
def test_shifts_as_torchio_does(shape, spacing_mm, shift_mm):
    image, label = rough_pair(shape)
    moving = movements(shift_mm=shift_mm)
    here, there = ours(image, label, spacing_mm, moving), torchios(image, label, spacing_mm, moving)
    torch.testing.assert_close(here[0], there[0], rtol=0, atol=1e-3)
    assert torch.equal(here[1], there[1])


@pytest.mark.parametrize("flip", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize(("shape", "spacing_mm"), SHAPES_AND_SPACINGS)
def test_flips_shifts_and_bends_together_as_torchio_does(shape, spacing_mm, flip):
    """Shifted by whole pixels TorchIO's first interpolation does nothing, and its two are as good as our one."""
    image, label = smooth_pair(shape)
    shift_mm = (4 * spacing_mm[0], -3 * spacing_mm[1])
    moving = movements(flip, shift_mm, bends(displacement_mm=2.0))
    here, there = ours(image, label, spacing_mm, moving), torchios(image, label, spacing_mm, moving)
    torch.testing.assert_close(here[0], there[0], rtol=0, atol=1e-3)
    assert (here[1] != there[1]).sum() < 0.01 * border(label)


@pytest.mark.parametrize("flip", [(), (0,), (1,)])
def test_shifted_by_parts_of_a_pixel_torchio_blurs_a_little_more(flip):
    """A linear interpolation errs by at most 1/8 of the second differences along each axis, always to the same side.

    So one and two interpolations differ by at most 2/8.
    """
    image, label = smooth_pair((96, 80))
    moving = movements(flip, (4.5, -2.5), bends(displacement_mm=3.0))
    here, there = ours(image, label, (1.0, 1.0), moving), torchios(image, label, (1.0, 1.0), moving)
    curvature = sum(image.diff(2, dim=axis).abs().max() for axis in (1, 2))
    assert (here[0] - there[0]).abs().max() < curvature / 4 + 1e-3
    assert ndimage.distance_transform_edt(1 - there[1].numpy())[here[1].bool().numpy()].max() <= 1.5


@pytest.mark.parametrize("shift_mm", [(2.37, -4.11), (-5.9, 0.4)])
def test_shifts_and_bends_in_one_interpolation_as_itk_does(shift_mm):
    """ITK takes both at once from a composite; only its air begins elsewhere, at the border alone."""
    image, label = rough_pair((75, 61))
    moving = movements((), shift_mm, bends())
    here, label_here = ours(image, label, (0.7, 0.9), moving)
    reference = nib_to_sitk(image[:1, ..., None], np.diag([0.7, 0.9, 1.0, 1.0]), force_3d=True)
    bend = tio.ElasticDeformation(torchio_control_points(moving.bend_mm), (1, 1, 0)).get_bspline_transform(reference)
    shift = SimpleITK.TranslationTransform(3, (*shift_mm, 0.0))  # the way back, and from RAS to LPS
    composite = SimpleITK.CompositeTransform([shift, bend])

    def resampled(plane, interpolator, fill):
        source = nib_to_sitk(plane[None, ..., None].float(), np.diag([0.7, 0.9, 1.0, 1.0]), force_3d=True)
        result = SimpleITK.Resample(source, reference, composite, interpolator, fill)
        return torch.from_numpy(SimpleITK.GetArrayFromImage(result)[0].T.copy())

    inner = (slice(4, -4), slice(4, -4))
    for channel in (0, 1):
        there = resampled(image[channel], SimpleITK.sitkLinear, float(image[channel].min()))
        assert ((here[channel] - there)[inner].abs() > 2e-3).float().mean() < 1e-3
    assert (label_here != resampled(label, SimpleITK.sitkNearestNeighbor, 0))[inner].float().mean() < 1e-3


@pytest.mark.parametrize("flip", [(), (0,), (0, 1)])
@pytest.mark.parametrize("shift_pixels", [(5, -4), (-3, -6), (2, 7)])
def test_air_comes_in_where_it_does_in_torchio(flip, shift_pixels):
    """Also where a bend reaches beyond the slice and the shift would lead back inside: there TorchIO sees only air."""
    shape, spacing_mm = (64, 91), (0.3, 0.4)
    image, full = torch.rand((1, *shape), generator=torch.Generator().manual_seed(3)), torch.ones(shape).byte()
    shift_mm = tuple(pixels * spacing for pixels, spacing in zip(shift_pixels, spacing_mm, strict=True))
    moving = movements(flip, shift_mm, bends(displacement_mm=4.0))
    here, there = (move(image, full, spacing_mm, moving)[1] for move in (ours, torchios))
    assert (here != there).sum() <= 2
    only_shifted = ours(image, full, spacing_mm, movements(flip, shift_mm))[1]
    assert (here != only_shifted).sum() > 50


def test_a_real_nerve_moves_as_torchio_moves_it(shared_data):
    path = shared_data("sciatic_reference") / "EXAMPLE_GROUND_TRUTH.mha"
    reference = SimpleITK.ReadImage(str(path))
    nerve = torch.from_numpy(SimpleITK.GetArrayFromImage(reference).transpose(2, 1, 0).copy() > 0).to(torch.uint8)
    spacing_mm = reference.GetSpacing()[:2]
    fullest = nerve.sum((0, 1)).topk(3).indices.tolist()
    different, borders = 0, 0
    for seed, index in enumerate(fullest):
        label = nerve[..., index]
        moving = movements((0,), (9 * spacing_mm[0], -5 * spacing_mm[1]), bends(seed, displacement_mm=5.0))
        here, there = (move(label[None].float(), label, spacing_mm, moving)[1] for move in (ours, torchios))
        different += int((here != there).sum())
        borders += border(label)
        assert here.sum() > 0.5 * label.sum()
    assert different < 0.01 * borders


def test_the_whole_is_distributed_as_torchios():
    """Where a small nerve ends up, over many seeds of both."""
    image, label = smooth_pair((41, 35))
    options = {"translation_mm": 4.0, "elastic_displacement_mm": 4.0, "translation_probability": 0.7}
    centres = [
        np.array([ndimage.center_of_mass(augment(image, label, (1.0, 1.0), seed)[1].numpy()) for seed in range(60)])
        for augment in (TensorAugmentation(**options), TorchioAugmentation(**options))
    ]
    for axis in (0, 1):
        assert stats.ks_2samp(centres[0][:, axis], centres[1][:, axis]).pvalue > 0.01


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_batch_is_its_slices_one_by_one(data):
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    seeds = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5))
    spacings_mm = [data.draw(st.tuples(*2 * [st.floats(0.2, 3.0)])) for _ in seeds]
    augment = TensorAugmentation((0, 1), 0.5, 6.0, 0.6, 4.0, data.draw(st.integers(5, 9)), 0.6)
    pairs = [rough_pair(shape, seed) for seed in range(len(seeds))]
    images, labels = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    moved_images, moved_labels = augment.augment_batch(images, labels, spacings_mm, seeds)
    for index, (image, label) in enumerate(pairs):
        alone = augment(image, label, spacings_mm[index], seeds[index])
        torch.testing.assert_close(moved_images[index], alone[0], rtol=0, atol=1e-4)
        assert (moved_labels[index] != alone[1]).float().mean() <= 1 / label.numel() + 1e-3
        assert set(alone[1].unique().tolist()) <= {0, 1}
        assert moved_images[index].min() >= image.min() - 1e-5
        assert moved_images[index].max() <= image.max() + 1e-5


def test_the_slices_handed_in_stay_as_they_were():
    image, label = rough_pair((30, 24))
    before = image.clone(), label.clone()
    for probability in (0.0, 0.5, 1.0):
        augment = TensorAugmentation((0,), 0.5, 3.0, probability, 2.0, 7, probability)
        augment.augment_batch(image[None].expand(6, -1, -1, -1), label.expand(6, -1, -1), [(1.0, 1.0)] * 6, range(6))
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])


def test_a_slice_only_flipped_keeps_its_values_exactly_beside_one_that_is_bent():
    image, label = rough_pair((31, 24))
    augment = TensorAugmentation((0, 1), 1.0, 0.0, 1.0, 3.0, 7, 0.5)
    resampled = draw_movements(augment, range(8)).resampled
    moved = augment.augment_batch(image.expand(8, -1, -1, -1), label.expand(8, -1, -1), [(1.0, 1.0)] * 8, range(8))
    assert 0 < resampled.sum() < 8
    for index in range(8):
        assert torch.equal(moved[0][index], image.flip((1, 2))) == (not resampled[index])
        assert torch.equal(moved[1][index], label.flip((0, 1))) or resampled[index]


def test_a_shift_beyond_the_slice_leaves_air_and_no_nerve():
    image, label = rough_pair((20, 20))
    moved, moved_label = ours(image, label, (1.0, 1.0), movements(shift_mm=(50.0, 0.0)))
    assert moved_label.sum() == 0
    torch.testing.assert_close(moved, image.amin((1, 2), keepdim=True).expand_as(image), rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["medium", "highest"])
def test_a_training_in_half_precision_moves_slices_to_the_same_places(precision):
    """Coordinates in half precision would be off by up to half a pixel."""
    image, label = smooth_pair((96, 80))
    augment = TensorAugmentation(translation_mm=6.0)
    plain = augment(image, label, (1.0, 1.0), 4)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            half = augment(image, label, (1.0, 1.0), 4)
    finally:
        torch.set_float32_matmul_precision(before)
    steepest = max(image.diff(dim=axis).abs().max().item() for axis in (1, 2))
    torch.testing.assert_close(half[0], plain[0], rtol=0, atol=0.05 * steepest)
    assert (half[1] != plain[1]).sum() <= 0.05 * border(label)


def test_a_worker_process_can_be_sent_one():
    augment = TensorAugmentation(translation_mm=6.0)
    image, label = rough_pair((30, 24))
    torch.testing.assert_close(
        pickle.loads(pickle.dumps(augment))(image, label, (1.0, 1.0), 4), augment(image, label, (1.0, 1.0), 4)
    )
