"""`python -m nerveseg.simulate`: write a synthetic study."""

import sys
from collections.abc import Sequence
from typing import Any

from nerveseg.launch.main import run_command


def simulate_study(job: Any) -> None:
    """Simulate the configured cohort."""
    from nerveseg.workflows.prepare_study import simulate

    simulate(job.config.cohort, job.config.output, job.config.workers)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return run_command("simulate", simulate_study, argv)


if __name__ == "__main__":
    sys.exit(main())
