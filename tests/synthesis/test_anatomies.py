import numpy as np
import pytest

from nerveseg.phantom.anatomy import cut
from nerveseg.phantom.structures import NERVE, layers_of, structures_in
from nerveseg.phantom.variety import draw_varied_thigh
from nerveseg.synthesis import anatomies
from nerveseg.synthesis.anatomies import NERVOUS, STEP_MM, STRUCTURES, axes_mm, prepare_bank, tissues_of


def test_tissues_are_the_structures_of_the_phantom(thigh, section):
    expected = structures_in(layers_of(section, thigh.fat_bed_mm))
    expected[section.nerve < 0] = NERVE
    found = STRUCTURES[tissues_of(section, thigh.fat_bed_mm)]
    assert (found != expected).mean() < 0.001, "skin is background in both, but for the border"


@pytest.mark.parametrize("person", range(5))
def test_the_nerve_has_the_area_that_was_drawn(person):
    thigh = draw_varied_thigh(np.random.default_rng(person))
    level_mm = thigh.nerve.split_mm + 60.0
    pixels = (tissues_of(cut(thigh, *axes_mm(), level_mm), thigh.fat_bed_mm) == NERVOUS).sum()
    assert pixels * STEP_MM**2 == pytest.approx(thigh.nerve.area_mm2, rel=0.12)
    assert 20 <= thigh.nerve.area_mm2 <= 110


def test_a_bank_is_a_function_of_its_seed_and_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(anatomies, "LEVELS_MM", np.array([200.0]))
    first, again = (prepare_bank(tmp_path / name, 2, seed=7) for name in ("a", "b"))
    np.testing.assert_array_equal(first.planes(1), again.planes(1))
    assert (first.planes(0) != first.planes(1)).mean() > 0.05
    monkeypatch.setattr(anatomies, "label_stack", pytest.fail)
    assert prepare_bank(tmp_path / "a", 2, seed=7) == first


def test_no_thigh_is_cut_at_the_border():
    axes, ends = axes_mm(), []
    for person in range(40):
        thigh = draw_varied_thigh(np.random.default_rng([1, person]))
        skin = cut(thigh, axes[0][[0, 1, -2, -1]], axes[1], 418.0).skin
        ends.append(
            min(skin[[0, -1]].min(), cut(thigh, axes[0], axes[1][[0, 1, -2, -1]], 418.0).skin[:, [0, -1]].min())
        )
    assert min(ends) > 0
