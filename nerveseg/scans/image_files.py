"""Lesion, channels and maps of a scan as NIfTI files on its grid, for other programs.

lesion.nii.gz (.mha, .nrrd as the input)   the abnormal nerve, if one was looked for
channel-<name>.nii.gz                      a further channel or map as it was measured, registered or resampled; NaN
                                           outside its field of view; of a DICOM scan the image itself, too
"""

from pathlib import Path

from nerveseg.data.volumes.volume import write_image, write_mask
from nerveseg.scans.measuring import MeasuredScan
from nerveseg.scans.own_files import record
from nerveseg.types import Image

LESION_FILE = "lesion"  # name, without suffix, of the file of the lesion
CHANNEL_FILE = "channel-"  # start of the names of files of channels and maps


def write_lesion(folder: Path, scan: MeasuredScan, suffix: str, notice: str) -> None:
    """Write the mask of the lesion, if one was looked for, also if none was found."""
    if scan.lesion is not None:
        write_mask(folder / f"{LESION_FILE}{suffix}", scan.lesion, scan.scan.grid, notice)
        record(folder, f"{LESION_FILE}{suffix}")


def channel_files(scan: MeasuredScan) -> dict[str, str]:
    """Return the name of the file of each further channel and map, and of the image of a DICOM scan."""
    return {name: f"{CHANNEL_FILE}{name}.nii.gz" for name in _arrays(scan)}


def write_channels(folder: Path, scan: MeasuredScan) -> None:
    """Write the further channels and maps of a scan as float32, in the order of the axes of the scan's file."""
    arrays = _arrays(scan)
    for name, file in channel_files(scan).items():
        write_image(folder / file, arrays[name], scan.scan.grid, "on the grid of the scan, by nerveseg")
        record(folder, file)


def _arrays(scan: MeasuredScan) -> dict[str, Image]:
    image = {scan.channel: scan.scan.image.array} if scan.scan.image.files else {}
    return image | scan.scan.channels | scan.scan.maps
