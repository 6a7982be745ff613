"""DICOM segmentation of sides and branches, of a nerve drawn by code, read back by highdicom, nerveseg and dciodvfy."""

import shutil
import subprocess
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from nerveseg.biomarkers.course import follow_nerves
from nerveseg.data.classes import Classes
from nerveseg.data.legs import Leg
from nerveseg.data.volumes.volume import read_image, read_labels
from nerveseg.scans.dicom_export import write_dicom_mask
from nerveseg.scans.segmentation import Segmentation
from tests.helpers.dicom_series import write_series

pytest.importorskip("highdicom")
LABELS = ["Left sciatic nerve", "Left tibial nerve", "Left peroneal nerve", "Right sciatic nerve"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder with `mask.dcm`, the drawn labels in RAS order (1 to 4, and 9 for a stray), and the grid."""
    folder = tmp_path_factory.mktemp("export")
    pixels = np.random.default_rng(0).integers(0, 900, (40, 80)).astype(np.uint16)
    axes = np.eye(3)
    header = {"PixelSpacing": [0.5, 0.5], "StudyDate": "20200101", "StudyTime": "120000", "StudyID": "1"}
    header |= {
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "AccessionNumber": "1",
        "ReferringPhysicianName": "A^B",
    }
    changes = {index: {"InstanceNumber": index + 1} for index in range(12)}
    write_series(folder / "series", np.arange(12) * 4.0, axes=axes, pixels=pixels, changes=changes, **header)
    image = read_image(folder / "series")
    drawn = np.zeros(image.grid.ras_shape, dtype=np.uint8)
    drawn[14:22, 16:24, 6:] = 1
    for number in range(6):
        away = 5 - number
        drawn[18 + away : 26 + away, 16:24, number] = 2
        drawn[10 - away : 16 - away, 17:23, number] = 3
    drawn[56:64, 16:24, :] = 4
    nerve = drawn > 0
    nerve[0:2, 0:2, 11] = True
    drawn[0:2, 0:2, 11] = 9
    legs = [Leg("left", slice(0, 40)), Leg("right", slice(40, 80))]
    model = SimpleNamespace(description=SimpleNamespace(terms={}), name="drawn", sha256="0123456789abcdef" * 4)
    scan = SimpleNamespace(grid=image.grid, image=image)
    courses = follow_nerves(nerve, np.diag([0.5, 0.5, 4.0, 1.0]), legs, far_mm=5.0)
    drawing = Mock(
        spec=Segmentation,
        courses=courses,
        scan=scan,
        model=model,
        classes=Classes.of(None),
        labels=nerve,
        synthetic=False,
    )
    assert write_dicom_mask(folder, drawing) == ["mask.dcm"]
    return folder, drawn, image.grid


def test_highdicom_reads_a_segment_for_each_side_and_branch(exported):
    import highdicom

    folder, drawn, _ = exported
    written = highdicom.seg.segread(folder / "mask.dcm")
    segments = [written.get_segment_description(number) for number in written.segment_numbers]
    assert [segment.segment_label for segment in segments] == LABELS
    codes = [segment.segmented_property_type.value for segment in segments]
    assert codes == ["84782009", "45684006", "84782009", "84782009"]
    kinds = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in segments]
    sides = [kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning for kind in kinds]
    assert sides == ["Left", "Left", "Left", "Right"]
    colours = [
        highdicom.color.CIELabColor.from_dicom_value(list(segment.RecommendedDisplayCIELabValue)).to_rgb()
        for segment in segments
    ]
    np.testing.assert_allclose(colours, [(230, 159, 0), (86, 180, 233), (0, 158, 115), (213, 94, 0)], atol=1)
    voxels = written.get_volume(combine_segments=False).array.sum(axis=(0, 1, 2))
    assert voxels.tolist() == [np.count_nonzero(drawn == label) for label in (1, 2, 3, 4)]


def test_all_segments_are_the_nerve_without_strays(exported):
    folder, drawn, grid = exported
    labels = read_labels(folder / "mask.dcm", grid)
    np.testing.assert_array_equal(labels, np.where(drawn == 9, 0, drawn))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")
def test_dciodvfy_finds_no_error(exported):
    checked = subprocess.run(["dciodvfy", str(exported[0] / "mask.dcm")], capture_output=True, text=True, check=False)
    lines = (checked.stdout + checked.stderr).splitlines()
    assert "Segmentation" in lines
    assert [line for line in lines if line.startswith("Error")] == []
