import nibabel as nib
import numpy as np
import pytest

from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.slice_store import open_slices, prepare_slices
from nerveseg.data.study import open_study
from nerveseg.errors import VolumeError

RULE = Preprocessing(size=(12, 12), spacing_mm="study")


@pytest.fixture
def mixed(study_on_disk):
    """Subjects of these in-plane spacings."""

    def make(spacings, root=None):
        disk = study_on_disk(root, ids=tuple(f"V{number:02}" for number in range(len(spacings))))
        for number, spacing in enumerate(spacings):
            for path in [disk.image(f"V{number:02}"), *(disk.mask(f"V{number:02}", r) for r in ("OS", "BW", "LG"))]:
                array = np.asarray(nib.load(path).dataobj).copy()
                nib.save(nib.Nifti1Image(array, np.diag([*spacing, 4.4, 1.0])), path)
        return open_study(disk.description)

    return make


@pytest.mark.parametrize(
    ("spacings", "median"),
    [
        ([(0.5, 0.6)], (0.5, 0.6)),
        ([(0.5, 0.6), (0.7, 0.6), (0.6, 0.9)], (0.6, 0.6)),
        ([(0.5, 0.5), (0.7, 0.7), (0.6, 0.6), (0.9, 0.9)], (0.6, 0.6)),
    ],
)
def test_the_studys_spacing_is_the_lower_median_of_its_subjects(spacings, median, mixed):
    study = mixed(spacings)
    assert study.median_spacing_mm() == pytest.approx(median, abs=1e-6)
    assert RULE.settle(study.median_spacing_mm).spacing_mm == study.median_spacing_mm()
    own = Preprocessing(spacing_mm=(0.4, 0.4))
    assert own.settle(study.median_spacing_mm) is own


def test_no_voxel_is_read_for_it(mixed, monkeypatch):
    study = mixed([(0.5, 0.5)])
    monkeypatch.setattr(nib.arrayproxy.ArrayProxy, "get_unscaled", lambda *_: pytest.fail("voxels are read"))
    assert study.median_spacing_mm() == (0.5, 0.5)


def test_a_header_that_cannot_be_read_is_an_error_with_its_file(mixed):
    study = mixed([(0.5, 0.5), (0.6, 0.6)])
    study.subjects[1].image.write_bytes(b"none")
    with pytest.raises(VolumeError) as caught:
        study.median_spacing_mm()
    assert caught.value.path == study.subjects[1].image


def test_a_store_of_mixed_spacings_holds_one_spacing_and_the_number(mixed, tmp_path):
    store = prepare_slices(mixed([(0.5, 0.5), (0.5, 0.5), (1.0, 0.5)]), RULE, tmp_path / "slices")
    assert store.index.preprocessing == RULE.model_copy(update={"spacing_mm": (0.5, 0.5)})
    assert open_slices(store.folder) == store
    assert {store.subject(name).spacing_mm for name in ("V00", "V01", "V02")} == {(0.5, 0.5, 4.4)}
    known = store.subject("V02")
    assert known.part_pixels == (store.labels("V02").sum(),)
    assert store.consensus("V02").shape == (10, 9, 4)


def test_in_a_study_of_one_spacing_nothing_changes(mixed, tmp_path):
    study = mixed([(0.5, 0.5), (0.503, 0.5)])
    resampled = prepare_slices(study, RULE, tmp_path / "slices")
    native = prepare_slices(study, RULE.model_copy(update={"spacing_mm": None}), tmp_path / "slices")
    assert resampled.key != native.key
    for name in ("V00", "V01"):
        np.testing.assert_array_equal(resampled.images(name), native.images(name))
        np.testing.assert_array_equal(resampled.labels(name), native.labels(name))
        assert resampled.subject(name) == native.subject(name)
