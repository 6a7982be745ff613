import math

import nibabel as nib
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from nerveseg.data.preprocessing import Crop, Preprocessing
from nerveseg.errors import BundleError, GeometryError, VolumeError
from nerveseg.inference.bundle import Architecture, Bundle, ModelDescription, TrainingRecord
from nerveseg.inference.predictor import (
    MaskWriter,
    Predictor,
    Scan,
    nerve_mask,
    predict_scans,
    prepare_scan,
    probability_volume,
)
from nerveseg.networks.fc_densenet import FCDenseNet

SHAPE = (14, 11, 5)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


@pytest.fixture(scope="module")
def bundle_of():
    """A model of our own architecture with random weights, for a crop and a number of channels."""

    def make(size=(8, 6), channels=1):
        torch.manual_seed(3)
        options = dict(in_channels=channels, first_filters=4, growth_rate=3, layers_per_block=1, transitions=1)
        network = FCDenseNet(**options, dropout=0.5)
        network(torch.randn(8, channels, 8, 8))
        with torch.no_grad():
            network.classifier.weight *= 5
        description = ModelDescription(
            architecture=Architecture(name="FCDenseNet", arguments=options | {"dropout": 0.5}),
            channels=[f"C{number}" for number in range(channels)],
            spacing_mm=(1.0, 1.0, 4.4),
            preprocessing=Preprocessing(size=size),
            foreground=None,
            training=TrainingRecord(study="x", synthetic=True, subjects={}, fold=0, epochs=1, seed=1, folds_seed=1),
            versions={},
        )
        return Bundle(network.eval(), description)

    return make


def oblique():
    turn = np.eye(4)
    angle = math.radians(17)
    turn[1:3, 1:3] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    affine = turn @ np.diag([0.5, 0.7, 4.4, 1.0])
    affine[:3, 3] = (-30, 12, 400)
    return affine


def write_scan(path, codes="RAS", seed=0, shape=SHAPE):
    """One picture, stored in any axis order."""
    array = np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    nib.save(nib.Nifti1Image(apply_orientation(array, turn), oblique() @ inv_ornt_aff(turn, shape)), path)
    return path


def by_hand(bundle, paths):
    """Probability on nibabel's canonical array: normalise, cut or pad to the crop by numpy alone, slice by slice."""
    size = bundle.description.preprocessing.size
    channels = []
    for path in paths:
        array = nib.as_closest_canonical(nib.load(path)).get_fdata()
        channels.append((array - array.mean()) / array.std())
    result = np.zeros(channels[0].shape)
    cut, pad = [], []
    for axis in (0, 1):
        extra = result.shape[axis] - size[axis]
        cut.append(slice(extra // 2, extra // 2 + size[axis]) if extra > 0 else slice(None))
        pad.append((-extra // 2, -extra - (-extra // 2)) if extra < 0 else (0, 0))
    back = tuple(slice(before, length - after) for (before, after), length in zip(pad, size, strict=True))
    for index in range(result.shape[2]):
        cropped = [np.pad(c[(*cut, index)], pad, constant_values=c.min()) for c in channels]
        with torch.no_grad():
            logits = bundle.network(torch.tensor(np.stack(cropped)[None], dtype=torch.float32))[0].double().numpy()
        result[(*cut, index)] = (1 / (1 + np.exp(logits[0] - logits[1])))[back]
    return result


def segment(bundle, scans, tmp_path, slices_per_batch=8, written=None):
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[MaskWriter("SYNTHETIC TRAINING DATA, nerveseg", written)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    predict_scans(bundle, scans, trainer, slices_per_batch)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL", "PIR"])
@pytest.mark.parametrize("size", [(8, 6), (20, 24), (10, 16), (14, 11)])
def test_a_mask_lies_in_the_grid_of_its_scan(size, codes, bundle_of, tmp_path):
    bundle = bundle_of(size)
    path = write_scan(tmp_path / "scan.nii.gz", codes)
    segment(bundle, [Scan("V01", {"C0": path}, tmp_path / "out" / "mask.nii.gz")], tmp_path)

    image, mask = nib.load(path), nib.load(tmp_path / "out" / "mask.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert mask.get_data_dtype() == np.uint8
    assert bytes(mask.header["descrip"]).startswith(b"SYNTHETIC TRAINING DATA, nerveseg")
    expected = by_hand(bundle, [path])
    assert 0.05 < (expected > 0.5).mean() < 0.95
    certain = np.abs(expected - 0.5) > 1e-4
    found = nib.as_closest_canonical(mask).get_fdata() > 0
    np.testing.assert_array_equal(found[certain], expected[certain] > 0.5)


def test_the_same_picture_gets_the_same_mask_in_every_axis_order(bundle_of, tmp_path):
    scans = [
        Scan(codes, {"C0": write_scan(tmp_path / f"{codes}.nii", codes)}, tmp_path / f"{codes}_mask.nii.gz")
        for codes in ("RAS", "LPI", "ASR", "IPL")
    ]
    segment(bundle_of(), scans, tmp_path)
    masks = [nib.as_closest_canonical(nib.load(scan.output)).get_fdata() for scan in scans]
    assert masks[0].any()
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])


def test_probabilities_are_those_of_the_network_and_0_outside_the_crop(bundle_of, tmp_path):
    bundle = bundle_of(size=(8, 20))
    path = write_scan(tmp_path / "scan.nii")
    prepared = prepare_scan(Scan("V01", {"C0": path}, tmp_path / "mask.nii"), bundle.description.preprocessing)
    assert prepared.slices.shape == (5, 1, 8, 20)
    with torch.no_grad():
        volume = probability_volume(Predictor(bundle).predict_step(prepared, 0), prepared.crop)
    np.testing.assert_allclose(volume, by_hand(bundle, [path]), atol=1e-5)
    assert not volume[:3].any()
    assert not volume[11:].any()
    assert (volume[3:11] > 0).all()


@pytest.mark.parametrize("slices_per_batch", [1, 2, 5, 64])
def test_the_batch_size_does_not_matter(slices_per_batch, bundle_of, tmp_path):
    bundle = bundle_of()
    scan = Scan("V01", {"C0": write_scan(tmp_path / "scan.nii")}, tmp_path / "mask.nii")
    prepared = prepare_scan(scan, bundle.description.preprocessing)
    with torch.no_grad():
        alone = torch.cat([Predictor(bundle).nerve_probability(one) for one in prepared.slices.split(1)])
        found = Predictor(bundle, slices_per_batch).predict_step(prepared, 0)
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-6)


def test_several_channels_go_in_by_their_order(bundle_of, tmp_path):
    bundle = bundle_of(channels=2)
    paths = [write_scan(tmp_path / f"{number}.nii", "LPS", seed=number) for number in (0, 1)]
    expected = by_hand(bundle, paths)
    swapped = by_hand(bundle, paths[::-1])
    prepared = prepare_scan(
        Scan("V01", {"C0": paths[0], "C1": paths[1]}, tmp_path / "m.nii"), bundle.description.preprocessing
    )
    with torch.no_grad():
        volume = probability_volume(Predictor(bundle).predict_step(prepared, 0), prepared.crop)
    np.testing.assert_allclose(volume, expected, atol=1e-5)
    assert np.abs(expected - swapped).max() > 0.1


def test_channels_are_taken_by_name_in_the_models_order(bundle_of, tmp_path):
    bundle = bundle_of(channels=2)
    paths = {f"C{number}": write_scan(tmp_path / f"{number}.nii", seed=number) for number in range(3)}
    given = [("C0", "C1"), ("C1", "C0"), ("C2", "C1", "C0")]
    scans = [
        Scan("".join(names), {name: paths[name] for name in names}, tmp_path / f"{'-'.join(names)}.nii")
        for names in given
    ]
    segment(bundle, scans, tmp_path)
    expected = by_hand(bundle, [paths["C0"], paths["C1"]])
    certain = np.abs(expected - 0.5) > 1e-4
    for scan in scans:
        found = nib.load(scan.output).get_fdata() > 0
        np.testing.assert_array_equal(found[certain], expected[certain] > 0.5)


def test_a_scan_without_a_channel_of_the_model_is_refused_before_anything_is_predicted(bundle_of, tmp_path):
    paths = {f"C{number}": write_scan(tmp_path / f"{number}.nii", seed=number) for number in range(2)}
    scans = [Scan("V01", paths, tmp_path / "1_mask.nii"), Scan("V02", {"C0": paths["C0"]}, tmp_path / "2_mask.nii")]
    with pytest.raises(BundleError, match=r"takes the channels C0, C1; found: only C0; subject: V02; remedy: .*C1="):
        segment(bundle_of(channels=2), scans, tmp_path)
    assert not (tmp_path / "1_mask.nii").exists()


def test_many_scans_of_several_shapes_are_written_one_after_another(bundle_of, tmp_path):
    shapes = [(14, 11, 5), (9, 20, 1), (7, 7, 12)]
    scans = [
        Scan(f"V{n}", {"C0": write_scan(tmp_path / f"{n}.nii.gz", "LPS", n, shape)}, tmp_path / f"out/{n}_mask.nii.gz")
        for n, shape in enumerate(shapes)
    ]
    told = []

    def written(scan, mask):
        told.append(scan.subject)
        stored = nib.as_closest_canonical(nib.load(scan.output)).get_fdata() > 0
        np.testing.assert_array_equal(stored, mask)

    segment(bundle_of(), scans, tmp_path, written=written)
    assert told == ["V0", "V1", "V2"]
    for n, shape in enumerate(shapes):
        assert nib.load(tmp_path / f"out/{n}_mask.nii.gz").shape == shape


def test_dropout_is_off(bundle_of, tmp_path):
    scans = [Scan("V01", {"C0": write_scan(tmp_path / "scan.nii")}, tmp_path / f"{n}.nii") for n in range(3)]
    bundle = bundle_of()
    bundle.network.train()
    segment(bundle, scans, tmp_path)
    first = nib.load(scans[0].output).get_fdata()
    for scan in scans[1:]:
        np.testing.assert_array_equal(nib.load(scan.output).get_fdata(), first)


def test_nerve_is_what_is_likelier_than_not():
    probability = np.array([0.0, 0.5, np.nextafter(0.5, 1), 1.0]).reshape(2, 2, 1)
    np.testing.assert_array_equal(nerve_mask(probability).ravel(), [False, False, True, True])


def test_the_probability_volume_undoes_the_crop():
    slices = torch.arange(1, 13).reshape(2, 3, 2).float()
    volume = probability_volume(slices, Crop(shape=(5, 1), size=(3, 2)))
    assert volume.shape == (5, 1, 2)
    np.testing.assert_array_equal(volume[1:4, 0, 0], [1, 3, 5])
    np.testing.assert_array_equal(volume[1:4, 0, 1], [7, 9, 11])
    assert volume.sum() == 36


def test_a_scan_that_cannot_be_read_is_named(bundle_of, tmp_path):
    with pytest.raises(VolumeError, match=r"subject: V09; path: .*none\.nii"):
        segment(bundle_of(), [Scan("V09", {"C0": tmp_path / "none.nii"}, tmp_path / "mask.nii")], tmp_path)
    assert not (tmp_path / "mask.nii").exists()


@pytest.mark.parametrize("geometry", [None, "qform"])
def test_a_contradictory_header_has_to_be_settled(geometry, bundle_of, tmp_path):
    image = nib.Nifti1Image(np.random.default_rng(0).random(SHAPE, dtype=np.float32), None)
    image.set_qform(np.diag([-0.5, 0.5, 4.4, 1.0]), 1)
    image.set_sform(np.diag([1.0, 1.0, 4.4, 1.0]), 1)
    nib.save(image, tmp_path / "scan.nii")
    scan = Scan("V01", {"C0": tmp_path / "scan.nii"}, tmp_path / "mask.nii", geometry)
    if geometry is None:
        with pytest.raises(GeometryError, match="qform and sform"):
            segment(bundle_of(), [scan], tmp_path)
        return
    segment(bundle_of(), [scan], tmp_path)
    mask = nib.load(tmp_path / "mask.nii")
    for transform in ("get_qform", "get_sform"):
        np.testing.assert_allclose(getattr(mask, transform)(), getattr(image, transform)(), atol=1e-6)
    flipped = nib.Nifti1Image(np.asarray(image.dataobj)[::-1], np.diag([0.5, 0.5, 4.4, 1.0]))
    nib.save(flipped, tmp_path / "flipped.nii")
    expected = by_hand(bundle_of(), [tmp_path / "flipped.nii"])[::-1] > 0.5
    np.testing.assert_array_equal(mask.get_fdata() > 0, expected)
