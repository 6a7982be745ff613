"""`python -m nerveseg.measure`: numbers, flags and page of a mask that a person drew or corrected."""

import sys
from functools import partial
from typing import Any

from nerveseg.launch.main import run_command


def measure(job: Any) -> None:
    """Measure the mask that the configuration names, or the corrected masks of a folder of folders of results."""
    from pathlib import Path

    from nerveseg.workflows.measure_folder import folders_of_results, measure_folder
    from nerveseg.workflows.measure_mask import measure_configured_mask

    root = Path(job.config.input or "").expanduser()
    folders = folders_of_results(root) if job.config.input else []
    if folders:
        measure_folder(root, folders, job.config, job.overrides)
    else:
        measure_configured_mask(job.config, job.overrides)


main = partial(run_command, "measure", measure)
"""Function that runs the command on the words typed after it, and returns its exit code."""

if __name__ == "__main__":
    sys.exit(main())
