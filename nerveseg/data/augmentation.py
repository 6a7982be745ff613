"""Artificial variety for training slices: flip, in-plane translation, in-plane elastic deformation (paper, 2.4.3).

TorchIO deforms; this module makes it fit slices. Image and label are always transformed together, the image with linear
and the label with nearest-neighbour interpolation, and nothing ever leaves the plane. The random parameters are a pure
function of the seed that comes with each call, so neither the number of workers nor a resumed run changes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torchio as tio
from jaxtyping import Float32, UInt8
from torch import Tensor

from nerveseg.errors import ConfigurationError

MIN_CONTROL_POINTS = 5
"""TorchIO locks two points at each border; with fewer than five nothing is left to move."""


@runtime_checkable
class Augmentation(Protocol):
    """Anything that turns a slice and its label into another pair of the same shapes."""

    def __call__(
        self,
        image: Float32[Tensor, "channel x y"],
        label: UInt8[Tensor, "x y"],
        spacing_mm: tuple[float, float],
        seed: int,
    ) -> tuple[Float32[Tensor, "channel x y"], UInt8[Tensor, "x y"]]:
        """Augment one slice; `seed` fixes every random parameter."""
        ...


class NoAugmentation:
    """Slices as they are."""

    def __call__(
        self,
        image: Float32[Tensor, "channel x y"],
        label: UInt8[Tensor, "x y"],
        spacing_mm: tuple[float, float],
        seed: int,
    ) -> tuple[Float32[Tensor, "channel x y"], UInt8[Tensor, "x y"]]:
        """The pair unchanged."""
        return image, label


class TorchioAugmentation:
    """Random flip, translation and elastic deformation of a slice.

    Args:
        flip_axes: In-plane axes (0 is left-right, 1 is anterior-posterior), each flipped with `flip_probability`.
        flip_probability: Per axis.
        translation_mm: Largest shift along each in-plane axis.
        translation_probability: Share of slices that are shifted.
        elastic_displacement_mm: Largest displacement of a control point along each in-plane axis.
        elastic_control_points: Per in-plane axis, the locked border included.
        elastic_probability: Share of slices that are deformed (by far the slowest of the three).

    Raises:
        ConfigurationError: A value is out of its range.
    """

    def __init__(
        self,
        flip_axes: Sequence[int] = (0,),
        flip_probability: float = 0.5,
        translation_mm: float = 5.0,
        translation_probability: float = 1.0,
        elastic_displacement_mm: float = 5.0,
        elastic_control_points: int = 7,
        elastic_probability: float = 1.0,
    ) -> None:
        if not set(flip_axes) <= {0, 1}:
            raise ConfigurationError("augmentation.flip_axes holds in-plane axes, 0 and 1", found=list(flip_axes))
        if elastic_control_points < MIN_CONTROL_POINTS:
            raise ConfigurationError(
                f"augmentation.elastic_control_points is a number from {MIN_CONTROL_POINTS} up",
                found=elastic_control_points,
            )
        _check_probabilities(
            flip_probability=flip_probability,
            translation_probability=translation_probability,
            elastic_probability=elastic_probability,
        )
        _check_lengths(translation_mm=translation_mm, elastic_displacement_mm=elastic_displacement_mm)
        shift, bend = (-translation_mm, translation_mm), elastic_displacement_mm
        self._transform = tio.Compose(
            [
                tio.RandomFlip(axes=tuple(flip_axes), flip_probability=flip_probability),
                tio.RandomAffine(
                    scales=0,
                    degrees=0,
                    translation=(*shift, *shift, 0, 0),
                    default_pad_value="minimum",
                    p=translation_probability,
                ),
                tio.RandomElasticDeformation(
                    num_control_points=(elastic_control_points, elastic_control_points, MIN_CONTROL_POINTS),
                    max_displacement=(bend, bend, 0),
                    locked_borders=2,
                    p=elastic_probability,
                ),
            ]
        )

    def __call__(
        self,
        image: Float32[Tensor, "channel x y"],
        label: UInt8[Tensor, "x y"],
        spacing_mm: tuple[float, float],
        seed: int,
    ) -> tuple[Float32[Tensor, "channel x y"], UInt8[Tensor, "x y"]]:
        """Augment one slice.

        Args:
            image: Preprocessed slice.
            label: Its label, 0 and 1.
            spacing_mm: In-plane spacing; displacements are in mm.
            seed: Fixes every random parameter.
        """
        affine = np.diag([*spacing_mm, 1.0, 1.0])
        subject = tio.Subject(
            image=tio.ScalarImage(tensor=image.unsqueeze(-1), affine=affine),
            label=tio.LabelMap(tensor=label[None, ..., None], affine=affine),
        )
        subject.check_consistent_space()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPU's dropout too
            moved: Any = self._transform(subject)
        return moved["image"].data[..., 0], moved["label"].data[0, ..., 0].to(torch.uint8)


def slice_seed(seed: int, epoch: int, index: int) -> int:
    """The seed of one slice in one epoch: independent of the order in which slices are read, and of who reads them."""
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1)[0])


def _check_probabilities(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ConfigurationError(f"augmentation.{name} lies between 0 and 1", found=value)


def _check_lengths(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ConfigurationError(f"augmentation.{name} is a length from 0 up", found=value)
