"""`python -m nerveseg.evaluate`: judge a sweep (`run=`), masks of any origin (`prediction=`), or raters (`study=`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerveseg.errors import ConfigurationError
from nerveseg.launch.main import console, run_command


def evaluate(config: Any) -> None:
    """Compare what the configuration names."""
    from nerveseg.launch.compose import job_overrides, parse_section, to_plain_dict
    from nerveseg.runs import find_cross_validations
    from nerveseg.workflows.analyse_scores import parse_evaluation_options
    from nerveseg.workflows.evaluate_masks import (
        PredictedMasks,
        compare_cross_validation,
        compare_predictions,
        compare_raters,
        options_of_run,
    )
    from nerveseg.workflows.model_selection import show_settings
    from nerveseg.workflows.prepare_study import open_configured_study

    options = to_plain_dict(config)
    if (options["run"] is None) == (options.get("study") is None):
        raise ConfigurationError(
            "evaluate takes run= (a finished sweep) or study= (masks of any origin, or raters alone)",
            found="neither" if options["run"] is None else "both",
            remedy="run=outputs/demo, or study=aorta, or study=... prediction=<folder>",
        )
    if options["run"] is not None and not (options["prediction"] is options["output"] is None):
        raise ConfigurationError(
            "a run has its own masks (no prediction=) and its own folder for tables (no output=)",
            found="both",
            remedy="study=<name> prediction=<folder> output=<folder>, or run=<folder> alone",
        )
    if options["run"] is not None:
        named = [override.lstrip("+") for override in job_overrides()]
        keys = [key for key in ("margins", "reference_table", "report") if any(name.startswith(key) for name in named)]
        folders = find_cross_validations(Path(options["run"]))
        for folder in folders:
            shown = options_of_run(folder, {key: options[key] for key in keys}, console)
            compare_cross_validation(folder, shown)
        if len(folders) > 1:
            show_settings(Path(options["run"]), console)
        return
    shown = parse_evaluation_options(options, console)
    masks = None
    if options["prediction"] is not None:
        masks = parse_section(PredictedMasks, {key: options[key] for key in PredictedMasks.model_fields}, "")
    study = open_configured_study(options["study"], console)
    what = "raters" if masks is None else "predictions"
    default = Path(options["output_root"]) / f"{what}-{study.description.name}" / "evaluation"
    output = Path(options["output"]) if options["output"] else default
    if masks is None:
        compare_raters(study, output, shown)
    else:
        compare_predictions(study, masks, output, shown)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command("evaluate", evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
