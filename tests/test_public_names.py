"""The public names of nerveseg: all of them are found, by people, by `dir()` and by type checkers."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import nerveseg


@pytest.mark.parametrize("name", nerveseg.__all__)
def test_a_public_name_resolves_to_the_object_of_that_name(name):
    found = getattr(nerveseg, name)
    assert found.__name__ == name
    assert inspect.getdoc(found)
    assert found.__module__.startswith("nerveseg.")


def test_dir_lists_the_public_names_before_they_are_loaded():
    code = "import sys, nerveseg\nprint(set(nerveseg.__all__) <= set(dir(nerveseg)), 'torch' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == ["True", "False"]


def test_dir_lists_nothing_else():
    assert [name for name in dir(nerveseg) if not name.startswith("__")] == nerveseg.__all__


def test_every_public_name_is_listed():
    assert nerveseg.__all__ == sorted(nerveseg.__all__)
    assert set(nerveseg.__all__) == {
        *("FCDenseNet", "Segmentation", "Segmenter", "SliceDataModule", "StudyLayout", "compare_results"),
        *("open_study", "segment_scan"),
    }


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError) as error:
        nerveseg.segment_scam  # noqa: B018
    assert error.value.args == ("module 'nerveseg' has no attribute 'segment_scam'",)
    assert not hasattr(nerveseg, "_private_name")


def test_type_checkers_are_told_of_the_annotations():
    assert (Path(nerveseg.__file__).parent / "py.typed").is_file()
