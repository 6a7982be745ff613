"""Figures of single subjects: which are chosen, where they are cut, why the masks differ, how a nerve is seen."""

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from nerveseg.biomarkers.course import follow_nerves
from nerveseg.biomarkers.profile import nerve_profile
from nerveseg.biomarkers.signals import Signals
from nerveseg.data.legs import Leg
from nerveseg.reporting.figures.cases import (
    cases_figure,
    chosen_cases,
    cuts_of,
    distance_figure,
    outline,
    painted,
    show_cut,
)
from nerveseg.reporting.figures.causes import explain
from nerveseg.reporting.figures.profiles import profiles_figure
from nerveseg.reporting.figures.solid import FRONT_DEG, SIDE_DEG, Painted, draw_solids
from nerveseg.reporting.overlay import overlay
from nerveseg.reporting.style import save_figure
from nerveseg.reporting.subject_view import SubjectView
from nerveseg.reporting.surfaces import surface_of
from tests.helpers.example_study import names, scores_of

SPACING_MM = (1.0, 1.0, 5.0)
SHAPE = (48, 40, 12)
NUMBERS = list(range(11, -1, -1))
X, Y, Z = np.indices(SHAPE)


def tube(radius=4.0, x=20, y=20, slices=slice(None)):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[..., slices] = (np.hypot(X - x, Y - y) <= radius)[..., slices]
    return mask


def case(automatic, reference=None, name="P01"):
    image = np.random.default_rng(0).normal(100, 10, SHAPE).astype(np.float32)
    return view_of(image, automatic, tube() if reference is None else reference, NUMBERS, name=name)


def view_of(image, automatic, reference, numbers, profiles=None, name="P01"):
    return SubjectView(
        name=name, title="", warning="", image=image, spacing_mm=SPACING_MM, slice_numbers=numbers,
        masks={"Auto": automatic, "GT": reference}, profiles=profiles or {},
    )  # fmt: skip


def drawn(figure):
    """Without the layout, which takes the time."""
    figure.set_layout_engine("none")
    figure.draw_without_rendering()


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]


def scores(rows):
    """Rows of scores.csv from subject: (dice, hd95_mm)."""
    people = [(name, "patient") for name in rows]
    table = scores_of(people, automatic=True)
    for subject, known in rows.items():
        for metric, value in zip(("dice", "hd95_mm"), known, strict=True):
            chosen = (table["subject"] == subject) & (table["comparison"] == "Auto-GT") & (table["metric"] == metric)
            table.loc[chosen, "value"] = value
    return table


def test_best_median_and_worst_are_chosen_by_rule():
    rows = {"A": (0.9, 30.0), "B": (0.5, 2.0), "C": (0.8, np.nan), "D": (0.7, 4.0), "E": (0.0, np.nan)}
    rows["C"] = (0.8, 3.0)
    found = {(case.metric, case.rank): case.subject for case in chosen_cases(scores(rows))}
    assert found == {
        ("dice", "best"): "A", ("dice", "median"): "D", ("dice", "worst"): "E",
        ("hd95_mm", "best"): "B", ("hd95_mm", "median"): "D", ("hd95_mm", "worst"): "E",
    }  # fmt: skip


def test_of_equal_and_of_two_middle_values_the_rule_decides():
    rows = {"A": (0.9, 1.0 + 1e-9), "B": (0.9, 1.0), "C": (0.6, 3.0), "D": (0.5, 9.0)}
    found = {(case.metric, case.rank): case.subject for case in chosen_cases(scores(rows))}
    assert (found["dice", "best"], found["hd95_mm", "best"]) == ("A", "A")
    assert (found["dice", "median"], found["hd95_mm", "median"]) == ("B", "B")


def test_two_empty_masks_are_no_case_and_raters_alone_have_none():
    found = chosen_cases(scores({"A": (np.nan, np.nan), "B": (0.5, 3.0)}))
    assert {case.subject for case in found} == {"B"}
    assert chosen_cases(scores_of(names(2, 2), automatic=False)) == []


CAUSES = {
    "false piece": (tube() | tube(2, 40, 20, slice(3, 5)), "false piece, up to 18 mm away (130 mm³)", 4),
    "missed branch": (tube(), "branch missed in 4 slices", 6),
    "missed slices": (tube(slices=slice(0, 9)), "nerve missed altogether in 3 slices", 9),
    "too wide": (tube(6), "outline too wide (", None),
    "too narrow": (tube(2), "outline too narrow (", None),
    "nothing found": (tube() & False, "no mask: nothing was found", None),
}


@pytest.mark.parametrize("name", CAUSES)
def test_a_single_cause_is_found_and_measured(name):
    automatic, words, _ = CAUSES[name]
    reference = tube() | tube(2, 34, 20, slice(6, 10)) if name == "missed branch" else tube()
    why = explain(case(automatic, reference), by_distance=False)
    assert [cause.name for cause in why.causes] == [name]
    assert why.causes[0].share == 1
    assert why.words.startswith(words)


def test_the_slice_shown_is_the_one_that_differs_most():
    automatic = tube() | tube(2, 40, 20, slice(3, 6)) | tube(3, 40, 20, slice(7, 8))
    assert explain(case(automatic), by_distance=False).slice_index == 7
    assert explain(case(tube()), by_distance=False) == explain(case(tube()), by_distance=True)
    assert explain(case(tube()), by_distance=True).words == "no difference"


def test_distance_can_weigh_more_than_volume():
    automatic = tube(5) | tube(2, 44, 20, slice(3, 5))
    by_volume, by_distance = (explain(case(automatic), by_distance=choice) for choice in (False, True))
    assert by_volume.causes[0].name == "too wide"
    assert by_distance.causes[0].name == "false piece"


def test_causes_share_out_the_whole_disagreement():
    reference = tube() | tube(2, 34, 20, slice(6, 10))
    automatic = tube(5, slices=slice(1, 12)) & (Y < 23) | tube(2, 40, 6, slice(1, 4))
    why = explain(case(automatic, reference), by_distance=False)
    assert {cause.name for cause in why.causes} == {
        "false piece", "missed branch", "missed slices", "too wide", "too narrow",
    }  # fmt: skip
    assert sum(cause.share for cause in why.causes) == pytest.approx(1)


def test_an_outline_runs_along_the_pixels_edges():
    mask = np.zeros((9, 7), dtype=bool)
    mask[2:5, 1:5] = True
    lines = outline(mask)
    assert len(lines) == 2 * 3 + 2 * 4
    assert np.linalg.norm(lines[:, 0] - lines[:, 1], axis=1) == pytest.approx(np.ones(14))
    painted_rows, painted_columns = np.nonzero(overlay(mask.astype(float), {}, window=(0.0, 1.0), scale=1)[..., 0])
    low, high = lines.reshape(-1, 2).min(axis=0), lines.reshape(-1, 2).max(axis=0)
    assert (low + 0.5).tolist() == [painted_columns.min(), painted_rows.min()]
    assert (high - 0.5).tolist() == [painted_columns.max(), painted_rows.max()]


def test_a_cut_holds_both_masks_and_leaves_the_image_nowhere():
    axes = Figure().subplots()
    show_cut(axes, case(tube(3, 3, 3), tube(3, 40, 36)), 4)
    reference, automatic = (np.concatenate(lines.get_segments()) for lines in axes.collections)
    width, height = axes.get_xlim()[1], axes.get_ylim()[0]
    for lines in (reference, automatic):
        assert (lines >= -0.5).all()
        assert lines[:, 0].max() <= width
        assert lines[:, 1].max() <= height
    assert reference[:, 0].max() < automatic[:, 0].min()  # the patient's right, of larger x, is on the left
    assert reference[:, 1].max() < automatic[:, 1].min()  # anterior is up


def seen(mask, azimuth_deg):
    axes = Figure().subplots()
    draw_solids(axes, [Painted(surface_of(mask, SPACING_MM), "grey")], azimuth_deg)
    (drawn,) = axes.findobj(PolyCollection)
    corners = np.concatenate([path.vertices for path in drawn.get_paths()])
    return axes, corners


def test_a_view_from_the_front_has_the_patients_right_on_the_left_and_true_heights():
    axes, corners = seen(tube(3, 40, 8, slice(2, 6)), FRONT_DEG)
    assert corners[:, 0].mean() == pytest.approx(-40, abs=0.2)
    assert (corners[:, 1].min(), corners[:, 1].max()) == pytest.approx((1.5 * 5, 5.5 * 5), abs=0.3)
    assert axes.get_aspect() == 1
    _, corners = seen(tube(3, 40, 8, slice(2, 6)), SIDE_DEG)
    assert corners[:, 0].mean() == pytest.approx(8, abs=0.2)


def test_distances_are_coloured_and_missed_nerve_is_added():
    reference = tube() | tube(2, 34, 20, slice(6, 10))
    missed, automatic = painted(case(tube(), reference))
    assert missed.surface.corners_mm[..., 0].min() > 30
    assert np.ptp(automatic.colours[:, :3], axis=0).max() < 0.1
    far = painted(case(tube() | tube(2, 40, 20, slice(3, 5))))[1]
    beyond = far.surface.corners_mm[..., 0].min(axis=1) > 34
    assert (far.colours[beyond] == far.colours[beyond][0]).all()
    assert not (far.colours[~beyond] == far.colours[beyond][0]).all(axis=1).any()


def test_figure_3_marks_its_cuts():
    shown = case(tube(5))
    figure = distance_figure(shown, "SYNTHETIC study demo")
    assert cuts_of(shown) == [9, 6, 2]
    for letter, index in zip("ABC", cuts_of(shown), strict=True):
        assert f"{letter}  slice {NUMBERS[index]}" in texts(figure)
    assert "SYNTHETIC study demo" in texts(figure)
    drawn(figure)


@pytest.mark.parametrize("empty", ["automatic", "reference"])
def test_an_empty_mask_still_has_its_figures(empty):
    nothing = np.zeros(SHAPE, dtype=bool)
    shown = case(nothing) if empty == "automatic" else case(tube(), nothing)
    drawn(distance_figure(shown))
    chosen = chosen_cases(scores({"P01": (0.0, np.nan)}))
    figure = cases_figure(chosen, {"P01": shown})
    assert any("Dice 0.000, no mask" in text for text in texts(figure))
    drawn(figure)


def test_figure_4_says_who_where_and_why():
    masks = {"A": tube(4.5), "B": tube() | tube(2, 40, 20, slice(3, 5)), "C": tube(slices=slice(0, 9))}
    chosen = chosen_cases(scores({"A": (0.9, 1.0), "B": (0.8, 20.0), "C": (0.7, 15.0)}))
    figure = cases_figure(chosen, {name: case(mask, name=name) for name, mask in masks.items()}, "SYNTHETIC")
    shown = " ".join(texts(figure)).replace("\n", " ")
    for words in (
        "best by Dice", "worst by HD95 surface", "A (patient), slice", "Dice 0.700, HD95 15.0 mm",
        "nerve missed altogether in 3", "false piece, up to 18 mm away", "outline too wide", "SYNTHETIC",
    ):  # fmt: skip
        assert words in shown
    drawn(figure)


ONE_LEG = [Leg("unknown", slice(None))]


def profiled(mask, numbers=NUMBERS, legs=ONE_LEG):
    courses = follow_nerves(mask, np.diag([*SPACING_MM, 1.0]), legs)
    profile = nerve_profile(courses, numbers, Signals({}))
    return view_of(np.zeros(mask.shape, np.float32), mask, mask, numbers, {"Auto": profile})


def test_figure_5_shows_the_area_level_with_the_nerve():
    both_legs = profiled(tube() | tube(6, x=40), legs=[Leg("left", slice(0, 30)), Leg("right", slice(30, 48))])
    figure = profiles_figure({"healthy": profiled(tube()), "patient": both_legs}, "SYNTHETIC")
    figure.draw_without_rendering()
    axes = figure.findobj(lambda artist: hasattr(artist, "get_xticklabels"))
    rows = [axes[:2], axes[2:]]
    for row in rows:
        assert len({tuple(cell.get_ylim()) for cell in row}) == 1
        assert [round(cell.get_position().y0, 3) for cell in row].count(round(row[0].get_position().y0, 3)) == 2
    for line in (row[1].lines[0] for row in rows):
        assert line.get_xdata() == pytest.approx(np.full(12, tube()[..., 0].sum()))
        assert line.get_ydata() == pytest.approx(np.arange(12) * 5)


def test_figure_5_of_an_empty_mask_shows_every_slice(tmp_path):
    empty = np.zeros((48, 40, 40), dtype=bool)
    view = profiled(empty, list(range(1, 41)))
    profile = view.profiles["Auto"]
    figure = profiles_figure({"empty": view})
    save_figure(tmp_path, "profiles", figure)
    front, area = figure.findobj(lambda artist: hasattr(artist, "get_xticklabels"))
    low, high = area.get_ylim()
    assert low <= profile["z_mm"].min()
    assert profile["z_mm"].max() <= high
    assert front.get_ylim() == (low, high)
