"""`python -m nerveseg.check`: find every fault of a study at once, with subject, path and remedy."""

import sys
from collections.abc import Sequence
from typing import Any

from nerveseg.launch.main import run_command


def check(job: Any) -> None:
    """Check the configured study."""
    from nerveseg.workflows.check_study import check_configured_study

    check_configured_study(job.config)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return run_command("check", check, argv)


if __name__ == "__main__":
    sys.exit(main())
