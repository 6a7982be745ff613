"""Studies with several scans of a participant: fields of templates beside `{id}`."""

import re
import tempfile
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data.external_masks import find_predictions, surplus_predictions
from nerveseg.data.folds import split_folds
from nerveseg.data.study import list_scans, list_subjects
from nerveseg.data.study_layout import StudyLayout
from nerveseg.data.template_fields import fill_template, matching_files, scan_id
from nerveseg.errors import ConfigurationError, StudyError
from nerveseg.inference.ensemble import open_model
from nerveseg.workflows.segment_scans import _check_names, _scan_of
from tests.helpers.composed import parsed_config
from tests.helpers.scan_models import write_model

T2 = "sub-{id}/ses-{ses}/anat/sub-{id}_ses-{ses}_run-{run}_T2w.nii.gz"
MASK = "masks/sub-{id}_ses-{ses}_run-{run}.nii.gz"
SCANS = [("P01", "1", "1"), ("P01", "1", "2"), ("P01", "10", "1"), ("P01", "9", "1"), ("P02", "1", "1")]
IDS = ["P01_ses-1_run-1", "P01_ses-1_run-2", "P01_ses-9_run-1", "P01_ses-10_run-1", "P02_ses-1_run-1"]


@pytest.fixture
def study(tmp_path):
    """Layout of a study whose files are empty; `study(table, scans=..., **layout)`."""

    def write(table=None, scans=SCANS, images=None, raters=None, **options):
        layout = StudyLayout(
            name="x", root=tmp_path, images=images or {"T2": T2}, raters=raters or {"OS": MASK}, **options
        )
        for template in [*layout.images.values(), *layout.raters.values()]:
            for participant, session, run in scans:
                path = tmp_path / fill_template(template, participant, {"ses": session, "run": run})
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        if table is not None:
            (tmp_path / "participants.tsv").write_text(table)
        return layout

    return write


def the_fault(layout):
    (fault,) = list_subjects(layout)[1]
    assert isinstance(fault, StudyError)
    assert re.fullmatch(r"[^\n]+", str(fault))
    return fault


def test_without_a_table_each_matching_file_is_a_scan_and_sessions_are_in_the_order_of_their_numbers(study, tmp_path):
    subjects, faults = list_subjects(study())
    assert faults == []
    assert [subject.id for subject in subjects] == IDS
    assert {subject.group for subject in subjects[:4]} == {subjects[0].participant} == {"P01"}
    assert subjects[1].image == tmp_path / "sub-P01/ses-1/anat/sub-P01_ses-1_run-2_T2w.nii.gz"
    assert subjects[1].raters == {"OS": tmp_path / "masks/sub-P01_ses-1_run-2.nii.gz"}
    assert [subject.id for subject in list_scans(study())[0]] == IDS


def test_a_row_per_scan_has_the_columns_of_the_fields(study):
    rows = "P01\tses-1\t1\tpatient\tleft\nsub-P01\t9\trun-1\tpatient\tright\nP02\t1\t1\tvolunteer\tleft\n"
    subjects, faults = list_subjects(study("participant_id\tses\trun\tcohort\tside\n" + rows))
    assert faults == []
    assert [(each.id, each.cohort, each.side, each.group) for each in subjects] == [
        ("P01_ses-1_run-1", "patient", "left", "P01"),
        ("P01_ses-9_run-1", "patient", "right", "P01"),
        ("P02_ses-1_run-1", "volunteer", "left", "P02"),
    ]


def test_a_row_per_person_describes_all_scans_whose_files_match(study):
    subjects, faults = list_subjects(study("participant_id\tcohort\tgroup\nP02\tpatient\tfamily\nP01\tn/a\tn/a\n"))
    assert faults == []
    assert [each.id for each in subjects] == [IDS[4], *IDS[:4]]
    assert [(each.cohort, each.group) for each in subjects] == [("patient", "family"), *[("all", "P01")] * 4]


def test_a_row_per_session_describes_the_runs_whose_files_match(study):
    subjects, faults = list_subjects(study("participant_id\tses\tside\nP01\t1\tleft\nP01\t9\tright\n"))
    assert faults == []
    assert [(each.id, each.side) for each in subjects] == [*zip(IDS[:3], ["left", "left", "right"], strict=True)]


def test_a_field_that_is_a_column_of_the_table_is_what_the_table_says(study):
    """Side and cohort as parts of paths."""
    images = {"T2": "{cohort}/{id}_{side}_{ses}_{run}.nii"}
    layout = study(images=images, raters={"OS": "m/{cohort}-{id}-{side}-{ses}-{run}.nii"}, scans=[])
    for cohort, side in product(["patient"], ["left", "right"]):
        for template in (images["T2"], layout.raters["OS"]):
            path = layout.root / fill_template(template, "P1", {"cohort": cohort, "side": side, "ses": "a", "run": "1"})
            path.parent.mkdir(exist_ok=True)
            path.touch()
    subjects, faults = list_subjects(layout)
    assert faults == []
    assert [(each.id, each.cohort, each.side) for each in subjects] == [
        ("P1_cohort-patient_side-left_ses-a_run-1", "patient", "left"),
        ("P1_cohort-patient_side-right_ses-a_run-1", "patient", "right"),
    ]
    assert [each.repeat_of for each in subjects] == [None, None]


def test_folds_keep_the_scans_of_a_person_together(study):
    scans = [(f"P{number}", str(session), "1") for number in range(6) for session in range(3)]
    subjects, _ = list_subjects(study(scans=scans))
    for fold in split_folds(subjects, count=3, seed=1):
        tested = {subject.participant for subject in fold.test}
        assert len(tested) == 2
        assert len(fold.test) == 6
        assert not tested & {subject.participant for subject in fold.train}


def test_scans_of_one_leg_repeat_the_first(study):
    rows = "P01\t1\t1\tleft\nP01\t1\t2\tright\nP01\t9\t1\tleft\nP01\t10\t1\tleft\nP02\t1\t1\tleft\n"
    subjects, _ = list_subjects(study("participant_id\tses\trun\tside\n" + rows))
    first = "P01_ses-1_run-1"
    assert [each.repeat_of for each in subjects] == [None, None, first, first, None]


def test_a_column_repeat_of_overrides_what_the_fields_say(study):
    rows = "P01\t1\t1\tn/a\nP01\t1\t2\tsub-P01_ses-1_run-1\nP01\t9\t1\tn/a\n"
    subjects, faults = list_subjects(study("participant_id\tses\trun\trepeat_of\n" + rows))
    assert faults == []
    assert [each.repeat_of for each in subjects] == [None, "P01_ses-1_run-1", None]


def test_scans_that_differ_in_another_field_do_not_repeat_each_other(study, tmp_path):
    images, raters = {"T2": "{id}_{visit}.nii"}, {"OS": "{id}_{visit}_mask.nii.gz"}
    for visit in ("a", "b"):
        (tmp_path / f"P1_{visit}.nii").touch()
        (tmp_path / f"P1_{visit}_mask.nii.gz").touch()
    subjects, faults = list_subjects(study(images=images, raters=raters, scans=[]))
    assert faults == []
    assert [(each.id, each.repeat_of) for each in subjects] == [("P1_visit-a", None), ("P1_visit-b", None)]


def test_the_first_scan_whose_files_are_missing_is_one_fault(study):
    layout = study()
    (layout.root / "masks/sub-P01_ses-1_run-1.nii.gz").unlink()
    fault = the_fault(layout)
    assert fault.subject == IDS[0]
    assert fault.path == layout.root / "masks/sub-P01_ses-1_run-1.nii.gz"


def test_a_person_without_a_file_is_a_fault(study):
    fault = the_fault(study("participant_id\nP01\nP02\nP03\n"))
    assert fault.subject == "P03"
    assert fault.path.name == "sub-P03_ses-{ses}_run-{run}_T2w.nii.gz"


def test_a_scan_listed_twice_is_a_fault(study):
    fault = the_fault(study("participant_id\tses\trun\nP01\t1\t1\nP01\tses-1\t1\nP02\t1\t1\n"))
    assert (fault.subject, fault.found) == ("P01_ses-1_run-1", "2 rows")
    assert fault.rule == "a scan is listed once"


def test_two_files_of_one_id_are_a_fault(study, tmp_path):
    """`P1_ses-2`, session 1, and `P1`, session `2_ses-1`."""
    names = ["P1_ses-2/1", "P1/2_ses-1"]
    for name in names:
        for folder in ("i", "m"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / f"{name}.nii").touch()
    fault = the_fault(study(images={"T2": "i/{id}/{ses}.nii"}, raters={"OS": "m/{id}/{ses}.nii"}, scans=[]))
    assert (fault.subject, fault.found) == ("P1_ses-2_ses-1", "2 rows")


def test_further_files_of_segment_are_those_of_the_scan(study, tmp_path):
    subjects, _ = list_scans(study())
    model = open_model(write_model(tmp_path / "model", 1, {}))

    def scans(template):
        words = ("study=bids", f"study.root={tmp_path}", f"+maps.T2map='{template}'")
        config = parsed_config("segment", *words)
        found = [_scan_of(subject, config, model.description.channels[0]) for subject in subjects]
        _check_names(found, config)
        return found

    found = scans("maps/{id}-{ses}-{run}.nii")
    assert [scan.name for scan in found] == [f"sub-{each}" for each in IDS]
    assert found[1].maps == {"T2map": Path("maps/P01-1-2.nii")}
    with pytest.raises(ConfigurationError) as caught:
        scans("maps/{id}.nii")
    assert caught.value.found == "maps.T2map=maps/{id}.nii"


def test_a_person_listed_twice_is_a_fault(study):
    assert the_fault(study("participant_id\tcohort\nP02\ta\nP02\tb\n")).subject == "P02_ses-1_run-1"


@pytest.mark.parametrize("place", ["images", "raters"])
def test_a_field_that_the_first_image_lacks_is_a_fault(place, study):
    templates = {"images": {"T2": T2}, "raters": {"OS": MASK}}
    templates[place]["other"] = "x/{id}_{ses}_{run}_{scanner}.nii"
    fault = the_fault(study(**templates))
    assert fault.found == "{scanner} in x/{id}_{ses}_{run}_{scanner}.nii"
    assert "{id}, {ses}, {run}" in fault.remedy


def test_a_template_that_gives_two_scans_one_file_is_a_fault(study):
    fault = the_fault(study(raters={"OS": "masks/{id}_{ses}.nii.gz"}))
    assert fault.found == "masks/{id}_{ses}.nii.gz"
    assert "{run}" in fault.rule


def test_a_field_that_no_two_scans_need_may_be_left_out(study):
    layout = study(raters={"OS": "masks/{id}_{ses}.nii.gz"}, scans=[each for each in SCANS if each[2] == "1"])
    assert list_subjects(layout)[1] == []


def test_a_file_that_matches_in_two_ways_is_a_fault(study, tmp_path):
    (tmp_path / "A_B_C.nii").touch()
    (tmp_path / "m_A_B_C.nii").touch()
    layout = study(images={"T2": "{id}_{ses}.nii"}, raters={"OS": "m_{id}_{ses}.nii"}, scans=[])
    (tmp_path / "m_A_B_C.nii").rename(tmp_path / "m_A_B_C.nii.gz")
    fault = next(each for each in list_subjects(layout)[1] if each.found == "several ways")
    assert fault.path == tmp_path / "A_B_C.nii"


@pytest.mark.parametrize(("row", "found"), [("P01\t../1\t1", "separator"), ("P01\t..\t1", "dot"), ("P01\t=1\t1", "=")])
def test_a_value_that_is_no_part_of_a_file_name_is_a_fault(row, found, study):
    fault = the_fault(study(f"participant_id\tses\trun\n{row}\n"))
    assert found in fault.found
    assert fault.subject == "P01"


def test_masks_of_others_are_found_by_fields_or_by_the_id_of_the_scan(study, tmp_path):
    subjects, _ = list_subjects(study())
    folder = tmp_path / "predicted"
    folder.mkdir()
    for each in [*IDS[:2], "P01_ses-1_run-11"]:
        (folder / f"sub-{each}_label-nerve_mask.nii.gz").touch()
    paths = {each: folder / f"sub-{each}_label-nerve_mask.nii.gz" for each in IDS[:2]}
    template = f"{folder}/sub-{{id}}_ses-{{ses}}_run-{{run}}_label-nerve_mask.nii.gz"
    for location in (str(folder), template):
        assert find_predictions(location, subjects) == paths
        assert surplus_predictions(location, subjects) == [folder / "sub-P01_ses-1_run-11_label-nerve_mask.nii.gz"]
    with pytest.raises(StudyError) as caught:
        find_predictions(f"{folder}/{{id}}_{{ses}}.nii.gz", subjects)
    assert "{run}" in caught.value.rule


VALUES = st.text("ab1-", min_size=1, max_size=3)


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=5, unique=True))
def test_files_give_back_the_values_that_made_them(values):
    with tempfile.TemporaryDirectory() as folder:
        for participant, session, run in values:
            path = Path(folder) / fill_template(T2, participant, {"ses": session, "run": run})
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        matches, ambiguous = matching_files(Path(folder), T2)
    assert ambiguous == []
    assert {(each["id"], each["ses"], each["run"]) for each in matches.values()} == set(values)


def test_ids_of_scans_are_the_joined_fields():
    assert scan_id("P01", {"ses": "1", "run": "2"}) == "P01_ses-1_run-2"
