"""`python -m nerveseg.compare`: change of a nerve between two dates, from two folders of results."""

import sys
from functools import partial
from typing import Any

from nerveseg.launch.main import run_command


def compare(job: Any) -> None:
    """Compare the two results that the configuration names."""
    from nerveseg.workflows.compare_results import compare_configured_results

    compare_configured_results(job.config)


main = partial(run_command, "compare", compare)
"""Function that runs the command on the words typed after it, and returns its exit code."""

if __name__ == "__main__":
    sys.exit(main())
