"""A real nerve on the grid of its file, and simulated ones."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import yaml

from nerveseg.data.volumes.grids import Grid
from nerveseg.phantom.cohort import CohortSpec, participants, simulate_subject

COHORTS = Path(__file__).parents[2] / "conf" / "cohort"


@pytest.fixture(scope="session")
def real_nerve(shared_data):
    """(mask in RAS order, grid, SimpleITK's image) of `sciatic_reference`."""
    image = SimpleITK.ReadImage(str(shared_data("sciatic_reference") / "EXAMPLE_GROUND_TRUTH.mha"))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    array = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0) > 0
    grid = Grid(array.shape, affine, None)
    return grid.to_ras(array), grid, image


@pytest.fixture(scope="session")
def simulated():
    """A subject of the demo or the tiny cohort by id; without images it takes a fraction of the time."""

    @cache
    def subject(cohort, identifier, images=False):
        options = yaml.safe_load((COHORTS / f"{cohort}.yaml").read_text(encoding="utf-8"))
        spec = CohortSpec(**{**options, "raters_only": not images, "fat_suppressed_mm": None})
        (row,) = (row for row in participants(spec) if row.id == identifier)
        return simulate_subject(spec, row)

    return subject
