"""Classes of label values, the disjoint parts that they consist of, and their consensus."""

import itertools

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import TypeAdapter, ValidationError

from nerveseg.data.classes import Classes, Declared
from nerveseg.data.consensus import class_consensus, consensus_of, majority_vote, staple
from nerveseg.data.study_layout import StudyLayout
from nerveseg.errors import VolumeError

NESTED = {"tibial": [1], "peroneal": [2], "sciatic": [3, 4], "nerve": [1, 2, 3, 4]}
DECLARED = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(1, 9), min_size=1, max_size=5, unique=True), min_size=1
).filter(lambda declared: len({frozenset(labels) for labels in declared.values()}) == len(declared))


def declared(content):
    return TypeAdapter(Declared).validate_python(content)


@given(DECLARED, arrays.arrays(np.int64, (3, 4, 2), elements=st.integers(0, 9)))
def test_a_class_is_the_voxels_of_its_labels(content, labels):
    classes = Classes.of(declared(content))
    labels.flat[0] = next(iter(content.values()))[0]
    parts = classes.encode(labels)
    assert parts.dtype == np.uint8
    assert parts.max() <= classes.count
    for name, values in content.items():
        np.testing.assert_array_equal(classes.mask(parts, name), np.isin(labels, values))


@given(DECLARED, arrays.arrays(np.int64, (3, 4, 2), elements=st.integers(0, 9)))
def test_a_written_label_map_is_read_back(content, labels):
    classes = Classes.of(declared(content))
    labels.flat[0] = next(iter(content.values()))[0]
    parts = classes.encode(labels)
    written = classes.decode(parts)
    np.testing.assert_array_equal(classes.read_back().encode(written.astype(np.int64)), parts)
    for name, values in classes.written.items():
        np.testing.assert_array_equal(np.isin(written, values), classes.mask(parts, name))


def test_labels_of_the_same_classes_are_one_part():
    classes = Classes.of(NESTED)
    assert (classes.count, classes.labels) == (3, ((1,), (2,), (3, 4)))
    assert classes.parts == ((1,), (2,), (3,), (1, 2, 3))
    assert [classes.part_name(part) for part in (1, 2, 3)] == ["tibial", "peroneal", "sciatic"]
    assert classes.nerve_parts == (1, 2, 3)
    assert not classes.only


def test_a_study_without_classes_has_the_nerve_of_every_label():
    classes = Classes.of(None)
    labels = np.array([0, 1, 2, 5]).reshape(4, 1, 1)
    assert (classes.names, classes.count, classes.only, classes.written) == (("nerve",), 1, True, {})
    np.testing.assert_array_equal(classes.encode(labels), labels > 0)
    np.testing.assert_array_equal(classes.nerve(classes.encode(labels)), labels > 0)


def test_one_class_of_several_labels_is_written_as_a_mask():
    classes = Classes.of({"nerve": [3, 7]})
    parts = classes.encode(np.array([0, 3, 7, 5]).reshape(4, 1, 1))
    assert classes.decode(parts).ravel().tolist() == [0, 1, 1, 0]
    with pytest.raises(VolumeError) as caught:
        classes.encode(np.array([0, 5]).reshape(2, 1, 1))
    assert caught.value.found == "only 5"


def test_labels_above_a_byte_are_written():
    classes = Classes.of({"left": [17], "right": [1006]})
    written = classes.decode(classes.encode(np.array([0, 17, 1006]).reshape(3, 1, 1)))
    assert (written.dtype, written.ravel().tolist()) == (np.uint16, [0, 17, 1006])


def test_the_class_nerve_is_measured_or_else_all_classes():
    structures = Classes.of({"muscle": [1], "nerve": [2, 3], "tibial": [2]})
    parts = structures.encode(np.array([0, 1, 2, 3]).reshape(4, 1, 1))
    assert structures.nerve(parts).ravel().tolist() == [False, False, True, True]
    assert [structures.is_nerve(name) for name in structures.names] == [False, True, True]
    assert Classes.of({"tibial": [1], "peroneal": [2]}).nerve_parts == (1, 2)


@pytest.mark.parametrize(
    "wrong", [{}, {"a": []}, {"a": [0]}, {"a": [1, 1]}, {"a": [1, 2], "b": [2, 1]}, {"a": [70000]}, {"a": [1.5]},
              {"a": [True]}, {"a": ["1"]},
              {"": [1]}, {"a/b": [1]}, {"nerve": [1], "Nerve": [2]}, {"a b": [1], "a  b": [2]}],
)  # fmt: skip
def test_classes_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValidationError):
        declared(wrong)


def test_more_parts_than_a_byte_tells_apart_are_refused():
    declared({f"c{label}": [label] for label in range(1, 256)})
    with pytest.raises(ValidationError):
        declared({f"c{label}": [label] for label in range(1, 257)})
    declared({"nerve": list(range(1, 1000))})  # many labels of one part


@pytest.mark.parametrize(("foreground", "classes"), [(None, None), ([3], {"nerve": (3,)})])
def test_the_key_of_earlier_versions_is_read(foreground, classes):
    files = {"name": "x", "root": "x", "images": {"T2": "{id}"}, "raters": {"A": "{id}m"}}
    assert StudyLayout.model_validate(files | {"foreground": foreground}).classes == classes


def test_terms_are_of_the_studys_classes():
    files = {"name": "x", "root": "x", "images": {"T2": "{id}"}, "raters": {"A": "{id}m"}, "classes": {"tibial": [1]}}
    term = {"value": "45684006", "meaning": "Tibial nerve"}
    assert StudyLayout.model_validate(files | {"terms": {"tibial": term}}).terms["tibial"].scheme == "SCT"
    with pytest.raises(ValidationError):
        StudyLayout.model_validate(files | {"terms": {"sural": term}})


MAPS = st.lists(arrays.arrays(np.uint8, (4, 3, 2), elements=st.integers(0, 3)), min_size=1, max_size=6)


@given(MAPS)
def test_the_majority_is_counted_voxel_by_voxel(maps):
    found = majority_vote(maps)
    for voxel in itertools.product(*map(range, found.shape)):
        votes = [int(each[voxel]) for each in maps]
        agreed = [part for part in (1, 2, 3) if 2 * votes.count(part) > len(votes)]
        assert found[voxel] == (agreed[0] if agreed else 0)


@given(MAPS)
def test_each_part_is_the_majority_of_its_masks(maps):
    found = consensus_of(maps)
    for part in (1, 2, 3):
        np.testing.assert_array_equal(found == part, majority_vote([each == part for each in maps]))


def test_raters_who_agree_on_the_nerve_and_not_on_the_branch():
    classes = Classes.of({"tibial": [1], "peroneal": [2], "nerve": [1, 2]})
    maps = {rater: np.full((1, 1, 1), label, np.uint8) for rater, label in (("A", 1), ("B", 2), ("C", 0))}
    agreed = consensus_of(list(maps.values()))
    found = {
        name: class_consensus(
            {rater: classes.mask(parts, name) for rater, parts in maps.items()}, agreed, classes, name, "majority"
        ).item()
        for name in classes.names
    }
    assert found == {"tibial": False, "peroneal": False, "nerve": True}


def test_staple_of_several_parts_is_simpleitks():
    """Raters who move the border between two parts by a voxel; the box reaches beyond the drawn voxels by a margin."""
    maps = []
    for border in (9, 10, 10, 11):
        labels = np.zeros((30, 24, 4), np.uint8)
        labels[5:border, 5:15] = 1
        labels[border:16, 5:15] = 2
        maps.append(labels)
    images = [SimpleITK.GetImageFromArray(labels[:21, :20]) for labels in maps]
    expected = SimpleITK.GetArrayFromImage(SimpleITK.MultiLabelSTAPLE(images, 9))
    found = staple(maps)
    np.testing.assert_array_equal(found[:21, :20], np.where(expected == 9, 0, expected))
    assert not found[21:].any()
    np.testing.assert_array_equal(found, maps[1])


@pytest.mark.parametrize(
    ("names", "table", "written"),
    [
        (["nerve"], [0, 1, 1, 0, 0], {}),
        (["nerve", "tibial"], [0, 1, 2, 0, 0], {"tibial": [4], "nerve": [4, 5]}),
        (["vein", "bone"], [0, 0, 0, 1, 2], {"vein": [7], "bone": [9]}),
    ],
)
def test_some_of_the_classes_keep_their_masks_and_label_values(names, table, written):
    classes = Classes.of({"tibial": [4], "peroneal": [5], "nerve": [4, 5], "vein": [7, 8], "bone": [9]})
    parts = np.arange(5, dtype=np.uint8).reshape(1, 1, 5)
    kept, found = classes.select(names)
    assert found.tolist() == table
    assert kept.written == written
    assert set(kept.names) == set(names)
    for name in names:
        np.testing.assert_array_equal(kept.mask(found[parts], name), classes.mask(parts, name))
    same, identity = classes.select(classes.names)
    assert same == classes
    np.testing.assert_array_equal(identity[parts], parts)
