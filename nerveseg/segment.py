"""`python -m nerveseg.segment`: write masks of new scans in their own grids, numbers and pictures to check."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from nerveseg.launch.launchers import is_cluster_job
from nerveseg.launch.main import run_command


def segment(job: Any) -> None:
    """Segment the scans that the configuration names; a launcher may call this function in another process."""
    from nerveseg.workflows.segment_scans import collect_if_complete, segment_recorded

    try:
        segment_recorded(job.config)
    finally:
        if is_cluster_job():
            collect_if_complete(job.config)


def _wrap_jobs(jobs: Sequence[Any], run_jobs: Callable[[], None], is_sweep: bool) -> None:
    from nerveseg.workflows.segment_scans import segment_and_collect

    segment_and_collect(jobs, run_jobs, is_sweep)


main = partial(run_command, "segment", segment, wrap_jobs=_wrap_jobs)
"""Function that runs the command on the words typed after it, and returns its exit code."""

if __name__ == "__main__":
    sys.exit(main())
