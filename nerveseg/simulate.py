"""`python -m nerveseg.simulate`: write a synthetic study."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerveseg.launch.main import console, run_command


def simulate_study(config: Any) -> None:
    """Simulate the configured cohort."""
    from nerveseg.launch.compose import parse_section, require_section, to_plain_dict
    from nerveseg.workflows.config import SimulateOptions
    from nerveseg.workflows.prepare_study import simulate

    values = to_plain_dict(config)
    options = parse_section(SimulateOptions, {key: values[key] for key in SimulateOptions.model_fields}, "")
    simulate(require_section(values, "cohort"), Path(options.output), options.workers, console)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command("simulate", simulate_study, argv)


if __name__ == "__main__":
    sys.exit(main())
