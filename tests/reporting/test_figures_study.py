"""What a figure of a study shows is what its tables hold; every kind of study has its figures."""

from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from nerveseg.evaluation.analysis import TIME_COLUMNS, Measurements, analyse
from nerveseg.evaluation.comparisons import AUTOMATIC, MEAN_AREA, QUANTITY_COLUMNS, VOLUME
from nerveseg.evaluation.margins import Margins
from nerveseg.evaluation.metric_catalog import BY_KEY, TABLE_METRICS
from nerveseg.evaluation.tables.table1 import reference_table
from nerveseg.reporting.figures import study_figures
from nerveseg.reporting.figures.agreement_figure import agreement_figure
from nerveseg.reporting.figures.comparison_figure import comparison_figure, locations_figure
from nerveseg.reporting.figures.training_curve import LOSS, per_epoch, training_figure
from nerveseg.reporting.style import FILL
from tests.helpers.example_study import RATERS, names, scores_of

TITLE = "SYNTHETIC study demo"
COHORTS = ["volunteer", "patient"]


@cache
def analysed(volunteers=3, patients=5, raters=RATERS, automatic=True, failed=()):
    people, random = names(volunteers, patients), np.random.default_rng(2)
    sources = [*raters, *([AUTOMATIC] if automatic else [])]
    lost = {(AUTOMATIC, subject) for subject in failed}
    quantities = [
        (subject, subject, cohort, None, None, "nerve", source, quantity, 0.0 if (source, subject) in lost else value)
        for subject, cohort in people
        for source in sources
        for quantity, value in ((VOLUME, random.normal(9000, 500)), (MEAN_AREA, random.normal(40, 4)))
    ]
    times = [
        (subject, cohort, source, 0.01 if source == AUTOMATIC else random.uniform(9, 30))
        for subject, cohort in people
        for source in sources
    ]
    return analyse(
        Measurements(
            scores=scores_of(people, raters, automatic, failed),
            quantities=pd.DataFrame(quantities, columns=list(QUANTITY_COLUMNS)),
            times=pd.DataFrame(times, columns=list(TIME_COLUMNS)),
            raters=raters,
        ),
        Margins(),
    )


def panel(figure, label):
    (axes,) = [
        axes for axes in figure.findobj(lambda artist: hasattr(artist, "get_ylabel")) if axes.get_ylabel() == label
    ]
    return axes


def medians(axes):
    return [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 1.6 and len(line.get_xdata()) == 2]


def boxes(axes):
    return [patch.get_facecolor()[:3] for patch in axes.patches]


def points(axes):
    return [collection.get_offsets() for collection in axes.collections if len(collection.get_offsets())]


def drawn(figure):
    """Without the layout, which takes the time."""
    figure.set_layout_engine("none")
    figure.draw_without_rendering()


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]


def values(study, cohort, comparisons, metric):
    scores = study.measurements.scores
    chosen = (scores["cohort"] == cohort) & (scores["metric"] == metric) & scores["comparison"].isin(comparisons)
    return scores.loc[chosen, "value"]


@cache
def drawn_usually():
    return comparison_figure(analysed(), TITLE)


PAIRS = ["OS-BW", "OS-LG", "BW-LG"]


@pytest.mark.parametrize("metric", TABLE_METRICS)
def test_boxes_show_the_medians_and_every_point_of_the_scores(metric):
    study = analysed()
    axes = panel(drawn_usually(), BY_KEY[metric].axis_label)
    expected = [values(study, cohort, pooled, metric) for cohort in COHORTS for pooled in (PAIRS, ["Auto-GT"])]
    assert medians(axes) == pytest.approx([part.median() for part in expected if len(part) > 3])
    assert [len(part) for part in points(axes)] == [9, 3, 15, 5]
    for drawn, part in zip(points(axes), expected, strict=True):
        assert sorted(drawn[:, 1]) == pytest.approx(sorted(part))
    assert [to_hex(colour) for colour in boxes(axes)] == [FILL["manual"], FILL["manual"], FILL["automatic"]]


def test_the_brackets_bear_the_p_values_of_the_papers_test():
    study = analysed()
    papers = study.tests[(study.tests["test"] == "paper") & (study.tests["metric"] == "dice")].set_index("cohort")
    shown = [text.get_text() for text in panel(drawn_usually(), "Dice (no unit)").texts]
    assert shown == [f"p = {papers.loc[cohort, 'p_value']:.3f}" for cohort in COHORTS]


def test_the_papers_means_are_ticks_at_their_boxes():
    figure = comparison_figure(analysed(), TITLE, reference_table("paper"))
    axes = panel(figure, "Dice (no unit)")
    ticks = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 1.4]
    assert ticks == pytest.approx([0.869, 0.859, 0.786, 0.719])
    boxes = min(patch.get_zorder() for patch in axes.patches)
    shown = min(part.get_zorder() for part in axes.collections)
    assert all(boxes < line.get_zorder() < shown for line in axes.lines if line.get_linewidth() == 1.4)
    assert not [line for line in axes.lines if to_hex(line.get_color()) == "#ffffff"]
    unpublished = panel(figure, "HD95 surface (mm)")
    assert not [line for line in unpublished.lines if line.get_linewidth() == 1.4]


PUBLISHED = "mean published in the paper"


def test_a_legend_names_what_is_drawn():
    assert PUBLISHED not in texts(drawn_usually())
    assert PUBLISHED in texts(comparison_figure(analysed(), reference=reference_table("paper")))
    others = reference_table("paper").assign(cohort="others")
    assert PUBLISHED not in texts(comparison_figure(analysed(), reference=others))


def test_a_figure_has_a_title_only_where_one_is_asked_for():
    for title, named in (("", False), (TITLE, True)):
        for each in study_figures(analysed(), title):
            heads = [text for text in each.figure.findobj(Text) if text.get_fontsize() == 9.5 and text.get_text()]
            assert [text.get_text() for text in heads] == [title] * named


def test_a_missing_mask_stands_above_every_distance():
    study = analysed(failed=("P02", "V01"))
    figure = comparison_figure(study, TITLE)
    axes = panel(figure, "HD95 surface (mm)")
    finite = study.measurements.scores.loc[study.measurements.scores["metric"] == "hd95_mm", "value"].max()
    above = [int((drawn[:, 1] > finite).sum()) for drawn in points(axes)]
    assert above == [0, 1, 0, 1]
    assert [len(drawn) for drawn in points(axes)] == [9, 3, 15, 5]
    assert "no mask" in [text.get_text() for text in axes.texts]
    assert axes.get_ylim()[1] > max(drawn[:, 1].max() for drawn in points(axes))
    assert (points(panel(figure, "Dice (no unit)"))[1][:, 1] == 0).sum() == 1


def test_the_contrast_shows_estimate_interval_and_margin():
    study = analysed(volunteers=0, patients=30)
    rows = study.tests[study.tests["test"].isin(["contrast", "share above"])].set_index(["test", "metric"])
    figure = comparison_figure(study, TITLE)
    (axes,) = [
        axes for axes in figure.findobj(lambda a: hasattr(a, "get_title")) if axes.get_title() == "like with like"
    ]
    lines = [tuple(line.get_xdata()) for line in axes.lines]
    for metric in ("dice", "vs"):
        row = rows.loc[("contrast", metric)]
        assert (row["ci_low"], row["ci_high"]) in lines
        assert (row["estimate"],) in lines
    assert lines.count((-0.05, -0.05)) == 2
    shares = [text for text in texts(figure) if text.startswith("HD95 above 10 mm")]
    assert len(shares) == 1


def test_one_rater_has_no_second_box_no_p_value_and_no_contrast():
    figure = comparison_figure(analysed(raters=("OS",)), TITLE)
    axes = panel(figure, "Dice (no unit)")
    assert [to_hex(colour) for colour in boxes(axes)] == [FILL["automatic"]]
    assert [len(part) for part in points(axes)] == [3, 5]
    assert not axes.texts
    assert "like with like" not in texts(figure)
    assert not any("R-R" in text for text in texts(figure))


def test_times_are_those_of_every_subject():
    axes = panel(drawn_usually(), "time per subject (log scale)")
    assert [len(drawn) for drawn in points(axes)] == [9, 3, 15, 5]
    assert medians(axes)[-1] == pytest.approx(0.6)


KINDS = {
    "one cohort": {"volunteers": 0},
    "one rater": {"raters": ("OS",)},
    "raters alone": {"automatic": False},
    "failed": {"failed": ("P01", "P03")},
    "all failed": {"patients": 2, "volunteers": 0, "failed": ("P01", "P02")},
    "one subject": {"volunteers": 0, "patients": 1},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_study_has_its_figures(kind):
    figures = {named.name: named for named in study_figures(analysed(**KINDS[kind]), TITLE)}
    assert {"comparison", "agreement"} <= set(figures)
    for named in figures.values():
        assert "SYNTHETIC" in texts(named.figure)[0]
        assert named.caption
        drawn(named.figure)


def test_a_study_as_large_as_the_papers_fits():
    study = analysed(volunteers=10, patients=42, failed=("P07",))
    for named in study_figures(study, TITLE, reference_table("paper")):
        named.figure.draw_without_rendering()
        for axes in named.figure.findobj(lambda artist: hasattr(artist, "get_xticklabels")):
            assert not overlapping([label for label in axes.get_xticklabels() if label.get_text()])


def overlapping(labels):
    spans = sorted((box.x0, box.x1) for box in (label.get_window_extent() for label in labels))
    return any(first[1] > second[0] for first, second in pairwise(spans))


def test_bland_altman_shows_the_table_and_the_points_by_hand():
    study = analysed()
    figure = agreement_figure(study, TITLE)
    axes = panel(figure, "difference of volume\n(% of the pair's mean)")
    row = study.agreement.query("cohort == 'volunteer' and quantity == 'volume_mm3' and analysis == 'bland_altman'")
    (row,) = row[row["comparison"] == "Auto - raters' mean"].to_dict("records")
    levels = [line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 2]
    assert levels == pytest.approx([row["estimate"], row["lower_limit"], row["upper_limit"]])
    (dots,) = [line for line in axes.lines if len(line.get_ydata()) == 3]
    wide = study.measurements.quantities.query("cohort == 'volunteer' and quantity == 'volume_mm3'")
    wide = wide.pivot(index="subject", columns="source", values="value")
    manual = (wide["OS"] + wide["BW"] + wide["LG"]) / 3
    assert dots.get_xdata() == pytest.approx((manual + wide["Auto"]) / 2)
    assert dots.get_ydata() == pytest.approx(200 * (wide["Auto"] - manual) / (wide["Auto"] + manual))
    assert np.mean(dots.get_ydata()) == pytest.approx(row["estimate"])


def test_raters_alone_are_compared_with_each_other():
    figure = agreement_figure(analysed(automatic=False), TITLE)
    assert {"BW − OS", "LG − OS", "LG − BW"} <= set(texts(figure))


def test_locations_stand_from_proximal_to_distal():
    study = analysed(volunteers=0, patients=12)
    (axes,) = locations_figure(study, TITLE).findobj(lambda artist: hasattr(artist, "get_xticklabels"))
    places = [label.get_text().split("\n")[0] for label in axes.get_xticklabels()]
    assert places == ["proximal", "medial", "distal"]
    proximal = study.measurements.scores.query(
        "location == 'proximal' and metric == 'dice' and comparison == 'Auto-GT'"
    )["value"]
    assert medians(axes)[1] == pytest.approx(proximal.median())


def test_training_curves_end_where_the_folds_did():
    log = pd.DataFrame(
        {
            "step": range(6),
            "learning_rate": [0.1, 0.1, np.nan, 0.01, 0.01, np.nan],
            "epoch": [0, 0, 0, 1, 1, 1],
            LOSS: [np.nan, np.nan, 0.5, np.nan, np.nan, 0.25],
        }
    )
    assert per_epoch(log, LOSS).to_dict() == {1: 0.5, 2: 0.25}
    assert per_epoch(log, "learning_rate").to_dict() == {1: 0.1, 2: 0.01}
    figure = training_figure({0: log, 3: log.head(3)}, TITLE)
    loss = panel(figure, "training loss per epoch\n(no unit)")
    assert {line.get_label(): list(line.get_ydata()) for line in loss.lines} == {"fold 0": [0.5, 0.25], "fold 3": [0.5]}
    assert "training" in [named.name for named in study_figures(analysed(), TITLE, training={0: log})]


def test_training_curves_show_the_validation_where_a_fold_has_one():
    log = pd.DataFrame(
        {
            "step": range(2), "epoch": [0, 1], "learning_rate": [0.1, 0.1], LOSS: [0.5, 0.25],
            "validation/loss": [0.6, 0.4], "validation/dice": [0.1, 0.8],
        }
    )  # fmt: skip
    figure = training_figure({0: log, 1: log.drop(columns=["validation/loss", "validation/dice"])}, TITLE)
    loss = {line.get_label(): list(line.get_ydata()) for line in panel(figure, "loss per epoch (no unit)").lines}
    assert loss["fold 0"] == loss["fold 1"] == [0.5, 0.25]
    assert loss["fold 0, validation"] == [0.6, 0.4]
    dice = {
        line.get_label(): list(line.get_ydata())
        for line in panel(figure, "Dice of validation\nsubjects (no unit)").lines
    }
    assert dice == {"fold 0": [0.1, 0.8], "fold 1": []}
