"""A packed subject is the record that it was made of, in memory and in the file."""

import json
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store_build import StoredSubject
from nerveseg.data.store_index import PackedSubject, StoreIndex

COUNTS = st.integers(0, 10**9)
RECORDS = st.builds(
    StoredSubject,
    id=st.text(min_size=1, max_size=8),
    sha256=st.dictionaries(st.text(max_size=5), st.text("0123456789abcdef", min_size=64, max_size=64), max_size=4),
    slices=COUNTS,
    spacing_mm=st.tuples(*3 * [st.floats(0.1, 10.0)]),
    nerve_voxels=COUNTS,
    nerve_voxels_cropped_away=COUNTS,
    pixels=COUNTS,
)


def index_of(records):
    return StoreIndex(
        study="many",
        channels=["T2"],
        preprocessing=Preprocessing(),
        subjects=[PackedSubject.of(one) for one in records],
    )


def records(count):
    return [
        StoredSubject(
            id=f"P{number:05d}",
            sha256={name: f"{number:064x}" for name in ("T2", "rater-OS", "rater-BW", "rater-LG")},
            slices=60,
            spacing_mm=(0.52, 0.52, 4.4),
            nerve_voxels=number,
            nerve_voxels_cropped_away=0,
            pixels=60 * 320 * 320,
        )
        for number in range(count)
    ]


@given(st.lists(RECORDS, max_size=3))
def test_the_file_holds_plain_records_and_gives_them_back(made):
    index = index_of(made)
    text = index.model_dump_json(indent=1)
    assert json.loads(text)["subjects"] == [json.loads(one.model_dump_json()) for one in made]
    read = StoreIndex.model_validate_json(text)
    assert read == index
    assert [one.record() for one in read.subjects] == made
    assert [one.id for one in read.subjects] == [one.id for one in made]


@pytest.mark.parametrize("change", [{"slices": "many"}, {"pixels": None}, {"extra": 1}, {"spacing_mm": [1.0, 1.0]}])
def test_a_damaged_record_is_found_when_the_index_is_read(change):
    content = json.loads(index_of(records(2)).model_dump_json())
    content["subjects"][1] |= change
    with pytest.raises(ValidationError, match=r"subjects\.1\."):
        StoreIndex.model_validate_json(json.dumps(content))


def test_an_index_takes_little_more_memory_than_its_text():
    text = index_of(records(2000)).model_dump_json()
    tracemalloc.start()
    index = StoreIndex.model_validate_json(text)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index.subjects) == 2000
    assert held < 1.5 * sys.getsizeof(text)
    assert peak < 1.6 * sys.getsizeof(text), "records are packed one by one"
