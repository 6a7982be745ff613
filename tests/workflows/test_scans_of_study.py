"""Choice of the scans of a study, with empty files in place of images."""

import pytest

from nerveseg.errors import ConfigurationError
from nerveseg.scans.batch import Outcome
from nerveseg.scans.batch_table import TABLE, write_table
from nerveseg.scans.results import ScanSummary
from nerveseg.scans.verdicts import Verdicts
from nerveseg.workflows import scans_of_study
from tests.helpers.composed import parsed_config


@pytest.fixture
def configured(tmp_path):
    """`configured(template, *words)`: configuration of `segment` for the study in `tmp_path`."""

    def of(template, *words):
        study = ("study=bids", f"study.root={tmp_path}", f"study.images.T2='{template}'")
        return parsed_config("segment", *study, f"output={tmp_path / 'out'}", *words)

    return of


def names_of(config):
    found = scans_of_study.scans_of_study(config)
    return [each.id for each in found.subjects], [each.subject for each in found.missing], found.names


def test_an_id_with_an_underscore_whose_scan_is_missing_is_one_fault(configured, tmp_path):
    (tmp_path / "leg_01_T2.nii.gz").touch()
    (tmp_path / "participants.tsv").write_text("participant_id\nleg_01\nleg_02\n")
    everyone = ["sub-leg_01", "sub-leg_02"]
    template = "{id}_T2.nii.gz"
    assert names_of(configured(template)) == (["leg_01"], ["leg_02"], everyone)
    assert names_of(configured(template, "participants=[leg_02]")) == ([], ["leg_02"], everyone)
    with pytest.raises(ConfigurationError) as caught:
        names_of(configured(template, "participants=[leg]"))
    assert caught.value.found == "leg"


def test_a_missing_scan_has_participant_and_session_of_its_row(configured, tmp_path):
    for name in ("leg_1-1", "leg_1-2", "b-2"):
        (tmp_path / f"{name}.nii.gz").touch()
    rows = "leg_1\t1\nleg_1\t2\nleg_1\t3\nb\t2\nb\t3\n"
    (tmp_path / "participants.tsv").write_text(f"participant_id\tses\n{rows}")
    words = ("participants=[leg_1]", "sessions=[2,3]")
    subjects, missing, names = names_of(configured("{id}-{ses}.nii.gz", *words))
    assert (subjects, missing) == (["leg_1_ses-2"], ["leg_1_ses-3"])
    assert len(names) == 5


def test_a_table_of_some_scans_keeps_what_is_known_of_the_others(configured, tmp_path, monkeypatch):
    names = [f"sub-{letter}" for letter in "abcd"]
    failed = [Outcome(name, "failed", failed_before=f"no {name}") for name in ("sub-a", "sub-b", "sub-gone")]
    (tmp_path / "out").mkdir()
    write_table(tmp_path / "out" / TABLE, failed, Verdicts(), "")
    summary = ScanSummary.model_construct(name="sub-c")
    monkeypatch.setattr(scans_of_study, "read_summary", {tmp_path / "out" / "sub-c": summary}.get)
    now = [Outcome("sub-b", "failed", failed_before="now")]

    def found(*words):
        config = configured("{id}.nii.gz", *words)
        outcomes = scans_of_study.with_earlier(config.results_root, now, names, config)
        return [(each.name, each.status, each.fault) for each in outcomes]

    assert found() == [("sub-b", "failed", "now")]
    assert found("participants=[b]") == [
        ("sub-a", "failed", "no sub-a"),
        ("sub-b", "failed", "now"),
        ("sub-c", "done before", ""),
    ]
