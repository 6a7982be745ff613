"""Images of nibabel as inputs: each becomes a temporary NIfTI file, which is read and checked as any file."""

from pathlib import Path
from typing import TypeAlias

import nibabel as nib
from nibabel.spatialimages import SpatialImage

from nerveseg.errors import ConfigurationError
from nerveseg.names import file_name

ImageSource: TypeAlias = str | Path | SpatialImage
"""Path of an image, or an image of nibabel in memory."""


def is_in_memory(image: object) -> bool:
    """Return true for an image of nibabel in memory, false for a path or nothing."""
    return isinstance(image, SpatialImage)


def as_file(image: ImageSource, folder: Path, name: str) -> Path:
    """Return the path of an image, which is written to the folder if it is in memory.

    Raises:
        ConfigurationError: The object is neither a path nor an image of nibabel, as an array without a geometry.
    """
    if isinstance(image, str | Path):
        return Path(image)
    if not isinstance(image, SpatialImage):
        raise ConfigurationError(
            "an image is a path or an image of nibabel, which holds its geometry",
            found=type(image).__name__,
            remedy="nibabel.Nifti1Image(array, affine)",
        )
    path = folder / f"{file_name(name)}.nii"
    nib.save(image if isinstance(image, nib.Nifti1Image) else nib.Nifti1Image.from_image(image), path)
    return path
