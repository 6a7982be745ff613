"""`python -m nerveseg.simulate`: write a synthetic study."""

import sys
from functools import partial
from typing import Any

from nerveseg.launch.main import run_command


def simulate_study(job: Any) -> None:
    """Simulate the configured cohort."""
    from nerveseg.workflows.prepare_study import simulate

    simulate(job.config.cohort, job.config.output, job.config.workers)


main = partial(run_command, "simulate", simulate_study)
"""Function that runs the command on the words typed after it, and returns its exit code."""

if __name__ == "__main__":
    sys.exit(main())
