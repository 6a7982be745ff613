"""`python -m nerveseg.measure`: numbers, flags and page of a mask that a person drew or corrected."""

import sys
from functools import partial
from typing import Any

from nerveseg.launch.main import run_command


def measure(job: Any) -> None:
    """Measure the mask that the configuration names."""
    from nerveseg.workflows.measure_mask import measure_configured_mask

    measure_configured_mask(job.config, job.overrides)


main = partial(run_command, "measure", measure)
"""Function that runs the command on the words typed after it, and returns its exit code."""

if __name__ == "__main__":
    sys.exit(main())
