"""The index of a slice store: what is written is read back, and a damaged record is found."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store_build import StoredSubject, StoreIndex

NAMES = ("id", "sha256", "slices", "spacing_mm", "pixels", "part_pixels", "voxels")
COUNTS = st.integers(0, 10**9)
RECORDS = st.builds(
    StoredSubject,
    id=st.text(min_size=1, max_size=8),
    sha256=st.dictionaries(st.text(max_size=5), st.text("0123456789abcdef", min_size=64, max_size=64), max_size=4),
    slices=COUNTS,
    spacing_mm=st.tuples(*3 * [st.floats(0.1, 10.0)]),
    pixels=COUNTS,
    part_pixels=st.lists(COUNTS, min_size=1, max_size=3).map(tuple),
)


def index_of(records):
    return StoreIndex(study="many", channels=["T2"], preprocessing=Preprocessing(), subjects=records)


def records(count):
    return [
        StoredSubject(
            id=f"P{number:05d}",
            sha256={name: f"{number:064x}" for name in ("T2", "rater-OS", "rater-BW", "rater-LG")},
            slices=60,
            spacing_mm=(0.52, 0.52, 4.4),
            pixels=60 * 320 * 320,
            part_pixels=(number,),
        )
        for number in range(count)
    ]


@given(st.lists(RECORDS, max_size=3))
def test_the_file_holds_plain_records_and_gives_them_back(made):
    text = index_of(made).model_dump_json(indent=1)
    fields = [{name: getattr(one, name) for name in NAMES} for one in made]
    listed = ("spacing_mm", "part_pixels")
    assert json.loads(text)["subjects"] == [one | {name: list(one[name]) for name in listed} for one in fields]
    assert StoreIndex.model_validate_json(text).subjects == made


@pytest.mark.parametrize("change", [{"slices": "many"}, {"pixels": None}, {"extra": 1}, {"spacing_mm": [1.0, 1.0]}])
def test_a_damaged_record_is_found_when_the_index_is_read(change):
    content = json.loads(index_of(records(2)).model_dump_json())
    content["subjects"][1] |= change
    with pytest.raises(ValidationError, match=r"subjects\.1\."):
        StoreIndex.model_validate_json(json.dumps(content))
