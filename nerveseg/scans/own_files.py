"""Files of results that nerveseg wrote itself, and those that a person changed or added, which are never deleted.

A mask or another volume is nerveseg's own if it has the hash with which nerveseg wrote it. The hashes stand in the
summary (`written`) and, while a result is being written, in `.unfinished`, a line for each file as soon as it is there.
Any other file in whose place nerveseg writes or deletes is moved to `replaced-1`, `replaced-2`, ... in the folder of
the results, and a line says so. Tables, pictures and pages are made anew.
"""

from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import TypeAlias

from nerveseg.console import say
from nerveseg.files import file_sha256, write_text

UNFINISHED = ".unfinished"
REPLACED = "replaced-"  # start of the names of the folders of a person's files that gave way
TEXT = (".csv", ".ctbl", ".html", ".jpg", ".json", ".png", ".txt")  # suffixes of files that are made anew
HEAD = "nerveseg is writing here; the same command continues"

Written: TypeAlias = set[tuple[str, str]]
"""Name and SHA-256 of each file that nerveseg wrote; a name that was written again has several."""


def mark(folder: Path, own: Written) -> None:
    """Mark a folder as being written, with the hashes of the files of earlier results."""
    lines = [f"{sha256}  {name}" for name, sha256 in sorted(own)]
    write_text(folder / UNFINISHED, "\n".join([HEAD, *lines, ""]))


def record(folder: Path, *names: str) -> dict[str, str]:
    """Add files that nerveseg has just written to those of a marked folder; return the SHA-256 of each by its name."""
    hashes = {name: file_sha256(folder / name) for name in names}
    with (folder / UNFINISHED).open("a", encoding="utf-8") as file:
        file.writelines(f"{sha256}  {name}\n" for name, sha256 in hashes.items())
    return hashes


def recorded(folder: Path) -> Written:
    """Return what a marked folder records; nothing for another, and for one that an earlier version marked."""
    marker = folder / UNFINISHED
    lines = marker.read_text(encoding="utf-8").splitlines()[1:] if marker.is_file() else []
    return {(name, sha256) for sha256, _, name in (line.partition("  ") for line in lines) if name}


def clear(folder: Path, names: Iterable[str], own: Written) -> None:
    """Delete files of results, so that others can take their place; what is a person's is moved aside."""
    changed: list[Path] = []
    for path in (folder / name for name in dict.fromkeys(names)):
        if path.is_file() and (path.name.endswith(TEXT) or (path.name, file_sha256(path)) in own):
            path.unlink()
        elif path.exists():
            changed.append(path)
    move_aside(changed, folder)


def move_aside(paths: Sequence[Path], folder: Path) -> None:
    """Move files of a person to the next free `replaced-<number>` of a folder, and say so."""
    if not paths:
        return
    aside = next(each for n in count(1) if not (each := folder / f"{REPLACED}{n}").exists())
    aside.mkdir(parents=True)
    for path in paths:
        path.rename(aside / path.name)
        say(f"{path} was not as nerveseg wrote it, and is kept in {aside}")
