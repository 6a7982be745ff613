"""Synthetic studies of the cohorts in conf/cohort/."""

from pathlib import Path

import yaml

from nerveseg.phantom.cohort import CohortSpec, write_cohort

COHORTS = Path(__file__).parents[2] / "conf" / "cohort"


def cohort_spec(name):
    """Return the options of `conf/cohort/<name>.yaml`."""
    return CohortSpec(**yaml.safe_load((COHORTS / f"{name}.yaml").read_text(encoding="utf-8")))


def write_study(name, root, workers=1):
    """Simulate a cohort into a folder, and return the folder."""
    write_cohort(cohort_spec(name), root, workers)
    return root
