"""Lesion, channels and the workspace of ITK-SNAP, of a scan with a fat-suppressed channel."""

import json
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from tests.scans.test_measure_command import measure

__all__ = ["measure"]  # fixture


def voxels_of(path):
    return np.asarray(nib.load(path).dataobj)


def layers_of(path):
    """Role, path and name of each layer of a workspace, by the rules of ITK-SNAP's registry."""
    root = ElementTree.fromstring(path.read_text().split("]>", 1)[1])

    def values(folder):
        return {entry.get("key"): entry.get("value") for entry in folder.findall("entry")}

    layers = root.find("folder[@key='Layers']").findall("folder")
    assert [layer.get("key") for layer in layers] == [f"Layer[{number:03d}]" for number in range(len(layers))]
    labels = layers[0].find(".//folder[@key='LabelTable']")
    table = {values(each)["Index"]: values(each)["Label"] for each in labels.findall("folder")}
    assert values(labels)["NumberOfElements"] == str(len(table))
    assert values(root)["SaveLocation"] == str(path.parent)
    named = [(values(each), values(each.find("folder[@key='LayerMetaData']"))) for each in layers]
    return [(own["Role"], own["AbsolutePath"], meta["CustomNickName"]) for own, meta in named], table


@pytest.fixture
def written(run, image_of, fat_suppressed_of, sweep, tmp_path):
    """Folder of results with lesion and channels, and a function that makes them again with other options."""

    def again(*options):
        further = (f"images.FS={fat_suppressed_of('P01')}", "lesion.automatic=true")
        run(image_of("P01"), f"model={sweep}", "output=out", *further, *options)
        return tmp_path / "out"

    return again("write_channels=true"), again


def test_lesion_and_channels_lie_on_the_scan_and_are_opened_together(written, measure, image_of):
    folder, _ = written
    image, lesion = nib.load(image_of("P01")), nib.load(folder / "lesion.nii.gz")
    nerve = json.loads((folder / "summary.json").read_text())["nerves"][0]
    np.testing.assert_array_equal(lesion.affine, image.affine)
    voxels = int(voxels_of(folder / "lesion.nii.gz").sum())
    assert voxels > 0
    assert voxels * abs(np.linalg.det(image.affine[:3, :3])) == pytest.approx(nerve["lesion_volume_mm3"], rel=1e-6)
    assert not (voxels_of(folder / "lesion.nii.gz") > voxels_of(folder / "mask.nii.gz")).any()
    channel = nib.load(folder / "channel-FS.nii.gz")
    assert channel.shape == image.shape
    np.testing.assert_array_equal(channel.affine, image.affine)
    mask, signal, sums = voxels_of(folder / "mask.nii.gz") > 0, channel.get_fdata(), np.zeros(2)
    for number in np.flatnonzero(mask.any(axis=(0, 1))):
        section = mask[..., number]
        core = binary_erosion(section, border_value=1)
        values = signal[..., number][core if core.any() else section]
        if np.isfinite(values).any():
            sums += section.sum() * np.array([values[np.isfinite(values)].mean(), 1])
    assert sums[0] / sums[1] == pytest.approx(nerve["mean_signal"]["FS"], rel=1e-5)
    layers, labels = layers_of(folder / "workspace.itksnap")
    assert layers == [
        ("MainRole", str(image_of("P01")), "T2"),
        ("SegmentationRole", str(folder / "mask.nii.gz"), "mask"),
        ("SegmentationRole", str(folder / "branches.nii.gz"), "branches"),
        ("OverlayRole", str(folder / "channel-FS.nii.gz"), "FS"),
    ]
    assert labels["1"].startswith("nerve (mask); ")
    level = int(voxels_of(folder / "lesion.nii.gz").sum(axis=(0, 1)).argmax())
    mask[..., level] = False
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), image.affine, image.header), folder / "mask.nii.gz")
    measure("out")
    assert not voxels_of(folder / "lesion.nii.gz")[..., level].any()
    assert layers_of(folder / "workspace.itksnap") == (layers, labels)
    assert not list(folder.glob("replaced-*"))


def test_files_that_are_no_longer_asked_for_go_and_those_of_a_person_stay(written):
    folder, again = written
    (folder / "channel-mine.nii.gz").write_bytes(b"of a person")
    (folder / "workspace.itksnap").write_text("saved by a person")
    again("lesion.automatic=false")
    assert {path.name for path in folder.glob("channel-*")} == {"channel-mine.nii.gz"}
    assert not (folder / "lesion.nii.gz").exists()
    assert (folder / "replaced-1" / "workspace.itksnap").read_text() == "saved by a person"
