"""Atomic writes of files, which can be confined to a folder; their SHA-256; locks."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nerveseg.errors import BusyError, ConfigurationError, RunError
from nerveseg.names import csv_cell

if TYPE_CHECKING:
    import pandas as pd

try:
    import fcntl
except ImportError:  # Windows, where one process trains and compares
    fcntl = None  # type: ignore[assignment]


def wait_for_lock(file: Path) -> AbstractContextManager[None]:
    """Hold a lock on a file, after waiting for the process that holds it.

    The lock file exists only while the lock is held. The lock ends with its process; the file that a killed process
    leaves is reused by the next.
    """
    return _locked(file, lambda stream: fcntl.flock(stream, fcntl.LOCK_EX))


def exclusive_lock(file: Path, rule: str) -> AbstractContextManager[None]:
    """Hold a lock on a file, which exists only meanwhile; raise `BusyError` of a rule if another process holds it.

    Child processes do not inherit the lock, so data loaders that outlive a killed process do not hold it.
    """

    def acquire(stream: TextIO) -> None:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise BusyError(
                rule,
                found="another process holds the lock",
                path=file.parent,
                remedy="wait for that process or end it; the same command then continues its work",
            ) from error

    return _locked(file, acquire)


@contextmanager
def _locked(file: Path, acquire: Callable[[TextIO], None]) -> Iterator[None]:
    """Create and lock a file, and remove it at the end."""
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with file.open("a") as stream:
            if fcntl is not None:
                acquire(stream)
            if not _is_at(file, stream.fileno()):
                continue  # the previous holder removed it; another process may have created it again
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
            return


def _is_at(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def explain_system_error(error: OSError) -> RunError:
    """Return the error of a file, a folder or a disk as a mistake that the user can correct; raise any other again."""
    if isinstance(error, ConnectionError) or (error.filename is None and error.errno not in DISK_FULL):
        raise error
    return RunError(
        "files and folders can be read and written, and the disk has room",
        found=error.strerror or type(error).__name__,
        path=None if error.filename is None else os.fsdecode(error.filename),
        remedy="check this path, its permissions and the space on its disk; then give the same command",
    )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_OUTPUT: ContextVar[Path | None] = ContextVar("output", default=None)  # folder outside of which nothing is written


@contextmanager
def writing_below(folder: Path) -> Iterator[None]:
    """Confine the writes of the enclosed block to a folder, whatever names, links and `..` lead elsewhere."""
    token = _OUTPUT.set(Path(os.path.realpath(folder)))  # unlike resolve, passes over a loop of links
    try:
        yield
    finally:
        _OUTPUT.reset(token)


def check_below_output(path: Path) -> None:
    """Raise `RunError` if a file that is about to be written would lie outside the folder of the output."""
    root, parent = _OUTPUT.get(), Path(os.path.realpath(path.parent))
    if root is not None and not parent.is_relative_to(root):
        raise RunError(
            "results are written below the output",
            found=f"a path that leads to {parent}",
            path=path,
            remedy="remove this link, or give another output",
        )


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to `path` on success, remove it on failure.

    File and folder are synced to the disk before and after the renaming, so a power cut leaves the old file or the new
    one. The file gets the user's usual permissions (0666 less the umask), even from a writer that creates it as 0600,
    as safetensors does.

    Raises:
        RunError: The path lies outside the folder to which `writing_below` confines.
    """
    check_below_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_sibling(path)
    try:
        temporary.touch()
        permissions = stat.S_IMODE(temporary.stat().st_mode)  # reading the umask itself would change it for all threads
        temporary.unlink()
        yield temporary
        temporary.chmod(permissions)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_sibling(path: Path) -> Path:
    """Return the path at which this process writes the replacement of a file or a folder."""
    return path.with_name(f".{os.getpid()}.{path.name}")


def replace_folder(folder: Path, new: Path) -> None:
    """Rename a new folder to that of an earlier one, if any, which is removed after that and stays on an error."""
    former = temporary_sibling(folder.with_name(f"{folder.name}.former"))
    if folder.exists():
        folder.rename(former)
    try:
        new.rename(folder)
    except BaseException:
        if former.exists() and not folder.exists():
            former.rename(folder)
        raise
    shutil.rmtree(former, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files and folders of killed processes below a folder that no process is writing to."""
    for path in list(folder.rglob(".[0-9]*.*")):
        if not path.name.split(".")[1].isdecimal():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Sync a folder's list of names to the disk, where the file system supports it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8; bytes of a file's name that are no UTF-8 are written as escapes."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path: Path, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a table as CSV in one piece: no index, Unix line ends, full precision by default, no formula in a cell."""
    texts = table.select_dtypes(exclude="number").columns
    table = table.assign(**{name: table[name].map(csv_cell) for name in texts})
    write_text(path, table.to_csv(index=False, lineterminator="\n", float_format=float_format))


def check_working_directory() -> None:
    """Raise `RunError` if the working directory was removed: no relative path leads anywhere then."""
    try:
        os.getcwd()
    except OSError as error:
        raise RunError("the working directory exists", found=error.strerror, remedy="cd to a folder") from error


def check_writable_folder(folder: Path, option: str) -> None:
    """Raise `ConfigurationError` where the folder that an option names cannot be made or written to."""
    existing = next(path for path in (folder, *Path(os.path.realpath(folder)).parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryDirectory(dir=existing, prefix=".nerveseg-"):  # root may write, but not below /proc
            return
    except OSError as error:
        raise ConfigurationError(
            f"{option} names a folder that can be written to",
            found=(error.strerror or str(error)) if existing.is_dir() else "a file",
            path=existing,
            remedy=f"{option}=<another folder>",
        ) from error
