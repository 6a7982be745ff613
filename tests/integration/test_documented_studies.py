"""The studies of docs/study.md, with sessions and with three sequences: trained, tested, evaluated and segmented."""

import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from nerveseg.dashboards.privacy import subject_names
from nerveseg.evaluate import main as evaluate
from nerveseg.inference.bundle import load_bundle
from nerveseg.segment import main as segment
from nerveseg.train import main as train

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*number of training batches.*"),
]


@pytest.fixture
def documented(tmp_path, monkeypatch):
    """Writes the example below a heading of docs/study.md as a file of a study; returns its layout and overrides."""
    monkeypatch.chdir(tmp_path)

    def write(heading):
        text = (ROOT / "docs/study.md").read_text(encoding="utf-8")
        block = re.search(rf"^## {heading}\n.*?^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[1]
        assert len(block.splitlines()) <= 10
        layout = yaml.safe_load(block) | {"root": str(tmp_path / "study")}
        file = tmp_path / "my-conf/study/mine.yaml"
        file.parent.mkdir(parents=True)
        file.write_text("# A study of the test.\n" + yaml.safe_dump(layout, sort_keys=False))
        return layout, ["--config-dir", str(tmp_path / "my-conf"), "study=mine"]

    return write


@pytest.fixture
def quick(tiny_overrides):
    """Overrides of two quick folds."""
    own = [word for word in tiny_overrides if not word.startswith("cohort@")]
    return ["fold=0..1", "folds=even", "folds.count=2", *own, "optimization.epochs=1", "name=mine"]


def copy(source, template, root, **fields):
    target = Path(root) / template.format(**fields)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def test_a_study_with_sessions(documented, quick, tiny_study, tmp_path, capsys):
    layout, overrides = documented("Sessions")
    subjects = sorted(path.name.removeprefix("sub-") for path in tiny_study.glob("sub-*"))
    pairs = dict(zip("ABCD", zip(subjects[::2], subjects[1::2], strict=True), strict=True))
    for person, scans in pairs.items():
        for session, subject in enumerate(scans, 1):
            fields = {"id": person, "ses": session, "run": 1}
            image = f"sub-{subject}/anat/sub-{subject}_T2w.nii.gz"
            copy(tiny_study / image, layout["images"]["T2"], layout["root"], **fields)
            mask = f"derivatives/rater-OS/sub-{subject}/anat/sub-{subject}_label-nerve_mask.nii.gz"
            copy(tiny_study / mask, layout["raters"]["OS"], layout["root"], **fields)
    assert train([*overrides, *quick]) == 0
    folds = sorted((tmp_path / "outputs/mine").rglob("fold-?"))
    evaluation = folds[0].parent / "evaluation"
    tested = [{path.name.split("_label")[0] for path in fold.glob("predictions/*.nii.gz")} for fold in folds]
    assert set.union(*tested) == {f"sub-{person}_ses-{session}_run-1" for person in "ABCD" for session in (1, 2)}
    assert [len({name[:5] for name in names}) for names in tested] == [2, 2], "both scans of a person in one fold"
    for fold, names in zip(folds, tested, strict=True):
        trained_on = set(load_bundle(fold / "model").description.training.subjects)
        assert trained_on == {name.removeprefix("sub-") for other in tested if other is not names for name in other}
    scores = pd.read_csv(evaluation / "scores.csv")
    assert set(zip(scores["subject"].str[0], scores["group"], strict=True)) == {(person, person) for person in "ABCD"}
    agreement = pd.read_csv(evaluation / "agreement.csv")
    repeatability = agreement[(agreement["analysis"] == "repeatability") & (agreement["comparison"] == "OS")]
    assert repeatability["n"].tolist() == [4, 4], "one pair of each person, for volume and area"
    table = pd.read_csv(evaluation / "table1.csv")
    assert table.set_index("comparison").loc["Auto-GT", "n"] == 8

    assert segment([*overrides, f"model={folds[0]}", "output=segmented", "accelerator=cpu"]) == 0
    for name in tested[0]:
        found, expected = (
            np.asarray(nib.load(path).dataobj)
            for path in (
                tmp_path / f"segmented/{name}/mask.nii.gz", folds[0] / f"predictions/{name}_label-nerve_mask.nii.gz"
            )
        )  # fmt: skip
        np.testing.assert_array_equal(found, expected)

    template = f"{folds[0]}/predictions/sub-{{id}}_ses-{{ses}}_run-{{run}}_label-nerve_mask.nii.gz"
    arguments = [f"prediction='{template}'", "missing_predictions=skip", "output=others", "report=false"]
    assert evaluate([*overrides, *arguments]) == 0
    others = pd.read_csv(tmp_path / "others/scores.csv")
    assert {f"sub-{subject}" for subject in others["subject"]} == tested[0]
    hidden = subject_names("hashed", [{"T2": "1"}]).of_table(others)
    assert not set(hidden["subject"]) & set(others["subject"])
    assert not set(hidden["group"]) & set("ABCD")
    assert hidden.groupby("group")["subject"].nunique().tolist() == [2, 2]


def test_a_study_of_three_sequences(documented, quick, tiny_study, tmp_path, capsys):
    """FS on its own grid; T1 (the resampled FS) in the first six subjects only."""
    layout, overrides = documented("Several sequences")
    subjects = sorted(path.name.removeprefix("sub-") for path in tiny_study.glob("sub-*"))
    for number, subject in enumerate(subjects):
        name = f"sub-{subject}/anat/sub-{subject}"
        files = {"T2": f"{name}_T2w.nii.gz", "FS": f"{name}_acq-fatsat_T2w.nii.gz"}
        files |= {"T1": f"derivatives/resampled/{name}_acq-fatsat_space-T2w_T2w.nii.gz"} if number < 6 else {}
        for channel, file in files.items():
            copy(tiny_study / file, layout["images"][channel], layout["root"], id=subject)
        mask = f"derivatives/rater-OS/{name}_label-nerve_mask.nii.gz"
        copy(tiny_study / mask, layout["raters"]["OS"], layout["root"], id=subject)
    assert train([*overrides, *quick]) == 0
    assert "T1 is missing in 2 of 8 subjects" in capsys.readouterr().out
    fold, _ = sorted((tmp_path / "outputs/mine").rglob("fold-?"))
    description = load_bundle(fold / "model").description
    assert (description.channels, description.optional, description.in_channels) == (["T2", "FS", "T1"], ["T1"], 4)
    assert segment([*overrides, f"model={fold}", "output=segmented", "accelerator=cpu"]) == 0
    for path in fold.glob("predictions/*.nii.gz"):
        found = nib.load(tmp_path / "segmented" / path.name.split("_label")[0] / "mask.nii.gz")
        np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(nib.load(path).dataobj))
