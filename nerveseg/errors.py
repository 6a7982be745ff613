"""Errors are the product's voice: the rule, what was found, where, and what to do about it."""

from __future__ import annotations

from pathlib import Path


class NervesegError(Exception):
    """A mistake in the input that the user can mend; the command line prints it as one line.

    Args:
        rule: What has to hold, as a full statement.
        found: What was found instead.
        subject: The participant concerned, without the `sub-` prefix.
        path: The file or folder concerned.
        remedy: What to do about it.
    """

    def __init__(
        self,
        rule: str,
        *,
        found: object = None,
        subject: str | None = None,
        path: Path | str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.rule = rule
        self.found = found
        self.subject = subject
        self.path = path
        self.remedy = remedy
        super().__init__(rule)

    def __str__(self) -> str:
        """One line: rule, value found, subject, path, remedy."""
        parts = [self.rule]
        if self.found is not None:
            parts.append(f"found: {self.found}")
        if self.subject is not None:
            parts.append(f"subject: {self.subject}")
        if self.path is not None:
            parts.append(f"path: {self.path}")
        if self.remedy is not None:
            parts.append(f"remedy: {self.remedy}")
        return "; ".join(part.replace("\n", " ").rstrip(".;") for part in parts)

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the keyword arguments when the error crosses a process boundary."""
        return (_rebuild, (type(self), self.rule, self.found, self.subject, self.path, self.remedy))


def _rebuild(
    kind: type[NervesegError],
    rule: str,
    found: object,
    subject: str | None,
    path: Path | str | None,
    remedy: str | None,
) -> NervesegError:
    return kind(rule, found=found, subject=subject, path=path, remedy=remedy)


class ConfigurationError(NervesegError):
    """An option or its value is not one nerveseg knows."""


class StudyError(NervesegError):
    """A study folder, its participants or its files are not as its description says."""


class VolumeError(NervesegError):
    """A file is not a readable three-dimensional volume or mask."""


class GeometryError(NervesegError):
    """Two grids that must be the same are not, or one grid contradicts itself."""


class FoldError(NervesegError):
    """The cohort cannot be split into the folds that were asked for."""


class BundleError(NervesegError):
    """A model bundle is incomplete, altered, or of an unknown format or architecture."""


class RunError(NervesegError):
    """A run's folder does not hold what the command needs, or holds another run."""


class StoppedBySignal(KeyboardInterrupt):
    """A signal that asks the process to end.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
