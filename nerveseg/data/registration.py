"""Rigid registration of the second channel onto the first, used only if the motion found is plausible.

The leg moves between two series. The rotation and translation of greatest mutual information (Mattes et al. 2003) are
searched from coarse to fine in the plane only, since a slice step is many pixels. The gain is measured on other voxels
than the search used. For a motion that is too large, or without gain, the headers' geometry is kept, with a note.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import SimpleITK
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.linalg import polar
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from nerveseg.data.resample_to_grid import resample_onto
from nerveseg.data.volumes.grids import Grid, Volume, corner_distance_mm
from nerveseg.types import Affine, Image

Slice: TypeAlias = Float32[np.ndarray[Any, Any], "x y"]

LARGEST_TRANSLATION_MM = 20.0
LARGEST_ROTATION_DEG = 15.0
"""Assumed: beyond these limits the leg was repositioned, or more likely the optimiser failed."""

_PIXELS_MM = (4.0, 2.0, 1.0)  # in-plane pixel size of the three levels; the last is near that of the second channel

_VOXELS = 20_000  # number of sampled voxels per level; twice as many gained 0.1 mm at most on the phantom

_WITHIN_SLICES, _ALONG_LEG, _ALL_WAYS = [0.0, 0.0, 1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0], [1.0] * 6
"""Degrees of freedom: rotation about x, y, z and translation along them, in the frame of the slices."""

_LEAST_GAIN_OUT_OF_SLICES = 0.01
"""Least relative gain. On the phantom interpolation gains up to 0.005, undoing a shift by a slice 0.014 or more."""

_SMOOTHING_SLICES = 1.0  # standard deviation of a smoothing that equalises the noise of slices and of interpolated ones

_NO_MOTION_MM = 0.5  # about a pixel: a smaller motion without gain means that the headers are right

_LATTICE_STEPS, _LATTICE_MM = 3, 8.0
"""Range of the starts of the search: farther than a leg moves, so that a repositioned leg is recognised."""

_LEAST_SIMILARITY = 0.1
"""Least mutual information. Two unrelated images reach 0.002; the phantom's two channels 0.6 to 0.8."""

_SEARCHED = 3  # number of starts that `register_from` searches from: the coarse similarity may prefer a wrong one
_STEPS, _BINS = 60, 32
_SEED, _OTHER_SEED = 2018, 1995


@dataclass(frozen=True)
class Registration:
    """Second channel on the grid of the first."""

    array: Image  # values in the fixed volume's RAS order; NaN outside the moving volume's field of view
    # Angles in degrees about the patient's x, y and z axes through the middle of the fixed volume.
    rotation_deg: tuple[float, float, float]
    # Displacement in mm (RAS) of the tissue in the middle of the fixed volume.
    translation_mm: tuple[float, float, float]
    similarity_before: float  # mutual information with the headers' geometry; NaN if the volumes do not overlap
    similarity_after: float  # mutual information with the motion found
    trusted: bool  # flag of an array that follows the motion found; otherwise it follows the headers alone
    note: str  # explanation for the report
    # Motion used (4 x 4, RAS mm), from a position in the fixed volume to the same tissue in the moving one.
    motion: Affine
    moving: Volume = field(repr=False)  # volume that was moved
    fixed_grid: Grid = field(repr=False)  # grid of the fixed volume

    def slice_by_headers(self, number: int) -> Slice:
        """Resample one slice by the headers alone, to show the effect of the motion."""
        affine = self.fixed_grid.ras_affine.copy()
        affine[:3, 3] += affine[:3, 2] * number
        columns, rows, _ = self.fixed_grid.ras_shape
        return resample_onto(self.moving, Grid((columns, rows, 1), affine, self.fixed_grid.header))[:, :, 0]


def register_rigidly(moving: Volume, fixed: Volume) -> Registration:
    """Move a second channel of the same leg onto the first one's grid; the result is deterministic.

    Interpolation between slices lowers the noise, which alone raises the similarity; so a motion within the slices is
    searched first, and one out of them is used only if it gains clearly more.
    """
    pair = _Pair(moving, fixed)
    with _one_thread():
        start = pair.start()
        within = start if start is None else pair.search(start, _WITHIN_SLICES, _PIXELS_MM)
        anyhow = within if within is None else pair.search(within, _ALL_WAYS, _PIXELS_MM[1:])
        if within is None or anyhow is None:
            note = "not registered, the headers' geometry is used: the two fields of view hardly overlap"
            return _result(moving, fixed, np.eye(4), np.eye(4), (float("nan"), float("nan")), note)
        before, plane, space = pair.similarities([np.eye(4), within, anyhow], _PIXELS_MM[-1], _OTHER_SEED)
    leaves_slices = space > plane * (1 + _LEAST_GAIN_OUT_OF_SLICES)
    found, after = (anyhow, space) if leaves_slices else (within, plane)
    doubt = _doubt(found, fixed.grid, before, after)
    affine = fixed.grid.ras_affine
    farthest_mm = corner_distance_mm(found @ affine, affine, fixed.grid.ras_shape)
    if doubt and before >= _LEAST_SIMILARITY and farthest_mm < _NO_MOTION_MM:
        return _result(moving, fixed, found, np.eye(4), (before, before), "")
    return _result(moving, fixed, found, np.eye(4) if doubt else found, (before, after), doubt)


def register_from(moving: Volume, fixed: Volume, starts: list[Affine]) -> list[tuple[Affine, float]]:
    """Search the motion of greatest similarity from the most similar starts: turns about the leg, and shifts all ways.

    Unlike `register_rigidly`, the motion may be of any size, since two dates share no frame of coordinates.

    Args:
        moving: Later image.
        fixed: Earlier image.
        starts: Motions (RAS mm, from a position in the fixed volume to that in the moving one) to begin with, in order
            along the leg; the `_SEARCHED` most similar ones that are no neighbours are searched from.

    Returns:
        Motions found and their mutual information, the greatest first; none if the two have too little in common.
    """
    pair = _Pair(moving, fixed)
    with _one_thread():
        chosen: list[int] = []
        for number in np.argsort(pair.similarities(starts, _PIXELS_MM[0], _SEED))[::-1].tolist():
            if len(chosen) < _SEARCHED and all(abs(number - other) > 1 for other in chosen):
                chosen.append(number)
        searched = [pair.search(starts[number], _ALONG_LEG, _PIXELS_MM) for number in chosen]
        found = [motion for motion in searched if motion is not None]
        similarities = pair.similarities(found, _PIXELS_MM[-1], _OTHER_SEED)
    ranked = sorted(zip(found, similarities, strict=True), key=lambda each: each[1], reverse=True)
    return [(motion, similarity) for motion, similarity in ranked if similarity >= _LEAST_SIMILARITY]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit ITK to one thread: sums over several differ in the last bit, and a filter's own limit is ignored."""
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


class _Pair:
    """Two volumes in the frame of the fixed volume's slices, at any in-plane resolution."""

    def __init__(self, moving: Volume, fixed: Volume) -> None:
        self._frame = np.eye(4)
        self._frame[:3, :3], _ = polar(fixed.grid.ras_affine[:3, :3] / fixed.grid.ras_spacing_mm)
        self._frame[:3, 3] = _centre_mm(fixed.grid)
        self._into_frame = np.linalg.inv(self._frame)
        self._volumes = fixed, moving

    def start(self) -> Affine | None:
        """Return the shift within the slices (RAS mm) of greatest similarity on a lattice; None without overlap."""
        steps = (np.arange(-_LATTICE_STEPS, _LATTICE_STEPS + 1) * _LATTICE_MM).tolist()
        motions = []
        for x, y in sorted(product(steps, steps), key=lambda shift: float(np.hypot(*shift))):
            motion = np.eye(4)
            motion[:3, 3] = self._frame[:3, :3] @ (x, y, 0.0)
            motions.append(motion)
        similarities = self.similarities(motions, _PIXELS_MM[0], _SEED)
        return motions[int(np.argmax(similarities))] if max(similarities) > 0 else None

    def search(self, start: Affine, freedom: list[float], pixels_mm: tuple[float, ...]) -> Affine | None:
        """Return the motion (RAS mm) of greatest similarity near `start`; None if the overlap is lost."""
        transform = _transform(self._into_frame @ start @ self._frame)
        for pixel_mm in pixels_mm:
            fixed, moving = self._at(pixel_mm)
            method = _method(fixed, _SEED)
            method.SetOptimizerAsRegularStepGradientDescent(
                learningRate=pixel_mm / 2, minStep=0.01, numberOfIterations=_STEPS, gradientMagnitudeTolerance=1e-8
            )
            method.SetOptimizerScalesFromPhysicalShift()
            method.SetOptimizerWeights(freedom)
            method.SetInitialTransform(transform, inPlace=True)
            try:
                method.Execute(fixed, moving)
            except RuntimeError:  # ITK: hardly any voxel of one lies inside the other
                return None
        found = np.eye(4)
        found[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
        found[:3, 3] = transform.GetTranslation()
        return np.asarray(self._frame @ found @ self._into_frame)

    def similarities(self, motions: list[Affine], pixel_mm: float, seed: int) -> list[float]:
        """Compute the mutual information of each motion; 0 if the volumes hardly overlap."""
        fixed, moving = self._at(pixel_mm)
        method = _method(fixed, seed)
        found = []
        for motion in motions:
            method.SetInitialTransform(_transform(self._into_frame @ motion @ self._frame))
            try:
                found.append(-float(method.MetricEvaluate(fixed, moving)))
            except RuntimeError:
                found.append(0.0)
        return found

    def _at(self, pixel_mm: float) -> list[Any]:
        return [_picture(volume, self._into_frame, pixel_mm) for volume in self._volumes]


def _picture(volume: Volume, into_frame: Affine, pixel_mm: float) -> Any:
    """Convert a volume for ITK, with pixels averaged in the plane to about the given size."""
    affine, spacing_mm = into_frame @ volume.grid.ras_affine, volume.grid.ras_spacing_mm
    array = gaussian_filter1d(volume.array, _SMOOTHING_SLICES, axis=2)
    picture = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    picture.SetSpacing(spacing_mm)
    picture.SetOrigin(affine[:3, 3].tolist())
    picture.SetDirection((affine[:3, :3] / spacing_mm).ravel().tolist())
    # Averaging whole blocks: taking every second pixel moves the picture by half a pixel.
    return SimpleITK.BinShrink(picture, [max(1, int(pixel_mm / step + 0.1)) for step in spacing_mm[:2]] + [1])


def _method(fixed: Any, seed: int) -> Any:
    method = SimpleITK.ImageRegistrationMethod()
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, _VOXELS / fixed.GetNumberOfPixels()), seed)
    # ITK's gradient filter smooths by the largest spacing, the slice step: such gradients led away from the solution.
    method.MetricUseFixedImageGradientFilterOff()
    method.MetricUseMovingImageGradientFilterOff()
    return method


def _transform(motion: Affine) -> Any:
    transform = SimpleITK.Euler3DTransform()
    transform.SetMatrix(motion[:3, :3].ravel().tolist(), 1e-6)
    transform.SetTranslation(motion[:3, 3].tolist())
    return transform


def _centre_mm(grid: Grid) -> NDArray[Any]:
    middle = (np.array(grid.ras_shape) - 1) / 2
    return np.asarray(grid.ras_affine[:3, :3] @ middle + grid.ras_affine[:3, 3])


def _doubt(motion: Affine, grid: Grid, before: float, similarity: float) -> str:
    """Return the reason not to use the motion found; empty if there is none."""
    translation_mm = float(np.linalg.norm(_translation_mm(motion, grid)))
    rotation_deg = float(np.rad2deg(Rotation.from_matrix(motion[:3, :3]).magnitude()))
    if translation_mm > LARGEST_TRANSLATION_MM or rotation_deg > LARGEST_ROTATION_DEG:
        reason = f"{translation_mm:.1f} mm and {rotation_deg:.1f} degrees is more than a leg moves between two series"
    elif similarity < _LEAST_SIMILARITY:
        reason = "the two images have too little in common"
    elif similarity <= before:
        reason = "no motion makes the two images more alike"
    else:
        return ""
    return f"not registered, the headers' geometry is used: {reason}"


def _result(
    moving: Volume, fixed: Volume, found: Affine, used: Affine, similarity: tuple[float, float], doubt: str
) -> Registration:
    x, y, z = (float(angle) for angle in Rotation.from_matrix(found[:3, :3]).as_euler("xyz", degrees=True))
    right, front, up = (float(value) for value in _translation_mm(found, fixed.grid))
    shifted = f"registered: moved by {np.linalg.norm((right, front, up)):.1f} mm"
    return Registration(
        array=resample_onto(moving, fixed.grid, motion=used),
        rotation_deg=(x, y, z),
        translation_mm=(right, front, up),
        similarity_before=similarity[0],
        similarity_after=similarity[1],
        trusted=not doubt,
        note=doubt or (shifted if used is found else "registered: the headers' geometry fits already"),
        motion=used,
        moving=moving,
        fixed_grid=fixed.grid,
    )


def _translation_mm(motion: Affine, grid: Grid) -> NDArray[Any]:
    """Return the displacement in mm of the middle of a grid."""
    centre = _centre_mm(grid)
    return np.asarray(motion[:3, :3] @ centre + motion[:3, 3] - centre)
