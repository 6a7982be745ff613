"""NIfTI files in any orientation, written by code."""

import itertools
import math
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from nerveseg.data.volumes.guard import unreadable_file_error

DAMAGED = unreadable_file_error(Path(), "").rule
SPACING_MM = (0.52, 0.75, 4.4)
SHAPE = (5, 6, 7)
CODES = [
    "".join(letters) for axes in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*axes)
]


def straight(spacing=SPACING_MM):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-60.0, 12.0, 300.0)
    return affine


def oblique(spacing=SPACING_MM, degrees=(14, -9, 21)):
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        first, second = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        rotation = rotation @ turn
    affine = straight(spacing)
    affine[:3, :3] = rotation @ np.diag(spacing)
    return affine


def voxels(shape=SHAPE):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def image_in(codes, affine=None, array=None):
    """The same physical picture stored in another axis order."""
    array = voxels() if array is None else array
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    turned = nib.orientations.apply_orientation(array, turn)
    affine = (straight() if affine is None else affine) @ inv_ornt_aff(turn, array.shape)
    return nib.Nifti1Image(turned, affine)


def save(image, path):
    nib.save(image, path)
    return path


def nerve(shape=SHAPE):
    mask = np.zeros(shape, dtype=bool)
    mask[0, 1, 2] = mask[1:4, 2:4, 3:6] = True
    return mask
