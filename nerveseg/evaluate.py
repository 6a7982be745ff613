"""`python -m nerveseg.evaluate`: Table 1 of a finished sweep (`run=`), or of the raters alone (`study=`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerveseg.errors import ConfigurationError
from nerveseg.launch.command import console, run_command


def evaluate(config: Any) -> None:
    """Compare what the configuration names."""
    from nerveseg.launch.comparison import compare_cross_validation, compare_raters
    from nerveseg.launch.configuration import plain
    from nerveseg.launch.studies import open_configured_study
    from nerveseg.runs import find_cross_validations

    options = plain(config)
    if (options["run"] is None) == (options.get("study") is None):
        raise ConfigurationError(
            "evaluate takes run= (a finished sweep) or study= (raters alone)",
            found="neither" if options["run"] is None else "both",
            remedy="run=outputs/demo, or study=aorta",
        )
    if options["run"] is not None:
        for folder in find_cross_validations(Path(options["run"])):
            compare_cross_validation(folder, options["reference_table"], console)
        return
    study = open_configured_study(options["study"], console)
    default = Path(options["output_root"]) / f"raters-{study.description.name}" / "evaluation"
    output = Path(options["output"]) if options["output"] else default
    compare_raters(study, output, options["reference_table"], console)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command("evaluate", evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
