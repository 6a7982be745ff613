from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nerveseg.data.legs import find_legs
from nerveseg.data.volumes.volume import read_image, read_labels
from nerveseg.launch.compose import config_folder
from nerveseg.phantom.cohort import CohortSpec, participants, simulate_subject


def discs(*centres_mm, radius_mm=70.0, air=0.0, pixel_mm=2.0, size=(240, 120), slices=3, seed=0):
    """Discs of tissue in air with noise, (x, y, z)."""
    x, y = np.meshgrid(*[np.arange(n) * pixel_mm for n in size], indexing="ij")
    tissue = np.any([(x - cx) ** 2 + (y - 120.0) ** 2 <= radius_mm**2 for cx in centres_mm], axis=0)
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, 20.0, (*size, slices))
    return np.abs(np.where(tissue[..., None], 100.0, air) + noise).astype(np.float32)


@pytest.mark.parametrize("subject", ["Thigh_001", "Thigh_002"])
@pytest.mark.parametrize("channel", ["0000", "0001"])
def test_both_real_thighs(shared_data, subject, channel):
    folder = shared_data("thigh_dixon")
    volume = read_image(folder / f"{subject}_{channel}.nii.gz")
    left, right = find_legs(volume.array, volume.grid.ras_spacing_mm)
    assert (left.side, right.side) == ("left", "right")
    assert left.columns.start == 0
    assert left.columns.stop == right.columns.start
    assert right.columns.stop == 512
    muscles = read_labels(folder / "muscles" / f"{subject}.nii.gz") > 0
    shares = [muscles[leg.columns].sum() / muscles.sum() for leg in (left, right)]
    assert min(shares) > 0.45
    lower = muscles[:, :, :10]
    border = lower[left.columns.stop - 3 : left.columns.stop + 3]
    assert border.sum() <= 0.002 * lower.sum(), "the border runs between the thighs"


@pytest.mark.parametrize("half", [slice(0, 240), slice(270, 512)])
def test_one_real_thigh_cut_from_both(shared_data, half):
    volume = read_image(shared_data("thigh_dixon") / "Thigh_001_0001.nii.gz")
    (leg,) = find_legs(np.ascontiguousarray(volume.array[half]), volume.grid.ras_spacing_mm)
    assert leg.side == "unknown"
    assert leg.columns == slice(0, half.stop - half.start)


@pytest.mark.parametrize("identifier", ["V01", "P01", "P05"])
def test_one_phantom_leg(identifier):
    options = yaml.safe_load((config_folder() / "cohort" / "tiny.yaml").read_text(encoding="utf-8"))
    spec = CohortSpec(**{**options, "fat_suppressed_mm": None})
    (row,) = (row for row in participants(spec) if row.id == identifier)
    (leg,) = find_legs(simulate_subject(spec, row).image, (1.7, 1.7, 17.6))
    assert leg.columns == slice(0, 48)


def test_a_vessel_and_a_brain_are_not_two_legs(shared_data):
    paths = [shared_data("aorta_multirater") / "image_aligned_by_us.nii.gz"]
    paths += sorted(Path(shared_data("hippocampus") / "images").glob("*.nii.gz"))[:4]
    for path in paths:
        volume = read_image(path)
        assert len(find_legs(volume.array, volume.grid.ras_spacing_mm)) == 1


@pytest.mark.parametrize(("first", "second"), [(90.0, 300.0), (120.0, 290.0), (150.0, 285.0)])
def test_two_discs_apart_or_touching_are_parted_midway(first, second):
    left, right = find_legs(discs(first, second), (2.0, 2.0, 4.0))
    assert left.columns.stop * 2.0 == pytest.approx((first + second) / 2, abs=8.0)
    assert right.columns == slice(left.columns.stop, 240)


def test_one_disc_is_one_leg():
    assert len(find_legs(discs(200.0), (2.0, 2.0, 4.0))) == 1


def test_a_leg_that_only_looks_in_does_not_count():
    assert len(find_legs(discs(150.0, 510.0), (2.0, 2.0, 4.0))) == 1


def test_legs_that_join_in_most_slices_are_still_two():
    """Two slices below the crotch, three above it."""
    apart, joined = discs(120.0, 290.0, slices=2), discs(130.0, 165.0, 205.0, 250.0, 280.0, slices=3)
    assert len(find_legs(np.concatenate([apart, joined], axis=2), (2.0, 2.0, 4.0))) == 2


SIZES = st.tuples(*[st.integers(1, 12)] * 2, st.integers(1, 3))
SPACINGS = st.tuples(*[st.sampled_from([1e-6, 0.001, 0.5, 2.0, 30.0, 1e5])] * 2, st.just(4.0))


@given(hnp.arrays(np.float32, SIZES, elements=st.floats(-1e6, 1e6, width=32)), SPACINGS)
def test_legs_of_any_image_and_spacing_share_its_columns(image, spacing_mm):
    legs = find_legs(image, spacing_mm)
    assert len(legs) in (1, 2)
    assert [column for leg in legs for column in range(*leg.columns.indices(99))] == list(range(image.shape[0]))


@pytest.mark.parametrize("spacing_mm", [(0.001, 0.001, 4.0), (1e-9, 2.0, 4.0)])
def test_no_pixel_is_too_small(spacing_mm):
    assert len(find_legs(discs(120.0, 290.0), spacing_mm)) == 1


def test_an_image_of_nothing_is_one_leg():
    assert len(find_legs(np.zeros((30, 30, 4), np.float32), (2.0, 2.0, 4.0))) == 1
