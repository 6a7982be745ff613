"""Files of what people hold as DICOM: a folder or nested folders, a DICOMDIR, a zip, or one file of a series.

A folder stands for its own DICOM files or, if it holds none directly, for those of all folders below, as an export of
an archive (ST/SE/IMG) or a disk has them. A DICOMDIR stands for its folder, and a single file for the files of its
series in the same folder. A zip is unpacked to a temporary folder under names of our own, so that no name in it can
lead elsewhere.
"""

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from nerveseg.data.volumes.dicom_files import FIRST_GROUP_BYTES, has_dicom_start, is_dicom, may_be_image
from nerveseg.data.volumes.guard import check_regular_file, memory_limit_gib, unreadable_file_error
from nerveseg.errors import VolumeError

DIRECTORY = "DICOMDIR"
ZIP = ".zip"
MOST_FILES = 100_000
"""Largest number of files in a folder with those below it, or in a zip; more is a disk rather than an examination."""

ZIP_FACTOR = 4
"""Largest size of a zip's unpacked files, as a multiple of the limit of a volume in memory."""

ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)
"""Errors of the library for a zip that is damaged, encrypted or not readable."""

_unpacked: dict[tuple[Path, int, int], TemporaryDirectory[str]] = {}


def is_dicom_source(path: Path) -> bool:
    """Return true for a folder, a zip, a DICOMDIR or another DICOM file; raise `VolumeError` if it is not readable."""
    if os.path.isdir(path):
        return True
    return os.path.isfile(path) and (path.suffix.lower() == ZIP or is_dicom(path))


def source_files(path: Path) -> list[Path]:
    """Return the files, DICOM or not, among which the series of a folder, DICOMDIR, zip or single file lies.

    Raises:
        VolumeError: A folder or zip is not readable or too large.
    """
    if not os.path.isdir(path):
        if path.suffix.lower() == ZIP:
            return sorted(_unpack(path).iterdir())
        check_regular_file(path)
        return source_files(path.parent) if path.name.upper() == DIRECTORY else files_of(path.parent)
    return files_of(path) if holds_images(path) else files_below(path)


def holds_images(folder: Path, *, below: bool = False) -> bool:
    """Return true for a folder with files that can be DICOM images: directly in it, or in the folders below it."""
    return any(map(is_image_file, files_below(folder) if below else files_of(folder)))


def is_image_file(path: Path) -> bool:
    """Return true for a DICOM file that can hold an image: no DICOMDIR, report, segmentation or raw data."""
    return path.name.upper() != DIRECTORY and os.path.isfile(path) and may_be_image(path)


def is_single_file(path: Path) -> bool:
    """Return true for a DICOM file that stands for its series, of the sources of `is_dicom_source`."""
    return not os.path.isdir(path) and path.suffix.lower() != ZIP and path.name.upper() != DIRECTORY


def files_of(folder: Path) -> list[Path]:
    """Return the regular files of a folder, ordered by name."""
    try:
        return sorted(path for path in folder.iterdir() if os.path.isfile(path))
    except OSError as error:
        remedy = "correct the path, or the folder's permissions"
        raise VolumeError("a folder may be read", found=error.strerror, path=folder, remedy=remedy) from error


def files_below(folder: Path) -> list[Path]:
    """Return the regular files of all folders below a folder, without those behind links to folders."""
    found: list[Path] = []
    for place in _folders_below(folder):
        found += files_of(place)
        _check_number(len(found), folder)
    return found


def _folders_below(folder: Path) -> Iterator[Path]:
    for place, folders, _ in os.walk(folder):
        folders.sort()
        yield from (Path(place) / name for name in folders if not os.path.islink(os.path.join(place, name)))


def _check_number(files: int, path: Path) -> None:
    if files > MOST_FILES:
        rule, remedy = f"a scan lies among at most {MOST_FILES:,} files", "give the folder of the examination"
        raise VolumeError(rule, found="more", path=path, remedy=remedy)


def _unpack(path: Path) -> Path:
    """Return the temporary folder with the DICOM files of a zip, which stays until `remove_unpacked` or the end."""
    check_regular_file(path)
    key = path.resolve(), path.stat().st_mtime_ns, path.stat().st_size
    if key not in _unpacked:
        folder = TemporaryDirectory(prefix="nerveseg-", ignore_cleanup_errors=True)
        try:
            _extract(path, Path(folder.name))
        except BaseException:
            folder.cleanup()
            raise
        _unpacked[key] = folder
    return Path(_unpacked[key].name)


def remove_unpacked() -> None:
    """Delete the temporary copies of all zips; a zip that is read later is unpacked again."""
    while _unpacked:
        _unpacked.popitem()[1].cleanup()


def _extract(path: Path, folder: Path) -> None:
    """Write the DICOM files of a zip; other files, links and folders are left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            _check_number(len(members), path)
            _check_unpacked_size(sum(each.file_size for each in members), path, folder)
            for number, member in enumerate(members, 1):
                with archive.open(member) as packed:
                    start = packed.read(FIRST_GROUP_BYTES)
                    if has_dicom_start(start):
                        with (folder / f"{number:06d}").open("wb") as file:
                            file.write(start)
                            shutil.copyfileobj(packed, file)
    except ZIP_ERRORS as error:
        raise unreadable_file_error(path, error) from error


def is_dicom_zip(path: Path) -> bool:
    """Return true for a zip that holds a DICOM file; also for one that is not readable, whose error follows later."""
    if not os.path.isfile(path):
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            return len(members) > MOST_FILES or any(has_dicom_start(_start_of(archive, each)) for each in members)
    except ZIP_ERRORS:
        return True


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [each for each in archive.infolist() if not each.is_dir() and not _is_link(each)]


def _start_of(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as packed:
        return packed.read(FIRST_GROUP_BYTES)


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


def _check_unpacked_size(size: int, path: Path, folder: Path) -> None:
    limit_gib = min(ZIP_FACTOR * memory_limit_gib(), shutil.disk_usage(folder).free / 2**30)
    if size / 2**30 > limit_gib:
        rule = f"a zip unpacks to at most {limit_gib:.1f} GiB"
        remedy = "unpack it yourself, and give the folder of the series"
        raise VolumeError(rule, found=f"{size / 2**30:.1f} GiB", path=path, remedy=remedy)
