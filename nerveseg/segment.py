"""`python -m nerveseg.segment`: masks of new scans in their own grids, numbers along the nerve, pictures to check."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from nerveseg.launch.command import console, run_command


def segment(config: Any) -> None:
    """Segment what the configuration names."""
    from nerveseg.launch.configuration import plain
    from nerveseg.launch.segmenting import segment_configured_scans

    segment_configured_scans(plain(config), console)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command("segment", segment, argv)


if __name__ == "__main__":
    sys.exit(main())
