"""One scan to its segmentation, against masks and numbers that numpy, nibabel and SimpleITK give."""

import itertools
import json
import re

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from nibabel.orientations import apply_orientation, inv_ornt_aff

import nerveseg
from nerveseg.data.classes import Classes
from nerveseg.data.hashing import image_sha256
from nerveseg.data.volumes.volume import read_image
from nerveseg.errors import BundleError, GeometryError, VolumeError
from nerveseg.inference.ensemble import open_model
from nerveseg.inference.predict import Prediction
from nerveseg.inference.prediction_settings import Computation, PredictionSettings
from nerveseg.scans.request import PatientInfo, SegmentOptions
from nerveseg.scans.segmentation import _clean_up_note
from tests.helpers.scan_models import write_model

RAW = SegmentOptions(postprocessing={"remove_specks": False})


def orientations():
    return [
        np.array(list(zip(order, flips, strict=True)))
        for order in itertools.permutations(range(3))
        for flips in itertools.product((1, -1), repeat=3)
    ]


def turned(path, orientation, to):
    image = nib.load(path)
    array = apply_orientation(np.asarray(image.dataobj), orientation)
    nib.save(nib.Nifti1Image(array, image.affine @ inv_ornt_aff(orientation, image.shape)), to)
    return to


def test_the_48_orders_of_the_axes_give_one_mask(image_of, sweep, tmp_path):
    model = open_model(sweep / "fold-0")
    upright = nerveseg.segment_scan(image_of("V01"), model, options=RAW)
    assert 0 < upright.mask.mean() < 0.9
    for number, orientation in enumerate(orientations()):
        path = turned(image_of("V01"), orientation, tmp_path / f"turned-{number}.nii.gz")
        found = nerveseg.segment_scan(path, model, options=RAW)
        assert found.mask.shape == nib.load(path).shape
        assert np.array_equal(found.mask, apply_orientation(upright.mask, orientation)), orientation
        assert found.nerves[0].volume_mm3 == pytest.approx(upright.nerves[0].volume_mm3, rel=1e-6)


def test_a_sweep_is_the_mean_of_its_folds_unless_the_scan_was_learned(image_of, sweep, tmp_path):
    single = [nerveseg.segment_scan(image_of("V01"), sweep / f"fold-{k}", options=RAW).probability for k in range(4)]
    held_out = nerveseg.segment_scan(image_of("V01"), sweep, options=RAW)
    (fold,) = held_out.folds
    assert np.array_equal(held_out.probability, single[fold])
    assert any(f"fold {fold}" in note for note in held_out.notes)
    image = nib.load(image_of("V01"))
    new = tmp_path / "new.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), new)
    ensemble = nerveseg.segment_scan(_recompressed(new), sweep, options=RAW)
    assert ensemble.folds == (0, 1, 2, 3)
    np.testing.assert_allclose(ensemble.probability, np.mean(single, axis=0), atol=2e-7)


def test_a_learned_scan_is_known_in_another_file(image_of, tmp_path):
    voxels = image_sha256(read_image(image_of("V01")))
    write_model(tmp_path / "sweep" / "fold-0" / "model", 1, {"V02": {}}, 0)
    write_model(tmp_path / "sweep" / "fold-1" / "model", 2, {"V01": {}}, 1, voxels={"V01": voxels})
    saved = SimpleITK.ReadImage(str(image_of("V01")))
    SimpleITK.WriteImage(saved, str(tmp_path / "scan.mha"))
    turned_scan = turned(image_of("V01"), orientations()[7], tmp_path / "turned.nii.gz")
    for path in (tmp_path / "scan.mha", turned_scan, _recompressed(turned_scan)):
        assert nerveseg.segment_scan(path, tmp_path / "sweep", options=RAW).folds == (0,)
    assert nerveseg.segment_scan(image_of("V03"), tmp_path / "sweep", options=RAW).folds == (0, 1)


def _recompressed(path):
    """The same voxels under another hash."""
    plain = path.with_suffix("")
    nib.save(nib.load(path), plain)
    return plain


def test_numbers_are_those_of_the_mask(image_of, sweep):
    found = nerveseg.segment_scan(image_of("P01"), sweep)
    image = nib.load(image_of("P01"))
    voxel_mm3 = abs(np.linalg.det(image.affine[:3, :3]))
    nerve = found.nerves[0]
    assert nerve.volume_mm3 + nerve.stray_volume_mm3 == pytest.approx(found.mask.sum() * voxel_mm3, rel=1e-6)
    total = found.profile[found.profile["branch"] == "total"]
    pixel_mm2 = np.linalg.norm(np.cross(image.affine[:3, 0], image.affine[:3, 1]))
    measured = found.scan.grid.from_ras(found.courses[0].mask)
    np.testing.assert_allclose(total["csa_mm2"], measured.sum(axis=(0, 1)) * pixel_mm2, rtol=1e-6)
    assert total["slice"].tolist() == list(range(image.shape[2]))
    assert found.synthetic


def test_what_the_clean_up_removed_and_added_is_told():
    probabilities, labels = np.zeros((1, 8, 8, 4), np.float32), np.zeros((8, 8, 4), np.uint8)
    probabilities[0, 2:4, 2:4] = 0.9  # 16 voxels of nerve, of which two are removed and another is added
    labels[2:4, 2:4] = 1
    cleaned = labels.copy()
    cleaned[2, 2, :2], cleaned[5, 5, 0] = 0, 1
    classes, settings = Classes.of(None), PredictionSettings()
    computation = Computation(device="cpu", runtime="torch", accuracy="exact")
    as_found, changed = (
        Prediction(each, probabilities, classes, settings, computation, ()) for each in (labels, cleaned)
    )
    assert _clean_up_note(as_found, (0.5, 0.5, 4.0)) == ()
    (note,) = _clean_up_note(changed, (0.5, 0.5, 4.0))
    assert re.findall(r"[\d.]+", note.replace("mm3", "")) == ["2", "12", "1"]  # mm3, % of 16 voxels, mm3


def test_a_metaimage_and_an_nrrd_of_the_scan_give_the_same_mask(image_of, sweep, tmp_path):
    model = open_model(sweep / "fold-1")
    expected = nerveseg.segment_scan(image_of("V02"), model, options=RAW)
    for suffix in (".mha", ".nrrd"):
        path = tmp_path / f"scan{suffix}"
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(image_of("V02"))), str(path))
        assert np.array_equal(nerveseg.segment_scan(path, model, options=RAW).mask, expected.mask)


def test_a_scan_of_both_thighs_is_two_nerves(shared_data, sweep, tmp_path):
    scan = tmp_path / "thighs.nii.gz"
    nib.save(nib.load(shared_data("thigh_dixon") / "Thigh_001_0001.nii.gz").slicer[..., 5:11], scan)
    found = nerveseg.segment_scan(scan, sweep / "fold-2")
    assert found.mask.shape == (512, 512, 6)
    assert [nerve.side for nerve in found.nerves] == ["left", "right"]
    assert set(found.profile["side"]) == {"left", "right"}
    left_of_middle = nib.as_closest_canonical(nib.Nifti1Image(found.mask.astype(np.uint8), found.affine)).get_fdata()
    volume = left_of_middle.sum() * abs(np.linalg.det(found.affine[:3, :3]))
    measured = sum(nerve.volume_mm3 + nerve.stray_volume_mm3 for nerve in found.nerves)
    assert measured == pytest.approx(volume, rel=1e-6)
    assert "field_unlike_training" in {flag.code for flag in found.flags}


def test_a_dicom_series_lies_where_simpleitk_says(shared_data, sweep):
    folder = shared_data("dicom_t2_axial")
    found = nerveseg.segment_scan(folder, sweep / "fold-0", options=RAW)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    assert found.mask.shape == image.GetSize() == (280, 320, 22)
    for index in ((0, 0, 0), (279, 0, 21), (13, 200, 7)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        ras = found.affine @ [*index, 1]
        np.testing.assert_allclose(ras[:3], lps * [-1, -1, 1], atol=1e-3)
    array = SimpleITK.GetArrayFromImage(image).T
    np.testing.assert_array_equal(found.scan.grid.from_ras(found.scan.image.array), array)


def test_the_side_somebody_named_is_the_nerves(image_of, sweep):
    found = nerveseg.segment_scan(image_of("V03"), sweep, person=PatientInfo(side="left"))
    assert [nerve.side for nerve in found.nerves] == ["left"]


def test_a_second_channel_is_registered_and_measured(image_of, fat_suppressed_of, truth_of, sweep):
    subject = "P01"
    found = nerveseg.segment_scan(
        image_of(subject),
        sweep,
        images={"FS": fat_suppressed_of(subject)},
        muscle=truth_of(subject, "vastus"),
        options=SegmentOptions(lesion={"channel": "FS", "reference_mean": 120.0, "reference_sd": 20.0, "k": 1.0}),
    )
    total = found.profile[found.profile["branch"] == "total"]
    assert total["FS_mean"].notna().any()
    assert total["FS_muscle_ratio"].notna().any()
    assert found.nerves[0].lesion_burden is not None
    assert found.lesion is not None
    channel = found.scan.channels["FS"]
    assert np.array_equal(found.lesion, found.ras_mask & (np.nan_to_num(channel, nan=-1) > 140.0))
    assert set(found.scan.registrations) == {"FS"}


def test_a_map_is_sampled_where_the_nerve_is(image_of, sweep, tmp_path):
    image = nib.load(image_of("V01"))
    ramp = np.indices(image.shape)[0].astype(np.float32) + 1  # zero is what is masked out
    nib.save(nib.Nifti1Image(ramp, image.affine), tmp_path / "map.nii.gz")
    found = nerveseg.segment_scan(image_of("V01"), sweep, maps={"ramp": tmp_path / "map.nii.gz"})
    row = found.profile[(found.profile["branch"] == "total") & ~found.profile["eroded"].fillna(True).astype(bool)]
    for _, cells in row.iterrows():
        expected = np.argwhere(found.mask[:, :, int(cells["slice"])])[:, 0].mean() + 1
        assert cells["ramp_mean"] == pytest.approx(expected, abs=1e-3)
    assert np.isfinite(found.nerves[0].mean_signal["ramp"])


def test_a_model_of_two_channels_wants_both(image_of, fat_suppressed_of, tmp_path):
    model = open_model(write_model(tmp_path / "two", 5, {}, channels=("T2", "FS")))
    with pytest.raises(BundleError) as caught:
        nerveseg.segment_scan(image_of("V01"), model)
    assert caught.value.found == "only T2"
    assert "images.FS=" in caught.value.remedy
    found = nerveseg.segment_scan(image_of("V01"), model, images={"FS": fat_suppressed_of("V01")})
    assert found.mask.any()


def test_a_channel_of_another_place_is_refused(image_of, sweep, tmp_path):
    image = nib.load(image_of("V01"))
    affine = image.affine.copy()
    affine[:3, 3] += 5000
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "far.nii.gz")
    with pytest.raises(GeometryError) as caught:
        nerveseg.segment_scan(
            image_of("V01"), sweep, images={"FS": tmp_path / "far.nii.gz"}, options=SegmentOptions(registration="none")
        )
    assert "FS" in caught.value.rule
    assert caught.value.path == tmp_path / "far.nii.gz"


def test_a_mask_given_as_image_is_refused(truth_of, sweep):
    with pytest.raises(VolumeError) as caught:
        nerveseg.segment_scan(truth_of("V01", "vastus"), sweep)
    assert caught.value.found == "only the values 0, 1"
    assert caught.value.path == truth_of("V01", "vastus")


def test_norms_give_z_scores_and_are_never_invented(image_of, sweep, tmp_path):
    norms = tmp_path / "norms.csv"
    norms.write_text(
        "quantity,location,sex,weight_min_kg,weight_max_kg,mean,sd\n"
        "mean_csa_mm2,medial,,,,45,12\n"
        "mean_csa_mm2,distal,,,,40,10\n"
    )
    options = SegmentOptions(norms=norms)
    found = nerveseg.segment_scan(image_of("V01"), sweep, person=PatientInfo(location="medial"), options=options)
    (nerve,) = found.nerves
    assert nerve.z_scores == {"mean_csa_mm2": pytest.approx((nerve.mean_csa_mm2 - 45) / 12)}
    unknown = nerveseg.segment_scan(image_of("V01"), sweep, options=options)
    assert unknown.nerves[0].z_scores == {}
    assert any("no z-scores" in note for note in unknown.notes)


def test_the_records_go_through_json(image_of, sweep):
    found = nerveseg.segment_scan(image_of("V01"), sweep)
    assert json.loads(found.nerves[0].model_dump_json())["volume_mm3"] == found.nerves[0].volume_mm3


def test_where_a_channel_is_unknown_nothing_is_called_healthy(image_of, sweep, tmp_path):
    image = nib.load(image_of("P01"))
    half = np.asarray(image.dataobj).astype(np.float32)
    half[..., 3:] = np.nan
    nib.save(nib.Nifti1Image(half, image.affine), tmp_path / "half.nii.gz")
    rule = {"channel": "FS", "reference_mean": 150.0, "reference_sd": 10.0}
    found = nerveseg.segment_scan(
        image_of("P01"), sweep, images={"FS": tmp_path / "half.nii.gz"}, options=SegmentOptions(lesion=rule)
    )
    total = found.profile[found.profile["branch"] == "total"].set_index("slice")
    assert total.loc[[3, 4, 5], "lesion_fraction"].isna().all()
    known = found.ras_mask[..., :3]
    expected = (known & (np.asarray(image.dataobj)[..., :3] > 180.0)).sum() / known.sum()
    assert found.nerves[0].lesion_burden == pytest.approx(expected)
    assert found.nerves[0].lesion_coverage == pytest.approx(known.sum() / found.ras_mask.sum())
