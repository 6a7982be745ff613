"""Family of errors: each names the rule, the value found, subject, path and remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nerveseg.names import console_line


class NervesegError(Exception):
    """Mistake in the input that the user can correct; the command line prints it as one line.

    Args:
        rule: Rule that was expected to hold, as a full statement: "the study's folder exists".
        found: Value found instead.
        subject: Id of the participant, without the `sub-` prefix.
        path: File or folder that the error is about.
        remedy: Action that corrects the mistake.
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
        """Return one line: the rule that was expected to hold, the value found, subject, path, remedy."""
        parts = {"expected": self.rule} | {name: getattr(self, name) for name in ("found", "subject", "path", "remedy")}
        texts = (f"{name}: {value}" for name, value in parts.items() if value is not None)
        return "; ".join(console_line(text).rstrip(".;") for text in texts)


@contextmanager
def errors_about(path: Path | str, subject: str | None = None) -> Iterator[None]:
    """Add path and subject to errors of the enclosed block that do not name their own."""
    try:
        yield
    except NervesegError as error:
        error.path = path if error.path is None else error.path
        error.subject = subject if error.subject is None else error.subject
        raise


class ConfigurationError(NervesegError):
    """Option, or value of an option, that nerveseg does not know."""


class StudyError(NervesegError):
    """Study folder whose participants or files differ from its configured layout."""


class VolumeError(NervesegError):
    """File that is not a readable three-dimensional volume or mask."""


class GeometryError(NervesegError):
    """Grids that differ and must be equal, or a grid that contradicts itself."""


class FoldError(NervesegError):
    """Cohort that cannot be split into the configured folds."""


class BundleError(NervesegError):
    """Model bundle that is incomplete, altered, or of an unknown format or architecture."""


class RunError(NervesegError):
    """Run folder that lacks files the command needs, or holds another run."""


class BusyError(RunError):
    """Folder that another process works on."""


class TrainingError(NervesegError):
    """Training that cannot go on: its loss or its weights are not finite."""


class StoppedBySignal(KeyboardInterrupt):
    """Request by a signal to end the process.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
