"""`python -m nerveseg.evaluate`: judge a sweep (`run=`), masks of any origin (`prediction=`), or raters (`study=`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerveseg.errors import ConfigurationError
from nerveseg.launch.command import console, run_command


def evaluate(config: Any) -> None:
    """Compare what the configuration names."""
    from nerveseg.launch.comparison import compare_cross_validation, compare_predictions, compare_raters, presentation
    from nerveseg.launch.configuration import plain
    from nerveseg.launch.studies import open_configured_study
    from nerveseg.runs import find_cross_validations

    options = plain(config)
    shown = presentation(options, console)
    if (options["run"] is None) == (options.get("study") is None):
        raise ConfigurationError(
            "evaluate takes run= (a finished sweep) or study= (masks of any origin, or raters alone)",
            found="neither" if options["run"] is None else "both",
            remedy="run=outputs/demo, or study=aorta, or study=... prediction=<folder>",
        )
    if options["run"] is not None:
        for folder in find_cross_validations(Path(options["run"])):
            compare_cross_validation(folder, shown)
        return
    study = open_configured_study(options["study"], console)
    what = "raters" if options["prediction"] is None else "predictions"
    default = Path(options["output_root"]) / f"{what}-{study.description.name}" / "evaluation"
    output = Path(options["output"]) if options["output"] else default
    if options["prediction"] is None:
        compare_raters(study, output, shown)
    else:
        skip = options["missing_predictions"] == "skip"
        foreground = tuple(options["prediction_foreground"] or ()) or None
        compare_predictions(study, options["prediction"], foreground, skip, output, shown)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command("evaluate", evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
