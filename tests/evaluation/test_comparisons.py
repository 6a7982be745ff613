import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.errors import GeometryError, RunError, StudyError
from nerveseg.evaluation.comparisons import (
    SCORE_COLUMNS,
    SubjectMasks,
    cohorts_in_order,
    comparison_names,
    leave_one_out_pairs,
    measure_masks,
    rater_pairs,
    read_scores,
    score_subject,
    slice_scores,
    write_scores,
)
from nerveseg.evaluation.metrics.mask_pair import nominal_spacing

PAPER_ROWS = ["OS-BW", "OS-LG", "OS-GT", "BW-LG", "BW-GT", "LG-GT", "Auto-OS", "Auto-BW", "Auto-LG", "Auto-GT"]


def bar(start: int, stop: int):
    """A row of voxels, so that every score can be had by counting."""
    mask = np.zeros((20, 3, 3), dtype=bool)
    mask[start:stop, 1, 1] = True
    return mask


AUTOMATIC = bar(4, 16)


def subject_masks(name="001", automatic=AUTOMATIC, **raters):
    raters = raters or {"OS": bar(0, 10), "BW": bar(5, 15), "LG": bar(2, 12)}
    return SubjectMasks(
        subject=name,
        cohort="volunteer",
        location=None,
        side="left",
        fold=2,
        spacing_mm=(0.5, 0.5, 4.4),
        raters=raters,
        consensus=bar(2, 12),
        automatic=automatic,
    )


def value(frame, comparison, metric):
    rows = frame[(frame["comparison"] == comparison) & (frame["metric"] == metric)]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


def test_the_comparisons_stand_in_the_order_of_the_papers_table():
    assert comparison_names(["OS", "BW", "LG"], automatic=True) == PAPER_ROWS
    assert comparison_names(["OS", "BW", "LG"], automatic=False) == PAPER_ROWS[:6]
    assert rater_pairs(["OS", "BW", "LG"]) == ["OS-BW", "OS-LG", "BW-LG"]


def test_a_single_rater_is_the_reference_and_meets_nobody_else():
    assert comparison_names(["OS"], automatic=True) == ["Auto-GT"]
    assert comparison_names(["OS"], automatic=False) == []
    assert rater_pairs(["OS"]) == []
    frame = score_subject(subject_masks(OS=bar(2, 12), automatic=None))
    assert list(frame.columns) == list(SCORE_COLUMNS)
    assert frame.empty


@given(st.integers(2, 6))
def test_the_number_of_comparisons_is_pairs_plus_raters_plus_the_automatic_ones(n):
    raters = [f"R{index}" for index in range(n)]
    assert len(set(comparison_names(raters, automatic=True))) == math.comb(n, 2) + n + n + 1
    assert len(rater_pairs(raters)) == math.comb(n, 2)


@pytest.mark.parametrize("raters", [[], ["OS", "OS"], ["OS", "GT"], ["Auto"], [""]])
def test_ambiguous_raters_are_refused(raters):
    with pytest.raises(StudyError) as caught:
        comparison_names(raters, automatic=True)
    assert "study.raters" in caught.value.remedy
    assert all(rater in caught.value.found for rater in raters)


def test_scores_of_bars_are_what_counting_gives():
    frame = score_subject(subject_masks())
    assert value(frame, "OS-BW", "dice") == 2 * 5 / 20
    assert value(frame, "OS-GT", "dice") == 2 * 8 / 20
    assert value(frame, "LG-GT", "dice") == 1
    assert value(frame, "Auto-GT", "dice") == 2 * 8 / 22
    assert value(frame, "Auto-GT", "vs") == pytest.approx(1 - 2 / 22)
    assert value(frame, "OS-BW", "hd_mm") == 5 * 0.5
    assert value(frame, "Auto-GT", "hd_mm") == 4 * 0.5
    assert list(dict.fromkeys(frame["comparison"])) == PAPER_ROWS
    metrics = set(frame["metric"])
    assert metrics >= {"dice", "hd95_paper_mm", "hd95_mm", "hd_mm", "vs", "surface_dice_052", "assd_mm", "cldice"}
    assert len(frame) == 10 * len(metrics)
    assert set(frame["fold"]) == {2}


def test_an_empty_prediction_keeps_its_zeros_and_has_no_distance():
    frame = score_subject(subject_masks(automatic=bar(0, 0)))
    assert value(frame, "Auto-GT", "dice") == 0
    assert value(frame, "Auto-GT", "vs") == 0
    assert all(math.isnan(value(frame, "Auto-GT", metric)) for metric in ("hd95_paper_mm", "hd95_mm", "hd_mm"))


def test_masks_of_two_shapes_are_refused_by_name():
    with pytest.raises(GeometryError) as caught:
        subject_masks(OS=bar(0, 5), BW=np.zeros((20, 3, 4), dtype=bool))
    assert caught.value.found.startswith("BW (20, 3, 4)")
    assert caught.value.subject == "001"


def test_written_scores_come_back_to_the_last_bit(tmp_path):
    names = ["001", "NA", "Müller, A", 'say "hi"', "1e3"]
    frame = pd.concat([score_subject(subject_masks(name, automatic=bar(k, 3 * k))) for k, name in enumerate(names)])
    frame = frame.reset_index(drop=True)
    frame.loc[0, "value"] = 0.1 + 0.2
    frame.loc[1, "value"] = math.nextafter(1, 0)
    frame.loc[2, "fold"] = None
    path = tmp_path / "new" / "scores.csv"
    write_scores(path, frame)
    back = read_scores(path)
    pd.testing.assert_frame_equal(back, frame, check_exact=True)
    assert list(dict.fromkeys(back["subject"])) == names
    assert back["value"].isna().sum() == frame["value"].isna().sum() > 0
    assert [file.name for file in path.parent.iterdir()] == ["scores.csv"]


def test_numbers_as_subjects_keep_their_zeros(tmp_path):
    write_scores(tmp_path / "scores.csv", score_subject(subject_masks("007")))
    assert set(read_scores(tmp_path / "scores.csv")["subject"]) == {"007"}


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "scores.csv"
    frame = score_subject(subject_masks())
    write_scores(path, frame)
    before = path.read_bytes()
    with pytest.raises(KeyError):
        write_scores(path, frame.drop(columns="value"))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_every_row_names_its_class():
    tibial = replace(subject_masks(), structure="tibial")
    for table in (score_subject(tibial), slice_scores(tibial), measure_masks(tibial)):
        assert set(table["class"]) == {"tibial"}
    assert set(score_subject(subject_masks())["class"]) == {"nerve"}
    columns = [column for column in SCORE_COLUMNS if column != "class"]
    same = score_subject(tibial)[columns], score_subject(subject_masks())[columns]
    pd.testing.assert_frame_equal(*same, check_exact=True)


HEADER = ",".join(SCORE_COLUMNS) + "\n"
ROW = "001,001,volunteer,,left,nerve,0,Auto-GT,dice,0.5\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"name,age\nA,3\n",
        (HEADER + ROW + "002,002,volunteer,,left,0,Auto-GT,dice,0.").encode(),
        (HEADER + ROW + "002,002,volunteer,,le\n").encode(),
        (HEADER + ROW.replace("0.5", "half")).encode(),
        (HEADER + ROW.replace(",0,", ",zero,")).encode(),
        (HEADER + ROW.replace("dice", "dice,dice")).encode(),
        b"\x89PNG\r\n\x1a\n\xff\xff",
        HEADER.encode() + b"\x00\xff\x00\n",
        (HEADER + ROW.replace("nerve", "")).encode(),
        (HEADER.replace("class,", "") + ROW.replace("nerve,", "")).encode(),
    ],
    ids=[
        "empty",
        "foreign",
        "cut in a value",
        "cut in a row",
        "word",
        "fold",
        "column too many",
        "png",
        "binary",
        "no class",
        "earlier version",
    ],
)
def test_a_damaged_table_is_one_clear_error(tmp_path, content):
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_scores(path)
    assert ",".join(SCORE_COLUMNS) in caught.value.rule
    assert caught.value.path == path
    assert caught.value.remedy


def test_a_missing_table_is_one_clear_error(tmp_path):
    with pytest.raises(RunError) as caught:
        read_scores(tmp_path / "scores.csv")
    assert caught.value.found == "no such file"
    assert caught.value.path == tmp_path / "scores.csv"


def test_a_table_with_windows_line_ends_is_read(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_bytes((HEADER + ROW).replace("\n", "\r\n").encode())
    assert read_scores(path)["value"].tolist() == [0.5]


FOUR = ["OS", "BW", "LG", "TK"]


def four_raters(automatic=AUTOMATIC):
    raters = {"OS": bar(0, 10), "BW": bar(5, 15), "LG": bar(2, 12), "TK": bar(2, 12)}
    without = {"OS": bar(2, 12), "BW": bar(2, 10), "LG": bar(2, 10), "TK": bar(2, 10)}
    return replace(subject_masks(automatic=automatic, **raters), consensus_without=without)


def test_from_four_raters_on_each_meets_the_consensus_of_the_others():
    frame = score_subject(four_raters())
    added = [name for name in dict.fromkeys(frame["comparison"]) if "w/o" in name]
    assert set(added) == {f"{who}-GT w/o {rater}" for rater in FOUR for who in (rater, "Auto")}
    assert value(frame, "OS-GT w/o OS", "dice") == 2 * 8 / 20
    assert value(frame, "BW-GT w/o BW", "dice") == 2 * 5 / 18
    assert value(frame, "Auto-GT w/o OS", "dice") == 2 * 8 / 22
    assert value(frame, "Auto-GT w/o TK", "dice") == 2 * 6 / 20
    assert leave_one_out_pairs(["OS"]) == [("OS-GT w/o OS", "Auto-GT w/o OS")]


def test_without_a_prediction_only_the_raters_meet_it():
    names = set(score_subject(four_raters(automatic=None))["comparison"])
    assert {name for name in names if "w/o" in name} == {f"{rater}-GT w/o {rater}" for rater in FOUR}


def test_comparisons_without_a_rater_are_written_and_read(tmp_path):
    frame = score_subject(four_raters())
    write_scores(tmp_path / "scores.csv", frame)
    pd.testing.assert_frame_equal(read_scores(tmp_path / "scores.csv"), frame, check_exact=True)


@pytest.mark.parametrize("raters", [["A", "B-C", "A-B", "C"], ["R-R", "A"], ["GT w/o A", "A"], ["A-B", "Auto-A", "B"]])
def test_names_that_make_one_comparison_of_two_are_refused(raters):
    with pytest.raises(StudyError) as error:
        comparison_names(raters, automatic=True)
    assert error.value.found == ", ".join(raters)


def test_cohorts_stand_as_in_the_paper():
    frame = pd.DataFrame({"cohort": ["zebra", "patient", "all", "volunteer", "patient"]})
    assert cohorts_in_order(frame) == ["volunteer", "patient", "all", "zebra"]


@pytest.mark.parametrize("step", [0.5, 25 / 48, 55 / 128, 25 / 64, 0.7, 1.0, 4.4])
@pytest.mark.parametrize("noise", [1e-8, -1e-8, 2e-7, -2e-7])
def test_noise_of_an_oblique_spacing_changes_no_score_and_no_quantity(step, noise):
    masks = np.random.default_rng(5).random((3, 9, 8, 3)) > 0.7
    drawn = {"raters": {"A": masks[0], "B": masks[1]}, "consensus": masks[2], "automatic": None}
    clean = replace(subject_masks(), spacing_mm=(step, step, 4.4), **drawn)
    noisy = replace(clean, spacing_mm=(step * (1 + noise), step * (1 - noise), 4.4 * (1 + noise)))
    for measure in (score_subject, measure_masks):
        pd.testing.assert_frame_equal(measure(noisy), measure(clean), check_exact=True)
    scores = score_subject(clean)
    distances = scores[scores["metric"].str.contains("_mm")]["value"]
    assert (distances == distances.round(6)).all()


def test_a_spacing_of_no_protocol_stays_as_it_is():
    assert nominal_spacing((0.5123457, 0.50025, 123.0)) == pytest.approx((0.5123457, 0.50025, 123.0), rel=2e-6)
