"""Predict the mask of a scan from its files, for the test of a fold and for `segment` alike."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from nerveseg.data.volumes.volume import Geometry, Volume
from nerveseg.inference.bundle import Bundle
from nerveseg.inference.predict import Prediction, predict_volume
from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.inference.runtimes import Runtime
from nerveseg.scans.reading import LoadedScan, read_scan
from nerveseg.scans.request import ScanFiles
from nerveseg.training.devices import choose_device


def predict_files(
    files: ScanFiles,
    members: Sequence[Bundle],
    settings: PredictionSettings | None = None,
    *,
    check: Callable[[Volume, Path], None] | None = None,
    geometry: Geometry = None,
    registration: Literal["rigid", "none"] = "rigid",
    accelerator: str = "auto",
    runtime: Runtime = "auto",
    slices_per_batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[LoadedScan, Prediction]:
    """Read a scan, bring its channels onto one grid, and predict its mask.

    Args:
        files: Files of the scan.
        members: Models that are averaged; they agree in channels, preprocessing and spacing.
        settings: Settings that change the mask; by default the first member's own.
        check: Function that raises an error if the image cannot be a scan.
        geometry: Transform of the header to trust if the two differ.
        registration: Treatment of a further channel on another grid.
        accelerator: Device to compute on.
        runtime: Program that runs the networks.
        slices_per_batch: Slices of the training crop's size that go through a network at a time.
        progress: Function that is called with the number of slices done and the number of all slices.

    Raises:
        VolumeError: A file is not a readable image.
        GeometryError: A channel or map does not overlap with the image.
        BundleError: A channel of the model is missing, or a probability is not finite.
    """
    description = members[0].description
    settings = settings or description.prediction
    description.check_channels([description.channels[0], *files.channels], files.name)
    device = choose_device(accelerator, settings.precision)
    scan = read_scan(files, geometry, registration)
    if check:
        check(scan.image, files.image)
    prediction = predict_volume(
        members,
        scan.network_channels(description.channels),
        scan.grid.ras_spacing_mm,
        settings,
        runtime=runtime,
        slices_per_batch=slices_per_batch,
        progress=progress,
        device="cuda" if device.accelerator == "gpu" else "cpu",
        scan=files.name,
    )
    return scan, prediction
