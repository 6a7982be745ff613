"""Predict the label map of a scan of any size and in-plane spacing, with one or several members of a model.

A network without fully connected layers takes a slice of any size, so the field of view need not be cropped: the whole
slice is segmented, padded to a multiple of the factor by which the network divides the size, at least to the training
crop. The padding is the volume's minimum, as in training. Batches shrink as slices grow, and only the sum over the
members is kept, so the memory does not grow with the scan.

A network of three dimensions segments windows of several slices (`sliding_window`). With one of two dimensions,
`accuracy="exact"` segments every slice whole. `accuracy="fast"` follows the nerve through the stack (`nerve_following`)
and segments its surroundings only, which takes a tenth of the time and may lose isolated pieces (docs/speed.md).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float32

from nerveseg.data.classes import Classes
from nerveseg.data.context import Context, mirrored
from nerveseg.data.in_plane_resampling import InPlaneResampling
from nerveseg.data.legs import Leg, find_legs
from nerveseg.data.preprocessing import Crop, NetworkGrid
from nerveseg.errors import BundleError, GeometryError
from nerveseg.inference.bundle import Bundle, ModelDescription
from nerveseg.inference.nerve_following import SliceStack, tracked_probability
from nerveseg.inference.nerve_path import along_nerves
from nerveseg.inference.postprocessing import clean_labels
from nerveseg.inference.prediction_settings import Computation, PredictionSettings, Runtime, settle_accuracy
from nerveseg.inference.runtimes import Runner, find_runtime, make_runner, most_likely, with_mirrored_views
from nerveseg.inference.sliding_window import (
    check_installed,
    check_volume,
    sliding_window_probabilities,
    window_size,
)
from nerveseg.inference.uncertainty import Features, measure_classes
from nerveseg.types import Channels, LabelMap, Mask, Probabilities, Probability, Size2d, SpacingMm

LARGEST_SLICE = 2048 * 2048
"""Largest number of pixels of a slice on the model's grid: over a metre at 0.52 mm, beyond any scanner's field of view;
the network would need some four gigabytes for it."""


@dataclass(frozen=True)
class Prediction:
    """Result of a model for one scan, on the scan's voxels in RAS order."""

    labels: LabelMap  # number of each voxel's part after the clean-up
    probabilities: Probabilities  # probability of each part before it, the mean over the members
    classes: Classes  # classes of the model
    settings: PredictionSettings  # settings that the mask depends on
    computation: Computation  # device, runtime and search of the nerve
    legs: tuple[Leg, ...]  # legs that the first channel shows; the side of a single one is unknown

    @cached_property
    def mask(self) -> Mask:
        """Mask of the nerve."""
        return self.classes.nerve(self.labels)

    @property
    def found(self) -> Mask:
        """Mask of the nerve before the clean-up, computed at each call."""
        return self.classes.nerve(_found_labels(self.probabilities, self.classes, self.settings))

    @cached_property
    def probability(self) -> Probability:
        """Probability of nerve before the clean-up."""
        return self.classes.nerve_probability(self.probabilities)

    def features(self, spacing_mm: SpacingMm) -> Mapping[str, Features | None]:
        """Return the features of every class from which its Dice is expected; None where its mask is empty."""
        return measure_classes(self.labels, self.probabilities, self.classes, spacing_mm, self.legs)


def predict_volume(
    members: Sequence[Bundle],
    channels: Channels,
    spacing_mm: SpacingMm,
    settings: PredictionSettings | None = None,
    *,
    runtime: Runtime = "auto",
    slices_per_batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
    device: str = "cpu",
    scan: str | None = None,
) -> Prediction:
    """Predict the label map of a scan.

    Args:
        members: Models that agree in channels, preprocessing and spacing.
        channels: Voxels as read, (channel, x, y, z) in RAS order, in the order the members take them.
        spacing_mm: Voxel spacing of the scan in mm.
        settings: Settings that change the mask; by default the first member's own.
        runtime: Program that runs the networks.
        slices_per_batch: Slices of the training crop's size that go through a network at a time.
        progress: Function that is called with the number of slices done and the number of all slices.
        device: Device to compute on, as torch names it.
        scan: Name of the scan, for errors.

    Raises:
        BundleError: The members take another number of channels, or a probability is not finite.
        GeometryError: A slice is larger than `LARGEST_SLICE` on the model's grid, or a scan too large for a network of
            three dimensions (`sliding_window`).
        ConfigurationError: The settings do not fit a model of patches (`check_settings`).
    """
    description = members[0].description
    description.check_channel_count(len(channels))
    settings = settings or description.prediction
    check_settings(description, settings)
    grid = network_grid(members[0], (channels.shape[1], channels.shape[2]), spacing_mm, settings)
    if description.context.depth is not None:
        check_volume(grid.crop.size, channels.shape[3], scan)
    prepared = description.network_channels(channels)
    slices = _ScanSlices(prepared, [float(channel.min()) for channel in prepared], grid, description.context)
    engine = _finite(make_runner(members, runtime, device), members, scan)
    if settings.mirrored_views:
        engine = with_mirrored_views(engine)
    pixels = slices_per_batch * description.preprocessing.size[0] * description.preprocessing.size[1]
    accuracy = settle_accuracy(settings.accuracy, device, patches=description.context.depth is not None)
    if description.context.depth is not None:
        window = window_size(description.context, description.preprocessing.size, grid.crop.size)
        found = iter([(slice(None), _in_windows(slices, engine, window, pixels, progress))])
    elif accuracy == "fast":
        found = _followed(slices, engine, members[0].reduction, description.class_table.count, pixels, progress)
    else:
        at_a_time = min(slices_per_batch, max(1, pixels // (grid.crop.size[0] * grid.crop.size[1])))
        found = _slice_by_slice(slices, engine, at_a_time, progress)
    probabilities = np.zeros((description.class_table.count, *channels.shape[1:]), dtype=np.float32)
    for some, on_grid in found:
        for part, of_part in enumerate(on_grid.transpose(1, 2, 3, 0)):
            probabilities[part][..., some] = grid.undo(of_part)
    del prepared, slices, found  # copies of the scan, of which the clean-up would need the memory
    labels = _found_labels(probabilities, description.class_table, settings)
    legs = find_legs(channels[0], spacing_mm)
    if settings.postprocessing.follow_path:
        labels = along_nerves(labels, probabilities, description.class_table, spacing_mm, legs)
    labels = clean_labels(labels, spacing_mm, settings.postprocessing)
    computation = Computation(device=device, runtime=find_runtime(members, runtime, device), accuracy=accuracy)
    return Prediction(labels, probabilities, description.class_table, settings, computation, legs)


def _found_labels(probabilities: Probabilities, classes: Classes, settings: PredictionSettings) -> LabelMap:
    return most_likely(probabilities, classes.nerve_parts, settings.nerve_odds)


def check_settings(description: ModelDescription, settings: PredictionSettings) -> None:
    """Raise `ConfigurationError` if a model of patches is to follow the nerve, or lacks MONAI."""
    if description.context.depth is not None:
        check_installed()
        settle_accuracy(settings.accuracy, "cpu", patches=True)


def network_grid(member: Bundle, shape: Size2d, spacing_mm: SpacingMm, settings: PredictionSettings) -> NetworkGrid:
    """Return resampling and crop for a scan; raise `GeometryError` if its slices would exceed `LARGEST_SLICE`."""
    description = member.description
    target = description.spacing_mm if settings.in_plane_spacing == "model" else spacing_mm
    resampling = InPlaneResampling(shape, spacing_mm[:2], target[:2])
    crop = description.preprocessing.size
    if settings.field_of_view == "crop":
        return NetworkGrid(resampling, Crop(resampling.size, crop))
    x, y = (
        least if pixels <= least else -(-pixels // member.reduction) * member.reduction
        for pixels, least in zip(resampling.size, crop, strict=True)
    )
    if x * y > max(LARGEST_SLICE, crop[0] * crop[1]):
        raise GeometryError(
            f"at the model's spacing a slice has at most {LARGEST_SLICE} pixels",
            found=f"{x} x {y} pixels from {shape[0]} x {shape[1]} of "
            f"{spacing_mm[0]:.3g} x {spacing_mm[1]:.3g} mm; the model's are "
            f"{description.spacing_mm[0]:.3g} x {description.spacing_mm[1]:.3g} mm",
            remedy="check that the file's spacing is in mm and its slices are axial, or use field_of_view=crop",
        )
    return NetworkGrid(resampling, Crop(resampling.size, (x, y)))


def _finite(engine: Runner, members: Sequence[Bundle], scan: str | None) -> Runner:
    """Return a runner that refuses probabilities that are not finite."""

    def run(slices: torch.Tensor) -> torch.Tensor:
        probability = engine(slices)
        wrong = int((~torch.isfinite(probability)).sum())
        if wrong:
            training = [member.description.training for member in members]
            folds = ", ".join(str(each.fold) for each in training)
            raise BundleError(
                "the probabilities that a model gives are finite numbers",
                found=f"{wrong} of {probability.numel()} of the model of {training[0].study}, fold {folds}, are not",
                subject=scan,
                remedy="check the values of the scan, or use another model",
            )
        return probability

    return run


@dataclass(frozen=True)
class _ScanSlices:
    """Preprocessed slices of a scan, computed on demand."""

    channels: Channels
    fills: Sequence[float]
    grid: NetworkGrid
    context: Context

    def __len__(self) -> int:
        return int(self.channels.shape[3])

    def slices(self, part: slice) -> torch.Tensor:
        """Return some slices with their context as the network takes them, (slice, channel, x, y)."""
        windows = self.context.windows(len(self))[part]
        seen = slice(windows.min(), windows.max() + 1)
        cropped = np.stack(
            [self.grid.apply(image[..., seen], fill) for image, fill in zip(self.channels, self.fills, strict=True)]
        )
        stacks = cropped.transpose(3, 0, 1, 2)[windows - seen.start]
        return torch.from_numpy(stacks.reshape(len(windows), -1, *self.grid.crop.size))


_Found = Iterator[tuple[slice, Float32[np.ndarray, "slice part net_x net_y"]]]
"""Probabilities of some slices at a time, on the network's grid."""


def _slice_by_slice(
    scan: _ScanSlices, engine: Runner, at_a_time: int, progress: Callable[[int, int], None] | None
) -> _Found:
    for start in range(0, len(scan), at_a_time):
        if progress:
            progress(start, len(scan))
        part = slice(start, min(start + at_a_time, len(scan)))
        yield part, engine(scan.slices(part)).numpy()
    if progress:
        progress(len(scan), len(scan))


def _in_windows(
    scan: _ScanSlices,
    engine: Runner,
    window: tuple[int, int, int],
    pixels: int,
    progress: Callable[[int, int], None] | None,
) -> Float32[np.ndarray, "slice part net_x net_y"]:
    """Return the probabilities of all slices; a stack less deep than a window is mirrored at its ends."""
    beyond = max(0, window[2] - len(scan))
    below = (beyond + 1) // 2
    numbers = mirrored(np.arange(-below, len(scan) + beyond - below), len(scan))
    volume = scan.slices(slice(None))[numbers].permute(1, 2, 3, 0)
    found = sliding_window_probabilities(volume, window, engine, pixels, progress)
    probabilities: Float32[np.ndarray, "slice part net_x net_y"] = found.permute(3, 0, 1, 2).numpy()
    return probabilities[below : below + len(scan)]


def _followed(
    scan: _ScanSlices,
    engine: Runner,
    reduction: int,
    parts: int,
    pixels: int,
    progress: Callable[[int, int], None] | None,
) -> _Found:
    stack = SliceStack(
        slice_at=lambda number: scan.slices(slice(number, number + 1))[0],
        slices=len(scan),
        parts=parts,
        size=scan.grid.crop.size,
        multiple=reduction,
        engine=engine,
        pixels_at_a_time=pixels,
    )
    probability = tracked_probability(stack, progress)
    yield from ((slice(number, number + 1), probability[number : number + 1]) for number in range(len(scan)))
