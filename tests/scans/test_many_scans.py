"""Table, page and verdicts of many scans: after `segment`, and after `measure` of the folder of their results."""

import hashlib
import html
import json
import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nerveseg.measure import main as measure_main
from nerveseg.scans.verdicts import COLUMNS


@pytest.fixture
def measure(in_process):
    """`measure` in this process."""
    return in_process(measure_main)


@pytest.fixture
def results(run, image_of, sweep, tmp_path):
    """Results of two scans and a broken one in the folder out."""
    (tmp_path / "scans").mkdir()
    for name, subject in {"a": "V01", "b": "V02"}.items():
        shutil.copy(image_of(subject), tmp_path / "scans" / f"{name}.nii.gz")
    (tmp_path / "scans" / "broken.nii.gz").write_bytes(image_of("V03").read_bytes()[:2000])
    run("scans/*.nii.gz", f"model={sweep}", "output=out", code=2)
    return tmp_path / "out"


def read_table(folder):
    table = pd.read_csv(folder / "segmentations.csv", keep_default_na=False)
    return table[table["branch"].isin(["total", ""])].set_index("scan")


def rows_of(folder):
    """Attributes of the page's rows by the name of the scan."""
    page = (folder / "segmentations.html").read_text(encoding="utf-8")
    rows = re.findall(r'<tr role="row" data-name="([^"]+)"(.*?)</tr>', page, flags=re.DOTALL)
    return dict(rows)


def review_of(folder, name):
    """Verdict on the mask of a scan, as its row of the page holds it."""
    found = re.search(r'data-review="([^"]*)"', rows_of(folder)[name])
    return json.loads(html.unescape(found[1])) if found else None


def test_verdicts_stand_in_table_and_page_until_the_mask_is_corrected(measure, run, results, sweep, tmp_path):
    before = read_table(results)
    text = pd.read_csv(results / "segmentations.csv", dtype=str, keep_default_na=False)
    assert {cell.isdigit() for cell in text.loc[text["scan"] != "broken", "flags"]} == {True}
    rows = rows_of(results)
    assert next(iter(rows)) == "broken"
    assert 'href="a/report.html"' in rows["a"]
    assert "data:image/jpeg" in rows["a"]
    assert (results / "a" / "thumbnail.jpg").stat().st_size <= 15_000
    for name in "ab":
        mask = (results / name / "mask.nii.gz").read_bytes()
        assert before.loc[name, "mask_sha256"] == hashlib.sha256(mask).hexdigest()
    given = pd.DataFrame({"scan": ["a", "b"], "verdict": ["correct", "accept"], "note": ["vein", ""]})
    hashes = before.loc[["a", "b"], "mask_sha256"].tolist()
    given = given.assign(reviewer="AB", date="2026-01-02", mask_sha256=hashes, model_sha256="")
    given[list(COLUMNS)].to_csv(tmp_path / "verdicts.csv", index=False)

    measure("out", "review=verdicts.csv")
    reviewed = read_table(results)
    assert reviewed["verdict"].to_dict() == {"a": "correct", "b": "accept", "broken": ""}
    assert reviewed.loc["a", ["reviewer", "reviewed", "review_note"]].tolist() == ["AB", "2026-01-02", "vein"]
    assert reviewed.loc["broken", "status"] == "failed"
    assert reviewed.loc["broken", "error"] == before.loc["broken", "error"]
    assert review_of(results, "a") == ["correct", "vein", "AB", "2026-01-02"]

    mask = nib.load(results / "a" / "mask.nii.gz")
    array = np.asarray(mask.dataobj).copy()
    array[tuple(np.argwhere(array > 0)[0])] = 0
    nib.save(nib.Nifti1Image(array, mask.affine, mask.header), results / "a" / "mask.nii.gz")
    measure("out")
    corrected = read_table(results)
    assert corrected.loc["a", ["verdict", "earlier_verdict", "mask_origin"]].tolist() == ["", "correct", "corrected"]
    assert corrected.loc["b", ["verdict", "earlier_verdict"]].tolist() == ["accept", ""]
    assert review_of(results, "a") is None
    assert " data-earlier>" in rows_of(results)["a"]
    run("scans/*.nii.gz", f"model={sweep}", "output=out", code=2)
    assert read_table(results)["status"].to_dict() == {"a": "done before", "b": "done before", "broken": "failed"}
    assert read_table(results)["earlier_verdict"].to_dict() == {"a": "correct", "b": "", "broken": ""}


def test_verdicts_on_one_scan_or_on_others_are_refused_before_anything_is_done(measure, run, image_of, sweep, tmp_path):
    path = tmp_path / "verdicts.csv"
    path.write_text(f"scan,verdict,mask_sha256\nx,accept,{'a' * 64}\n")
    error = run(image_of("V01"), f"model={sweep}", "output=out/one", "review=verdicts.csv", code=2).err
    assert "one scan" in error
    assert not (tmp_path / "out").exists()
    run(image_of("V01"), f"model={sweep}", "output=out/one")
    assert "found: x" in measure("out", "review=verdicts.csv", code=2).err
    assert "review=" in measure("out/one", "review=verdicts.csv", code=2).err
    assert "found: mask" in measure("out", "mask=m.nii.gz", code=2).err
    assert not (tmp_path / "out" / "segmentations.csv").exists()
    measure("out")
    assert len(rows_of(tmp_path / "out")) == 1


@pytest.mark.slow
def test_participants_that_are_segmented_one_by_one_are_in_one_table(run, tiny_study, sweep, tmp_path):
    for subject in ("V01", "V02"):
        run(
            "study=phantom_tiny",
            f"study.root={tiny_study}",
            f"model={sweep}",
            "output=out",
            f"participants=[{subject}]",
        )
    table = pd.read_csv(tmp_path / "out" / "segmentations.csv")
    assert table.groupby("scan")["status"].first().to_dict() == {"sub-V01": "done before", "sub-V02": "done"}
