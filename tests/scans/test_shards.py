"""`segment -m shard=...` in this process: every scan falls to one shard, and one table has them all."""

import json
import shutil

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.errors import ConfigurationError
from nerveseg.segment import main as segment
from nerveseg.workflows.segment_config import Shard, chosen_shard
from tests.helpers.composed import parsed_config


@pytest.fixture
def archive(tmp_path, image_of):
    """Six scans in folders of their own, one of which is none."""
    for number in range(6):
        folder = tmp_path / "archive" / f"case-{number}"
        folder.mkdir(parents=True)
        if number == 4:
            (folder / "leg4.nii.gz").write_bytes(b"no scan")
        else:
            shutil.copy(image_of("V01" if number % 2 else "P01"), folder / f"leg{number}.nii.gz")
    return tmp_path / "archive"


@given(paths=st.sets(st.text(min_size=1)), of=st.integers(1, 20))
def test_every_scan_falls_to_exactly_one_shard(paths, of):
    shards = [Shard(number, of) for number in range(of)]
    assert all(sum(shard.holds(path) for shard in shards) == 1 for path in paths)


def test_shards_are_of_like_size_and_the_same_everywhere():
    paths = [f"archive/case-{number}/leg.nii.gz" for number in range(1600)]
    sizes = [sum(Shard(number, 16).holds(path) for path in paths) for number in range(16)]
    assert min(sizes) > 70
    assert max(sizes) < 130
    assert Shard(0xE3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855 % 7, 7).holds(""), (
        "SHA-256 of nothing"
    )


@pytest.mark.parametrize(("shard", "of"), [(3, None), (None, 4), (4, 4), (-1, 4), (0, 0)])
def test_a_shard_is_one_of_so_many(shard, of):
    config = parsed_config("segment")
    with pytest.raises(ConfigurationError) as caught:
        chosen_shard(config.model_copy(update={"shard": shard, "shards": of}))
    assert caught.value.found == f"shard={shard}, shards={of}"
    assert chosen_shard(config) is None


@pytest.mark.parametrize(("typed", "found"), [("true", True), ("a", "a"), ("1.0", 1.0)])
def test_a_shard_is_a_whole_number(typed, found):
    with pytest.raises(ConfigurationError) as caught:
        parsed_config("segment", f"shard={typed}", "shards=2")
    assert caught.value.rule.startswith("shard ")
    assert caught.value.found == found


@pytest.mark.slow
def test_an_archive_in_shards(run, archive, sweep, tmp_path):
    arguments = ("-m", "shard=0..2", f"input={archive}/**/*.nii.gz", f"model={sweep}", "output=out")
    printed = run(*arguments, code=2)
    table = pd.read_csv(tmp_path / "out" / "segmentations.csv")
    assert table["scan"].tolist() == [f"leg{number}" for number in range(6)]
    assert table[table["status"] == "failed"]["scan"].tolist() == ["leg4"]
    assert "every shard of an archive ends well" in printed.err
    assert "leg4" in printed.out
    assert all((tmp_path / "out" / f"leg{number}" / "mask.nii.gz").is_file() for number in (0, 1, 2, 3, 5))
    masks = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("mask.nii.gz")}
    shutil.copy(archive / "case-0" / "leg0.nii.gz", archive / "case-4" / "leg4.nii.gz")
    assert "3 shards: 5 done before, 1 done" in run(*arguments).out.replace(
        "1 done, 5 done before", "5 done before, 1 done"
    )
    assert {path: path.stat().st_mtime_ns for path in masks} == masks, "only what was missing"


@pytest.mark.slow
def test_the_last_of_single_shards_collects(run, archive, sweep, tmp_path):
    shutil.rmtree(archive / "case-4")
    arguments = ("shards=2", f"input={archive}/**/*.nii.gz", f"model={sweep}", "output=out")
    assert "once shard 1 is done" in run("shard=0", *arguments).out
    assert not (tmp_path / "out" / "segmentations.csv").exists()
    assert "2 shards: 5 done" in run("shard=1", *arguments).out
    assert len(pd.read_csv(tmp_path / "out" / "segmentations.csv")) == 5


@pytest.mark.slow
def test_the_subjects_of_a_study_are_sharded_too(run, tiny_study, sweep, tmp_path):
    (tmp_path / "out").mkdir()
    run("-m", "shard=0,1", "study=phantom_tiny", f"study.root={tiny_study}", f"model={sweep}", "output=out")
    subjects = pd.read_csv(tiny_study / "participants.tsv", sep="\t")["participant_id"]
    assert sorted(pd.read_csv(tmp_path / "out" / "segmentations.csv")["scan"].unique()) == sorted(subjects)


@pytest.mark.slow
def test_a_shard_that_dies_is_named_and_the_others_stay(run, archive, sweep, tmp_path, monkeypatch):
    from nerveseg.workflows import segment_scans

    shutil.rmtree(archive / "case-4")
    whole = segment_scans.segment_configured_scans

    def dying(config):
        if config.shard == 1:
            raise OSError("the node is gone")
        whole(config)

    monkeypatch.setattr(segment_scans, "segment_configured_scans", dying)
    arguments = ("-m", "shard=0,1", f"input={archive}/**/*.nii.gz", f"model={sweep}", "output=out")
    with pytest.raises(OSError, match="node is gone"):
        segment([str(argument) for argument in arguments])
    said = json.loads((tmp_path / "out" / "shards" / "shard-1-of-2.failure.json").read_text())
    assert said["why"] == "OSError: the node is gone"
    assert (tmp_path / "out" / "shards" / "shard-0-of-2.csv").is_file()


def test_mistakes_are_told_once_before_any_job(run, archive, sweep):
    pattern = f"input={archive}/**/*.nii.gz"
    assert run("-m", "shard=0..3", pattern, "model=nowhere", code=2).err.count("error") == 1
    assert "shards=16" in run("-m", "shard=2,3", pattern, f"model={sweep}", code=2).err
    assert "from 0 to shards - 1" in run("shard=2", pattern, f"model={sweep}", code=2).err
