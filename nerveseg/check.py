"""`python -m nerveseg.check`: is this study fit to use? Every fault at once, with subject, path and remedy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from nerveseg.launch.main import console, run_command


def check(config: Any) -> None:
    """Check the configured study."""
    from nerveseg.launch.compose import to_plain_dict
    from nerveseg.workflows.check_study_files import check_configured_study

    check_configured_study(to_plain_dict(config), console)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command("check", check, argv)


if __name__ == "__main__":
    sys.exit(main())
