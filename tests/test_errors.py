import pickle
from pathlib import Path

import pytest

from nerveseg import errors
from nerveseg.errors import GeometryError, NervesegError, errors_about

ERROR_CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, NervesegError)]


def test_an_error_names_rule_value_subject_path_and_remedy_in_one_line():
    error = GeometryError(
        "a mask has the shape of its image.",
        found="mask (3, 4, 5),\nimage (3, 4, 6)",
        subject="P07",
        path=Path("sub-P07") / "mask.nii.gz",
        remedy="draw it again",
    )
    assert str(error) == (
        "expected: a mask has the shape of its image; found: mask (3, 4, 5), image (3, 4, 6); subject: P07; "
        f"path: {Path('sub-P07') / 'mask.nii.gz'}; remedy: draw it again"
    )


def test_what_is_not_known_is_not_printed():
    assert str(GeometryError("a rule")) == "expected: a rule"
    assert str(GeometryError("a rule", found=0, subject="")) == "expected: a rule; found: 0; subject: "


@pytest.mark.parametrize("cls", ERROR_CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_crosses_process_borders_whole(cls):
    error = cls("a rule", found=3.5, subject="V01", path="x.nii", remedy="a way out")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is cls
    assert str(back) == str(error)
    assert (back.rule, back.found, back.subject, back.path, back.remedy) == ("a rule", 3.5, "V01", "x.nii", "a way out")


def test_a_reader_adds_path_and_subject_where_an_error_names_none():
    with pytest.raises(GeometryError) as caught, errors_about("folder", "V01"):
        raise GeometryError("a rule", found=1)
    assert (caught.value.path, caught.value.subject, caught.value.found) == ("folder", "V01", 1)
    with pytest.raises(GeometryError) as caught, errors_about("folder", "V01"), errors_about("folder/slice", "V02"):
        raise GeometryError("a rule")
    assert (caught.value.path, caught.value.subject) == ("folder/slice", "V02")


def test_there_is_one_family():
    assert len(ERROR_CLASSES) >= 8
    with pytest.raises(NervesegError):
        raise GeometryError("a rule")
