"""Opening the study that a configuration names."""

import json
from concurrent.futures import ThreadPoolExecutor
from shutil import rmtree

import pytest

from nerveseg.data.study_layout import says_synthetic
from nerveseg.errors import StudyError
from nerveseg.workflows import prepare_study
from nerveseg.workflows.check_study import check_configured_study
from nerveseg.workflows.scans_of_study import scans_of_study
from tests.helpers.composed import parsed_config


@pytest.fixture
def tiny(tmp_path):
    words = ["cohort@study.simulate=tiny", f"study.root={tmp_path / 'phantom'}"]
    return parsed_config("train", *words).study


def test_a_synthetic_study_is_simulated_once_and_remembers_how(tiny, tmp_path):
    study = prepare_study.open_configured_study(tiny)
    assert study.description.synthetic
    assert json.loads((tmp_path / "phantom" / "code" / "cohort.json").read_text())["seed"] == tiny.simulate.seed
    written = (tmp_path / "phantom" / "participants.tsv").stat().st_mtime_ns
    prepare_study.open_configured_study(tiny)
    assert (tmp_path / "phantom" / "participants.tsv").stat().st_mtime_ns == written


@pytest.mark.parametrize("record", ["code/cohort.json", "cohort.json"])
def test_a_synthetic_study_of_other_options_is_not_taken_for_this_one(record, tiny, tmp_path):
    """Earlier versions wrote the options beside participants.tsv."""
    prepare_study.open_configured_study(tiny)
    (tmp_path / "phantom" / "code" / "cohort.json").rename(tmp_path / "phantom" / record)
    other = tiny.model_copy(update={"simulate": tiny.simulate.model_copy(update={"seed": 99})})
    with pytest.raises(StudyError) as caught:
        prepare_study.open_configured_study(other)
    assert caught.value.found == "seed: 2018 -> 99"


@pytest.mark.parametrize(
    ("verb", "read"),
    [("check", check_configured_study), ("segment", scans_of_study)],
)
def test_every_command_compares_the_options_of_a_synthetic_study(verb, read, tiny, tmp_path):
    prepare_study.open_configured_study(tiny)
    words = ["cohort@study.simulate=tiny", "study.simulate.seed=99", f"study.root={tmp_path / 'phantom'}"]
    config = parsed_config(verb, "study=phantom", *words, f"output_root={tmp_path / 'out'}")
    with pytest.raises(StudyError) as caught:
        read(config)
    assert caught.value.found == "seed: 2018 -> 99"


def test_a_study_of_an_earlier_version_without_a_kind_of_file_is_one_error_that_says_to_simulate_again(tiny, tmp_path):
    root = tmp_path / "phantom"
    names = {"OS": "derivatives/rater-OS/sub-{id}/anat/sub-{id}_desc-nerves_dseg.nii.gz"}
    tiny = tiny.model_copy(update={"simulate": tiny.simulate.model_copy(update={"volunteers": 2, "patients": {}})})
    named = tiny.model_copy(update={"raters": names})
    assert len(prepare_study.open_configured_study(named).subjects) == 2
    for path in root.rglob("*_desc-nerves_dseg.nii.gz"):
        path.unlink()
    with pytest.raises(StudyError) as caught:
        prepare_study.open_configured_study(named)
    assert names["OS"] in caught.value.found
    assert caught.value.path == root
    assert caught.value.subject is None
    assert len(prepare_study.open_configured_study(tiny).subjects) == 2
    assert prepare_study.checked_layout(named, masks=False).raters == names  # segmentation needs no masks
    rmtree(root)
    assert len(prepare_study.open_configured_study(named).subjects) == 2


@pytest.mark.parametrize(("given", "used"), [("null", "sform"), ("qform", "qform")])
def test_scans_of_a_study_are_read_by_the_transform_of_the_study(given, used):
    config = parsed_config("segment", "study=bids", "study.root=x", "study.geometry=sform", f"geometry={given}")
    assert config.options.geometry == used


def test_who_comes_second_uses_the_study_of_the_first(tiny, monkeypatch):
    simulate, begun = prepare_study.simulate, []

    def counted(cohort, root, workers):
        begun.append(root)
        simulate(cohort, root, workers)

    monkeypatch.setattr(prepare_study, "simulate", counted)
    with ThreadPoolExecutor(2) as pool:
        opened = list(pool.map(lambda _: prepare_study.open_configured_study(tiny), range(2)))
    assert [len(study.subjects) for study in opened] == [8, 8]
    assert len(begun) == 1


def test_a_synthetic_study_says_so_under_any_description(tiny, tmp_path):
    prepare_study.open_configured_study(tiny)
    bids = parsed_config("train", "study=bids", f"study.root={tmp_path / 'phantom'}").study
    assert not bids.synthetic
    assert prepare_study.open_configured_study(bids).description.synthetic


@pytest.mark.parametrize("content", ["{", "[]", "Name: SYNTHETIC", json.dumps({"Name": "Thighs"})])
def test_what_is_not_a_synthetic_description_of_bids_does_not_count(content, tmp_path):
    assert not says_synthetic(tmp_path)
    (tmp_path / "dataset_description.json").write_text(content)
    assert not says_synthetic(tmp_path)
