"""What a notebook's user tries first: dicts, images of nibabel, `repr`, `save`."""

import json
import re
import shutil
from pathlib import Path
from typing import get_type_hints

import nibabel as nib
import numpy as np
import pytest
import yaml

import nerveseg
from nerveseg.data.study_layout import StudyLayout, bids_layout
from nerveseg.errors import ConfigurationError, RunError, StudyError
from nerveseg.inference.ensemble import open_model
from nerveseg.scans.results import read_summary
from nerveseg.scans.segmentation import NOT_RECORDED


@pytest.fixture(scope="module")
def model(sweep):
    return open_model(sweep / "fold-0")


def test_an_image_in_memory_and_dicts_give_the_mask_of_the_command(image_of, model, sweep, run, tmp_path, monkeypatch):
    loaded = nib.load(image_of("V01"))
    in_memory = nib.Nifti1Image(np.asarray(loaded.dataobj), loaded.affine, loaded.header)
    person, options = {"side": "left"}, {"accuracy": "exact", "lesion": {"k": 4.0}}
    found = nerveseg.segment_scan(in_memory, model, person=person, options=options)
    run(image_of("V01"), f"model={sweep / 'fold-0'}", "output=out", "accuracy=exact", "lesion.k=4.0", "side=left")
    np.testing.assert_array_equal(found.mask, np.asarray(nib.load(tmp_path / "out/mask.nii.gz").dataobj) > 0)
    assert [nerve.side for nerve in found.nerves] == ["left"]
    assert len(repr(found)) < 1000
    assert f"{found.nerves[0].volume_mm3:,.0f} mm3" in repr(found)

    monkeypatch.setenv("HOME", str(tmp_path))
    folder = found.save("~/saved", write_probability=True)
    assert folder == tmp_path / "saved"
    written, of_command = ({path.name for path in each.iterdir()} for each in (folder, tmp_path / "out"))
    # A workspace of ITK-SNAP names the scan's file, which an image in memory has not.
    assert written == of_command - {"workspace.itksnap"} | {"probability.nii.gz"}
    np.testing.assert_array_equal(np.asarray(nib.load(folder / "mask.nii.gz").dataobj), found.mask)
    before = (folder / "summary.json").read_bytes()
    found.save(folder, write_probability=True)
    assert (folder / "summary.json").read_bytes() == before
    assert json.loads(before)["identity"]["inputs"].keys() == {"image"}
    written_summary = read_summary(folder)
    assert written_summary.request is None
    assert NOT_RECORDED in written_summary.notes
    assert NOT_RECORDED not in read_summary(tmp_path / "out").notes
    assert isinstance("stl", get_type_hints(type(found).save)["written"])
    other = nerveseg.segment_scan(image_of("V02"), model)
    with pytest.raises(RunError):
        other.save(folder)
    with pytest.raises(ConfigurationError) as caught:
        other.save(tmp_path / "new", dicom_seg=True)
    assert caught.value.path == image_of("V02")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"options": {"acuracy": "exact"}}, "acuracy"),
        ({"options": {"lesion": {"k": -1}}}, "lesion.k"),
        ({"options": {"quality": {"far_mm": float("inf")}}}, "quality.far_mm"),  # JSON has no infinity
        ({"options": {"quality": {"spacing_ratio": float("inf")}}}, "quality.spacing_ratio"),
        ({"options": {"quality": {"intensity_margin": float("inf")}}}, "quality.intensity_margin"),
        ({"person": {"side": "middle"}}, "side"),
        ({"person": {"weight_kg": float("inf")}}, "weight_kg"),
    ],
)
def test_a_wrong_option_is_named_before_the_model_is_opened(arguments, name, image_of):
    with pytest.raises(ConfigurationError, match=name):
        nerveseg.segment_scan(image_of("V01"), "nowhere", **arguments)


def test_the_first_part_of_the_page_runs_as_it_stands(image_of, sweep, tiny_study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(image_of("V01"), "scan.nii.gz")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/demo").symlink_to(sweep / "fold-0")
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page.partition("## Train")[0], re.DOTALL)
    names: dict = {}
    exec(compile(code.replace("/path/to/study", str(tiny_study)), "docs/python.md", "exec"), names)
    assert (tmp_path / "out/report.html").is_file()
    assert repr(names["study"]).startswith("<Study tiny: ")


def test_the_layout_of_a_folder_is_that_of_the_configuration(tmp_path):
    values = yaml.safe_load((Path(__file__).parents[2] / "conf/study/bids.yaml").read_text(encoding="utf-8"))
    for rater in values["raters"]:
        (tmp_path / f"derivatives/rater-{rater}").mkdir(parents=True)
    configured = StudyLayout.model_validate(values | {"name": tmp_path.name, "root": tmp_path})
    assert bids_layout(tmp_path) == configured


def test_a_study_opens_by_its_folder(tiny_study, tmp_path):
    study = nerveseg.open_study(str(tiny_study))
    folders = {path.name.removeprefix("sub-") for path in tiny_study.glob("sub-*")}
    assert {subject.id for subject in study.subjects} == folders
    assert set(study.description.raters) == {path.name[6:] for path in tiny_study.glob("derivatives/rater-*")}
    assert study.description.synthetic
    assert len(repr(study)) < 300
    with pytest.raises(StudyError) as caught:
        nerveseg.open_study(tmp_path / "nowhere")
    assert caught.value.path == tmp_path / "nowhere"
