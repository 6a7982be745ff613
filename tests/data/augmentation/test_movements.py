"""The random parameters of the augmentation in plain torch against those that TorchIO draws."""

import dataclasses

import numpy as np
import pytest
import torch
import torchio as tio
from scipy import stats
from torchio.data.io import nib_to_sitk

from nerveseg.data.augmentation import AugmentationOptions
from nerveseg.data.augmentation.warp import draw_movements, move_slices

OPTIONS = AugmentationOptions(flip_axes=(0, 1), translation_mm=6.0, elastic_displacement_mm=4.0)


@pytest.mark.parametrize("pixel", [(20, 30), (48, 40), (70, 12)])
def test_displacements_are_distributed_as_torchios(pixel):
    """Ours are read off an image of its own coordinates, TorchIO's are asked of the transform it would use."""
    shape, spacing_mm, draws = (96, 80), (0.8, 1.1), 500
    axes = [torch.arange(float(size)) for size in shape]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(draws, -1, -1, -1)
    labels = torch.zeros((draws, *shape), dtype=torch.uint8)
    bending = dataclasses.replace(OPTIONS, flip_axes=(), translation_probability=0.0)
    moving = draw_movements(bending, range(draws))
    moved, _ = move_slices(coordinates, labels, [spacing_mm] * draws, moving)
    here_mm = (moved - coordinates)[:, :, *pixel].double().numpy() * spacing_mm

    reference = nib_to_sitk(coordinates[0, :1, ..., None], np.diag([*spacing_mm, 1.0, 1.0]), force_3d=True)
    point = reference.TransformIndexToPhysicalPoint((*pixel, 0))
    there_mm = []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(7)
        for _ in range(draws):
            points = tio.RandomElasticDeformation.get_params((7, 7, 5), (4.0, 4.0, 0.0), 2)
            transform = tio.ElasticDeformation(points, (4, 4, 0)).get_bspline_transform(reference)
            there_mm.append(np.subtract(transform.TransformPoint(point), point)[:2])
    for axis in (0, 1):
        assert stats.ks_2samp(here_mm[:, axis], np.array(there_mm)[:, axis]).pvalue > 0.01
        uniform_would_be = np.sqrt(2) * np.std(here_mm[:, axis])
        assert abs(np.std(there_mm, axis=0)[axis] / uniform_would_be - 1) > 0.2, "the test can tell"


def test_shifts_and_flips_are_distributed_as_they_should():
    options = dataclasses.replace(OPTIONS, flip_axes=(1,), flip_probability=0.3, translation_probability=0.8)
    moving = draw_movements(options, range(4000))
    shifted = moving.shift_mm.any(dim=1)
    assert shifted.double().mean() == pytest.approx(0.8, abs=0.03)
    for axis in (0, 1):
        assert stats.kstest(moving.shift_mm[shifted, axis].numpy(), stats.uniform(-6, 12).cdf).pvalue > 0.01
    assert abs(np.corrcoef(moving.shift_mm[shifted].T)[0, 1]) < 0.05
    assert not moving.flipped[:, 0].any()
    assert moving.flipped[:, 1].double().mean() == pytest.approx(0.3, abs=0.03)
    assert draw_movements(OPTIONS, [1]).bend_mm[0, :, 2:-2, 2:-2].all()
    assert moving.bend_mm[:, :, [0, 1, -2, -1]].abs().max() == moving.bend_mm[..., [0, 1, -2, -1]].abs().max() == 0
