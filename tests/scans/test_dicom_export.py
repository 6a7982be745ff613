"""DICOM segmentation and report of a nerve drawn by code, read back by highdicom, nerveseg and dciodvfy."""

import shutil
import subprocess
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from nerveseg.biomarkers.course import follow_nerves
from nerveseg.biomarkers.profile import nerve_profile
from nerveseg.biomarkers.signals import Signals
from nerveseg.biomarkers.summary import summarise
from nerveseg.data.classes import NERVE_TERM, TIBIAL_TERM, Classes, Term
from nerveseg.data.legs import Leg
from nerveseg.data.volumes.volume import read_image, read_labels
from nerveseg.errors import VolumeError
from nerveseg.scans.dicom_export import export_dicom
from nerveseg.scans.dicom_report import structures_of
from nerveseg.scans.grade import Grade
from nerveseg.scans.own_files import mark
from nerveseg.scans.results import ResultOptions
from nerveseg.scans.segmentation import Segmentation
from tests.helpers.dicom_series import write_series

pytest.importorskip("highdicom")
LABELS = ["Left sciatic nerve", "Left tibial nerve", "Left peroneal nerve", "Right sciatic nerve"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder with both files, the drawn labels in RAS order (1 to 4, and 9 for a stray), and the grid."""
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
    affine, maps = np.diag([0.5, 0.5, 4.0, 1.0]), {"T2map": np.where(drawn == 2, 60, 45).astype(np.float32)}
    channels = {"T2": image.array, **maps, "MD": maps["T2map"]}
    courses = follow_nerves(nerve, affine, legs, far_mm=5.0)
    profile = nerve_profile(courses, range(12), Signals(channels))
    drawing = Mock(
        spec=Segmentation,
        courses=courses,
        scan=SimpleNamespace(grid=image.grid, image=image, channels={}, maps=maps | {"MD": maps["T2map"]}),
        channel="T2",
        model=model,
        classes=Classes.of(None),
        labels=nerve,
        synthetic=False,
        profile=profile,
        nerves=[summarise(profile, course, channels) for course in courses],
        grade=Grade(level="not usable", reason="drawn"),
    )
    mark(folder, set())
    written = export_dicom(folder, drawing, ResultOptions(dicom_seg="always", dicom_sr="always"))
    assert written == (["mask.dcm", "measurements.dcm"], ["the DICOM report takes T2map to be in ms"])
    return folder, drawn, image.grid, drawing


def test_highdicom_reads_a_segment_for_each_side_and_branch(exported):
    import highdicom

    folder, drawn, *_ = exported
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
    folder, drawn, grid, _ = exported
    labels = read_labels(folder / "mask.dcm", grid)
    np.testing.assert_array_equal(labels, np.where(drawn == 9, 0, drawn))


def groups_of(path):
    """Measurements of each group of a report, by its name; with site, side, segment and tracking identifier."""
    import highdicom

    report = highdicom.sr.srread(path)
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    content, found = report.content, {}
    for group in [*content.get_volumetric_roi_measurement_groups(), *content.get_image_measurement_groups()]:
        values = {}
        for one in group.get_measurements():
            kind = one.derivation.meaning if one.derivation else ""
            values[one.name.meaning, kind, one.unit.value] = one.value
        site = group.finding_sites[0]
        has_segment = isinstance(group, highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations)
        segment = group.referenced_segment if has_segment else None
        number = None
        if segment is not None:
            assert segment.has_source_images()
            number = segment[0].referenced_segment_numbers[0]
        else:
            assert len(group.source_images) == 12
        found[group.tracking_identifier] = (
            values,
            site.value.value,
            site.laterality.meaning,
            number,
            group.tracking_uid,
        )
    return report, found


def test_the_report_has_what_was_drawn_of_each_nerve_and_branch(exported):
    import highdicom

    folder, drawn, *_ = exported
    _, found = groups_of(folder / "measurements.dcm")
    whole = "Left nerve with all branches"
    assert {name: (*group[1:3], group[3]) for name, group in found.items()} == {
        "Left sciatic nerve": ("84782009", "Left", 1),
        "Left tibial nerve": ("45684006", "Left", 2),
        "Left peroneal nerve": ("84782009", "Left", 3),
        "Right sciatic nerve": ("84782009", "Right", 4),
        whole: ("84782009", "Left", None),
    }
    masks = highdicom.seg.segread(folder / "mask.dcm")
    for label, name in enumerate(LABELS, 1):
        values, *_, segment, uid = found[name]
        areas = np.count_nonzero(drawn == label, axis=(0, 1)) * 0.25
        assert values["Volume", "", "mm3"] == pytest.approx(areas.sum() * 4, rel=1e-5)
        assert values["Area", "Mean", "mm2"] == pytest.approx(areas[areas > 0].mean(), rel=1e-5)
        assert values["Area", "Maximum", "mm2"] == pytest.approx(areas.max(), rel=1e-5)
        assert values["T2", "Mean", "ms"] == (60 if label == 2 else 45)
        assert len(values) == 6, "no MD, which has no term"
        assert masks.get_segment_description(segment).tracking_uid == uid
    assert found["Right sciatic nerve"][0]["Length", "", "mm"] == pytest.approx(11 * 4)
    assert found["Left sciatic nerve"][0]["Length", "", "mm"] == pytest.approx(5 * 4)
    sums = [found[name][0]["Volume", "", "mm3"] for name in LABELS[:3]]
    assert found[whole][0]["Volume", "", "mm3"] == pytest.approx(sum(sums), rel=1e-5)


@pytest.mark.parametrize(
    ("map_name", "lowest", "highest"), [("T1map", 100.0, 5000.0), ("T2map", 5.0, 400.0), ("T2star", 1.0, 200.0)]
)
def test_a_map_that_is_not_in_ms_is_left_out_with_a_note(map_name, lowest, highest, exported):
    drawing = exported[3]

    def reported(value):
        nerve = drawing.nerves[1].model_copy(update={"mean_signal": {map_name: value}})
        scan = SimpleNamespace(maps={map_name: None}, channels={})
        profile = drawing.profile.rename(columns={"T2map_mean": f"{map_name}_mean"})
        changes = {"profile": profile, "courses": drawing.courses[1:], "nerves": [nerve], "scan": scan}
        others = {name: getattr(drawing, name) for name in ("channel", "grade")}
        (structure,), notes = structures_of(Mock(spec=Segmentation, **changes, **others), {})
        return [each.value for each in structure.quantities if each.unit == "ms"], notes

    for value in (lowest, highest):
        assert reported(value) == ([value], [f"the DICOM report takes {map_name} to be in ms"])
    for value in (lowest * 0.98, highest * 1.02, 1.2 * lowest / 1000):
        values, (note,) = reported(value)
        assert values == []
        assert f"{map_name}: mean {value:.4g}" in note
        assert f"{lowest:g} to {highest:g} ms" in note


@pytest.mark.parametrize(
    ("declared", "terms", "names"),
    [
        ({"median": (1,)}, {"median": Term(value="3058005", meaning="PNS")}, ("median", "median, branch 1")),
        ({"median": (1,)}, {}, ("median", "median, branch 1")),
        ({"nerve": (1,)}, {"nerve": Term(value="3058005", meaning="PNS")}, ("nerve", "nerve, branch 1")),
        ({"nerve": (1,)}, {}, ("sciatic nerve", "tibial nerve")),
    ],
)
def test_another_class_is_called_by_its_name_and_not_sciatic_nerve(declared, terms, names, exported, tmp_path):
    import highdicom

    drawing, others = exported[3], ("courses", "scan", "channel", "labels", "synthetic", "profile", "nerves", "grade")
    model = SimpleNamespace(description=SimpleNamespace(terms=terms), name="drawn", sha256="0" * 64)
    kept = {name: getattr(drawing, name) for name in others}
    changed = Mock(spec=Segmentation, model=model, classes=Classes.of(declared), **kept)
    mark(tmp_path, set())
    export_dicom(tmp_path, changed, ResultOptions(dicom_seg="always", dicom_sr="always"))
    masks = highdicom.seg.segread(tmp_path / "mask.dcm")
    segments = [masks.get_segment_description(number) for number in masks.segment_numbers]
    assert [each.segment_label for each in segments[:2]] == [f"Left {name}" for name in names]
    _, found = groups_of(tmp_path / "measurements.dcm")
    assert {f"Left {names[0]}", f"Left {names[1]}", f"Right {names[0]}"} < set(found)
    tibial = {TIBIAL_TERM.value} if names[1] == "tibial nerve" else set()
    expected = {each.value for each in terms.values()} or {NERVE_TERM.value} | tibial
    assert {group[1] for group in found.values()} == expected


def test_a_report_alone_refers_to_the_images_and_names_the_program(exported, tmp_path):
    mark(tmp_path, set())
    written, notes = export_dicom(tmp_path, exported[3], ResultOptions(dicom_seg=True, dicom_sr="always"))
    assert written == ["measurements.dcm"]
    assert "dicom_seg=always" in notes[0]
    report, found = groups_of(tmp_path / "measurements.dcm")
    assert {group[3] for group in found.values()} == {None}
    images = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert len(images) == 12
    text = report.to_json()
    assert all(word in text for word in ("nerveseg", "0123456789abcdef" * 4, "Not a medical device", "99NERVESEG"))


def test_classes_that_are_called_like_branches_are_not_joined(exported, tmp_path):
    from nerveseg.data.volumes.dicom_seg import SegmentMask, write_dicom_seg

    drawing, grid = exported[3], exported[2]
    masks = [np.asarray(grid.from_ras(exported[1] == label), dtype=np.bool_) for label in (1, 4)]
    segments = [SegmentMask(name, mask, NERVE_TERM) for name, mask in zip(LABELS[:2], masks, strict=True)]
    of = {"algorithm": "drawn", "synthetic": False, "model_sha256": "0" * 64}
    write_dicom_seg(tmp_path / "mask.dcm", segments, drawing.scan.image.files, **of)
    with pytest.raises(VolumeError):
        read_labels(tmp_path / "mask.dcm", grid)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")
@pytest.mark.parametrize(("name", "kind"), [("mask.dcm", "Segmentation"), ("measurements.dcm", "ComprehensiveSR")])
def test_dciodvfy_finds_no_error(name, kind, exported):
    checked = subprocess.run(["dciodvfy", str(exported[0] / name)], capture_output=True, text=True, check=False)
    lines = (checked.stdout + checked.stderr).splitlines()
    assert kind in lines
    assert [line for line in lines if line.startswith("Error")] == []
