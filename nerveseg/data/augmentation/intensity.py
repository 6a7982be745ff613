"""Random changes of intensity, as scanners, coils and protocols differ: of preprocessed slices, after their movement.

In this order: bias field, contrast, gamma, blur, low resolution, noise. The parameters of a slice are a function of its
seed alone, in a stream of random numbers of their own. All planes of a sample (the channels of all its slices) get the
same parameters, since a sample does not say which planes are of one channel; noise differs in every pixel. A constant
plane, such as the presence plane or the zeros of a missing channel, stays as it is.

References:
    Isensee F et al. nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation. Nat
    Methods 2021;18:203-211 (supplementary note 4: contrast, gamma, blur, low resolution, noise).
    Sudre CH, Cardoso MJ, Ourselin S. Longitudinal segmentation of age-related white matter hyperintensities. Med Image
    Anal 2017;38:50-64 (smooth random bias field, as in TorchIO's `RandomBiasField`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.random import Generator
from torch import Tensor
from torch.nn.functional import interpolate

from nerveseg.data.augmentation.base import Image2d, Images2d
from nerveseg.errors import ConfigurationError

Planes = Bool[Tensor, "channel 1 1"]  # flags of the planes that are not constant

STREAM = 2  # number that makes the stream of these parameters another than those of movement and dropped channels
BIAS_POINTS = 4  # number of control points of the bias field along each axis


@dataclass(frozen=True)
class IntensityOptions:
    """Options of the changes of intensity, all of which are off by default.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    bias_field: float = 0.0  # largest relative change of the signal by the bias field
    bias_field_probability: float = 1.0  # share of samples with a bias field
    contrast: float = 0.0  # largest relative change of the differences from the mean
    contrast_probability: float = 1.0  # share of samples with another contrast
    gamma: float = 0.0  # exponents lie between 1 / (1 + gamma) and 1 + gamma
    gamma_probability: float = 1.0  # share of samples with an exponent
    blur_sd_mm: float = 0.0  # largest standard deviation of the Gaussian; the smallest is half of it
    blur_probability: float = 1.0  # share of samples that are blurred
    low_resolution: float = 1.0  # largest factor of the pixel size, along both axes; 1 is off
    low_resolution_probability: float = 1.0  # share of samples of a lower resolution
    noise_sd: float = 0.0  # largest standard deviation of Gaussian noise, in those of the preprocessed volume
    noise_probability: float = 1.0  # share of samples with more noise

    def __post_init__(self) -> None:
        for field in fields(IntensityOptions):
            value, least = getattr(self, field.name), 1 if field.name == "low_resolution" else 0
            if field.name.endswith("_probability"):
                if not 0 <= value <= 1:
                    raise ConfigurationError(f"augmentation.{field.name} lies between 0 and 1", found=value)
            elif not least <= value < math.inf:
                raise ConfigurationError(f"augmentation.{field.name} is a number from {least} up", found=value)
        if self.contrast >= 1:
            raise ConfigurationError("augmentation.contrast is a number below 1", found=self.contrast)

    @property
    def changes_intensity(self) -> bool:
        """Flag: true if any change can happen."""
        return any(self.shares)

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the samples with each change, in the order of `Changes`; 0 where its amount is none."""
        return (
            self.bias_field_probability * (self.bias_field > 0),
            self.contrast_probability * (self.contrast > 0),
            self.gamma_probability * (self.gamma > 0),
            self.blur_probability * (self.blur_sd_mm > 0),
            self.low_resolution_probability * (self.low_resolution > 1),
            self.noise_probability * (self.noise_sd > 0),
        )


@dataclass(frozen=True)
class Changes:
    """Parameters of one sample; None is no change."""

    log_bias: Float32[Tensor, "control_x control_y"] | None  # logarithm of the bias field at its control points
    contrast: float | None  # factor on the differences from the mean
    exponent: float | None  # gamma
    blur_sd_mm: float | None  # standard deviation of the blur
    low_resolution: float | None  # factor of the pixel size
    noise_sd: float | None  # standard deviation of the noise


def draw_changes(options: IntensityOptions, random: Generator) -> Changes:
    """Draw the parameters of one sample; those of one kind do not depend on the options of another."""
    chosen, amounts = random.random(6), random.random(6)
    bias = random.uniform(-1, 1, (BIAS_POINTS, BIAS_POINTS)) * math.log1p(options.bias_field)
    values = (
        torch.from_numpy(bias).float(),
        1 + options.contrast * (2 * float(amounts[1]) - 1),
        (1 + options.gamma) ** (2 * float(amounts[2]) - 1),
        options.blur_sd_mm * (1 + float(amounts[3])) / 2,
        1 + (options.low_resolution - 1) * float(amounts[4]),
        options.noise_sd * float(amounts[5]),
    )
    drawn = zip(values, chosen, options.shares, strict=True)
    return Changes(*(value if one < share else None for value, one, share in drawn))


def change_intensities(
    options: IntensityOptions, images: Images2d, spacings_mm: Sequence[tuple[float, float]], seeds: Sequence[int]
) -> Images2d:
    """Change the intensities of a batch on its device, each sample by its own seed."""
    with torch.autocast(images.device.type, enabled=False):
        return torch.stack(
            [_changed(options, *sample) for sample in zip(images, spacings_mm, seeds, strict=True)],
        )


def _changed(options: IntensityOptions, image: Image2d, spacing_mm: tuple[float, float], seed: int) -> Image2d:
    random = np.random.default_rng([seed, STREAM])
    changes = draw_changes(options, random)
    if all(value is None for value in vars(changes).values()):
        return image
    lowest, highest = image.flatten(1).aminmax(dim=1)
    varying = (lowest < highest)[:, None, None]
    result = image
    if changes.log_bias is not None:
        result = biased(result, changes.log_bias, varying)
    if changes.contrast is not None:
        mean = _mean(result, varying)
        result = mean + changes.contrast * (result - mean)
    if changes.exponent is not None:
        result = with_gamma(result, changes.exponent, varying)
    if changes.blur_sd_mm is not None:
        result = blurred(result, changes.blur_sd_mm, spacing_mm)
    if changes.low_resolution is not None:
        result = coarsened(result, changes.low_resolution)
    if changes.noise_sd is not None:
        noise = torch.from_numpy(random.standard_normal(image.shape, dtype=np.float32))
        result = result + changes.noise_sd * noise.to(image.device, non_blocking=True)
    return torch.where(varying, result, image)


def biased(image: Image2d, log_bias: Float32[Tensor, "control_x control_y"], varying: Planes) -> Image2d:
    """Multiply what lies above air, the smallest value of each plane, by a smooth field; mean and SD are kept."""
    control = log_bias.to(image.device, non_blocking=True)[None, None]
    size = (image.shape[1], image.shape[2])
    field = interpolate(control, size, mode="bicubic", align_corners=True)[0].exp()
    air = image.flatten(1).amin(dim=1)[:, None, None]
    return _standardised(air + (image - air) * field, image, varying)


def with_gamma(image: Image2d, exponent: float, varying: Planes) -> Image2d:
    """Raise the values to a power within the range of the sample, in which their order stays; mean and SD are kept."""
    lowest = torch.where(varying, image, math.inf).amin()
    highest = torch.where(varying, image, -math.inf).amax()
    within = ((image - lowest) / (highest - lowest)).clamp(0, 1)  # a constant plane may lie outside
    return _standardised(within**exponent, image, varying)


def blurred(image: Image2d, sd_mm: float, spacing_mm: tuple[float, float]) -> Image2d:
    """Blur by a Gaussian in the plane; at the borders its weights are those of the pixels inside."""
    along_x, along_y = (
        _gaussian(pixels, sd_mm / step).to(image.device, non_blocking=True)
        for pixels, step in zip(image.shape[1:], spacing_mm, strict=True)
    )
    return along_x @ image @ along_y.T


def _gaussian(pixels: int, sd: float) -> Float32[Tensor, "pixel pixel"]:
    positions = torch.arange(pixels, dtype=torch.float64)
    weights = torch.exp(-0.5 * ((positions[:, None] - positions) / max(sd, 1e-6)) ** 2)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def coarsened(image: Image2d, factor: float) -> Image2d:
    """Average over pixels that are larger by a factor, and interpolate linearly between these."""
    size = (image.shape[1], image.shape[2])
    coarse = interpolate(image[None], [max(1, round(pixels / factor)) for pixels in size], mode="area")
    return interpolate(coarse, size, mode="bilinear", align_corners=False)[0]


def _mean(image: Image2d, varying: Planes) -> Float32[Tensor, ""]:
    means = image.flatten(1).mean(dim=1)
    return torch.where(varying.flatten(), means, 0).sum() / varying.sum().clamp(min=1)


def _standardised(changed: Image2d, before: Image2d, varying: Planes) -> Image2d:
    """Return changed values of the mean and SD that the sample had before."""
    before_mean, before_sd = _moments(before, varying)
    mean, sd = _moments(changed, varying)
    factor = before_sd / sd
    return torch.addcmul(before_mean - mean * factor, changed, factor)


def _moments(image: Image2d, varying: Planes) -> tuple[Float32[Tensor, ""], Float32[Tensor, ""]]:
    """Return mean and SD over the planes that are not constant."""
    mean = _mean(image, varying)
    return mean, (_mean((image - mean).square_(), varying)).sqrt()
