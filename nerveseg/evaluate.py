"""`python -m nerveseg.evaluate`: evaluate a sweep (`run=`), any masks (`prediction=`), or raters (`study=`)."""

import sys
from collections.abc import Sequence
from typing import Any

from nerveseg.launch.main import run_command


def evaluate(job: Any) -> None:
    """Evaluate the sweep, the masks or the raters that the configuration names."""
    from nerveseg.workflows import evaluate_masks

    evaluate_masks.evaluate(job)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return run_command("evaluate", evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
