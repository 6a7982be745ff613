"""`python -m nerveseg.evaluate`: evaluate a sweep (`run=`), any masks (`prediction=`), or raters (`study=`)."""

import sys
from functools import partial
from typing import Any

from nerveseg.launch.main import run_command


def evaluate(job: Any) -> None:
    """Evaluate the sweep, the masks or the raters that the configuration names."""
    from nerveseg.workflows import evaluate_masks

    evaluate_masks.evaluate(job)


main = partial(run_command, "evaluate", evaluate)
"""Function that runs the command on the words typed after it, and returns its exit code."""

if __name__ == "__main__":
    sys.exit(main())
