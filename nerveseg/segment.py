"""`python -m nerveseg.segment`: masks of new scans in their own grids, numbers along the nerve, pictures to check."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from nerveseg.launch import command


def segment(config: Any) -> None:
    """Segment what the configuration names. A launcher may send this function to another process."""
    from nerveseg.launch.configuration import plain
    from nerveseg.launch.launching import is_cluster_job
    from nerveseg.launch.segmenting import segment_configured_scans
    from nerveseg.launch.sharding import collect_if_complete, shard_recorded

    options = plain(config)
    try:
        with shard_recorded(options):
            segment_configured_scans(options, command.console)
    finally:
        if is_cluster_job():
            collect_if_complete(options, command.console)


def _around(arguments: list[str], run_jobs: Callable[[], None]) -> None:
    from nerveseg.launch.archive import segment_and_collect

    segment_and_collect(arguments, run_jobs, command.console)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return command.run_command("segment", segment, argv, around=_around)


if __name__ == "__main__":
    sys.exit(main())
