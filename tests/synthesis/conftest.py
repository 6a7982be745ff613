"""Thighs of the synthesis in a bank of planes that are all alike, so that tests take no time to make one."""

import numpy as np
import pytest

from nerveseg.phantom.anatomy import cut
from nerveseg.phantom.variety import draw_varied_thigh
from nerveseg.synthesis.anatomies import LEVELS_MM, Bank, axes_mm, tissues_of


@pytest.fixture(scope="session")
def thigh():
    return draw_varied_thigh(np.random.default_rng(4))


@pytest.fixture(scope="session")
def section(thigh):
    return cut(thigh, *axes_mm(), 250.0)


@pytest.fixture(scope="session")
def bank(thigh, section, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    plane = tissues_of(section, thigh.fat_bed_mm)
    np.save(folder / "00000.npy", np.repeat(plane[None], len(LEVELS_MM), axis=0))
    return Bank(folder, 1)
