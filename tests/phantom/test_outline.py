import itertools

import numpy as np
import pytest

from nerveseg.evaluation.metrics.pair_scores import dice
from nerveseg.phantom.acquisition import draw_acquisition
from nerveseg.phantom.cohort import participants, simulate_subject
from nerveseg.phantom.outline import outline_of
from nerveseg.phantom.population import draw_grid, draw_person


def outline(spec, number: int = 0):
    row = participants(spec)[number]
    return outline_of(draw_person(spec, row), draw_grid(spec, row), draw_acquisition(spec, row))


def at_the_border(what):
    return float(what.uncertainty[np.abs(what.distance_mm) < 0.7].mean())


@pytest.fixture(scope="module")
def hidden(demo):
    """Nerves nearly as bright as the fat around them."""
    return demo.model_copy(update={"nerve_muscle_contrast": 3.5})


def test_a_nerve_as_bright_as_its_fat_is_uncertain(demo, hidden):
    for number in range(3):
        assert at_the_border(outline(hidden, number)) > 1.15 * at_the_border(outline(demo, number))


def test_raters_agree_less_where_the_picture_shows_less(demo, hidden):
    agreement = {}
    for name, spec in (("clear", demo), ("hidden", hidden)):
        quick = spec.model_copy(update={"raters_only": True})
        subjects = [simulate_subject(quick, row).raters.values() for row in participants(quick)[:6]]
        agreement[name] = np.mean([dice(*pair) for masks in subjects for pair in itertools.combinations(masks, 2)])
    assert agreement["hidden"] < agreement["clear"] - 0.01


@pytest.mark.slow
def test_at_one_distance_from_the_outline_raters_disagree_more_where_it_is_faint(demo):
    quick = demo.model_copy(update={"raters_only": True, "volunteers": 12})
    columns = []
    for number, row in enumerate(participants(quick)[:12]):
        what = outline(quick, number)
        drawn_by = sum(mask.astype(int) for mask in simulate_subject(quick, row).raters.values())[what.box]
        border = np.abs(what.distance_mm) < 1.0
        columns.append([what.distance_mm[border], what.uncertainty[border], drawn_by[border] % 3 > 0])
    distance_mm, uncertainty, disputed = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    excess = []
    for low in np.arange(-1.0, 1.0, 0.1):
        here = (distance_mm >= low) & (distance_mm < low + 0.1)
        faint = uncertainty > np.median(uncertainty[here])
        excess.append(disputed[here & faint].mean() - disputed[here & ~faint].mean())
    assert np.mean(excess) > 0.01


def test_the_box_holds_the_whole_nerve_and_the_whole_array_is_zero_outside(demo):
    what = outline(demo, 7)
    assert what.truth.sum() == (what.distance_mm < 0).sum() > 0
    edge = what.distance_mm[[0, -1]].min(), what.distance_mm[:, [0, -1]].min()
    on_the_edge_of_the_scan = what.box[0].start == 0 or what.box[1].start == 0 or what.box[0].stop == demo.matrix[0]
    assert min(edge) > 2.0 or on_the_edge_of_the_scan
