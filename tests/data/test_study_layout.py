"""Files by template against plain `pathlib`."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.data.study import list_subjects, open_study
from nerveseg.data.study_layout import SubjectFiles

PARTS = st.text("ab{}id./ ", max_size=12)


@given(st.text("ab/.", max_size=5), st.dictionaries(st.text("xyz", min_size=1, max_size=3), PARTS), st.text("a1-_"))
def test_every_path_is_what_pathlib_makes_of_root_and_template(root, templates, subject_id):
    files = SubjectFiles(Path(root), templates, subject_id)
    expected = {name: Path(root) / template.replace("{id}", subject_id) for name, template in templates.items()}
    assert files == expected
    assert dict(files) == expected
    assert list(files) == list(templates)
    assert pickle.loads(pickle.dumps(files)) == expected


def test_a_name_that_is_not_there_is_a_key_error(tmp_path):
    files = SubjectFiles(tmp_path, {"A": "A{id}"}, "1")
    with pytest.raises(KeyError):
        files["B"]
    assert files.get("B") is None


def test_participants_share_their_templates(study_on_disk):
    """Or 10,000 of them would hold 40,000 paths."""
    first, second = open_study(study_on_disk(ids=("P01", "V01")).description).subjects
    assert first.images.templates is second.images.templates
    assert first.raters.templates is second.raters.templates


def test_a_rater_who_did_not_draw_everybody_is_left_out_where_that_is_allowed(study_on_disk):
    disk = study_on_disk(missing_raters="allow")
    disk.mask("V01", "BW").unlink()
    (patient, volunteer), faults = list_subjects(disk.description)
    assert faults == []
    assert list(patient.raters) == ["OS", "BW", "LG"]
    assert volunteer.raters == {rater: disk.mask("V01", rater) for rater in ("OS", "LG")}


def test_who_has_no_mask_at_all_is_told_so_for_every_rater(study_on_disk):
    disk = study_on_disk(missing_raters="allow")
    for rater in ("OS", "BW", "LG"):
        disk.mask("V01", rater).unlink()
    subjects, faults = list_subjects(disk.description)
    assert [subject.id for subject in subjects] == ["P01"]
    assert [fault.path for fault in faults] == [disk.mask("V01", rater) for rater in ("OS", "BW", "LG")]
