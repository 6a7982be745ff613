"""`python -m nerveseg.segment`: masks of new scans in their own grids, numbers along the nerve, pictures to check."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from nerveseg.launch.main import console, run_command


def segment(config: Any) -> None:
    """Segment what the configuration names. A launcher may send this function to another process."""
    from nerveseg.launch.compose import to_plain_dict
    from nerveseg.launch.launchers import is_cluster_job
    from nerveseg.workflows.segment_scans import segment_configured_scans
    from nerveseg.workflows.shards import collect_if_complete, shard_recorded

    options = to_plain_dict(config)
    try:
        with shard_recorded(options):
            segment_configured_scans(options, console)
    finally:
        if is_cluster_job():
            collect_if_complete(options, console)


def _wrap_jobs(arguments: list[str], run_jobs: Callable[[], None]) -> None:
    from nerveseg.workflows.segment_shards import segment_and_collect

    segment_and_collect(arguments, run_jobs, console)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command("segment", segment, argv, wrap_jobs=_wrap_jobs)


if __name__ == "__main__":
    sys.exit(main())
