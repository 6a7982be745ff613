"""Augmentation by TorchIO, as in the paper.

A slice is passed to TorchIO as a volume one voxel deep, and displacements across the plane are switched off. TorchIO
resamples once per transform, so a slice that is shifted and then deformed is interpolated twice.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torchio as tio

from nerveseg.data.augmentation.base import LOCKED_POINTS, MIN_CONTROL_POINTS, AugmentationOptions, Image2d, Label2d


@dataclass(frozen=True)
class TorchioAugmentation(AugmentationOptions):
    """Random flip, translation and elastic deformation by TorchIO; takes the options of `AugmentationOptions`."""

    @cached_property
    def _transform(self) -> tio.Compose:
        shift, bend = (-self.translation_mm, self.translation_mm), self.elastic_displacement_mm
        points = self.elastic_control_points
        return tio.Compose(
            [
                tio.RandomFlip(axes=tuple(self.flip_axes), flip_probability=self.flip_probability),
                tio.RandomAffine(
                    scales=0,
                    degrees=0,
                    translation=(*shift, *shift, 0, 0),
                    default_pad_value="minimum",
                    p=self.translation_probability,
                ),
                tio.RandomElasticDeformation(
                    num_control_points=(points, points, MIN_CONTROL_POINTS),
                    max_displacement=(bend, bend, 0),
                    locked_borders=LOCKED_POINTS,
                    p=self.elastic_probability,
                ),
            ]
        )

    def __call__(
        self, image: Image2d, label: Label2d, spacing_mm: tuple[float, float], seed: int
    ) -> tuple[Image2d, Label2d]:
        """Augment one slice (see `Augmentation`)."""
        affine = np.diag([*spacing_mm, 1.0, 1.0])
        subject = tio.Subject(
            image=tio.ScalarImage(tensor=image.unsqueeze(-1), affine=affine),
            label=(tio.ScalarImage if label.is_floating_point() else tio.LabelMap)(
                tensor=label.reshape(-1, *label.shape[-2:], 1), affine=affine
            ),
        )
        subject.check_consistent_space()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPU's dropout too
            result: Any = self._transform(subject)
        return result["image"].data[..., 0], result["label"].data.reshape(label.shape).to(label.dtype)
