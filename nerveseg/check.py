"""`python -m nerveseg.check`: find every fault of a study at once, with subject, path and remedy."""

import sys
from functools import partial
from typing import Any

from nerveseg.launch.main import run_command


def check(job: Any) -> None:
    """Check the configured study."""
    from nerveseg.workflows.check_study import check_configured_study

    check_configured_study(job.config)


main = partial(run_command, "check", check)
"""Function that runs the command on the words typed after it, and returns its exit code."""

if __name__ == "__main__":
    sys.exit(main())
