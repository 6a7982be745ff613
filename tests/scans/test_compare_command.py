"""`python -m nerveseg.compare` in this process: tubes drawn by this test, whose change and shift are known."""

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import nerveseg
from nerveseg.compare import main as compare_main
from nerveseg.data.volumes.grids import Grid, Volume
from nerveseg.data.volumes.volume import read_image
from nerveseg.errors import ConfigurationError, GeometryError, RunError
from nerveseg.measure import main as measure_main
from nerveseg.scans.detectable_change import detectable_change
from nerveseg.scans.leg_alignment import PlacedNerve, align_by_header, align_by_image

SIZE, PIXEL_MM, LENGTH_MM = 48, 1.0, 120.0
LIMITS = ("csa_mm2=15", "mean_csa_mm2=4")
THICK_MM = (48.0, 72.0)  # part of the leg in which the later nerve is 20 % thicker
SPLIT_MM = 36.0  # below, the nerve is two


def section(z_mm, thicker):
    """Voxels of the nerve in a slice: 100 of them, or 120."""
    plane = np.zeros((SIZE, SIZE), dtype=bool)
    if z_mm < SPLIT_MM:
        apart = 1 + int((SPLIT_MM - z_mm) / 6)
        plane[18 - apart : 23 - apart, 18:28] = plane[23 + apart : 28 + apart, 18:28] = True
        return plane
    plane[18:28, 18 : 30 if thicker and THICK_MM[0] < z_mm < THICK_MM[1] else 28] = True
    return plane


def draw(folder, start_mm, step_mm, slices, thicker=False, seed=0):
    """Image and mask of a stack whose first slice is centred half a step above `start_mm` of the leg."""
    heights = start_mm + (np.arange(slices) + 0.5) * step_mm
    mask = np.stack([section(z, thicker) for z in heights], axis=2)
    x, y, z = np.meshgrid(np.arange(SIZE), np.arange(SIZE), heights, indexing="ij")
    radius = 20 - 5 * np.sin(z / 25)
    muscle = (np.hypot(x - 24, y - 24) < radius) * (100 + 40 * np.sin(x / 5 + z / 14) * np.cos(y / 6 - z / 17))
    bone = np.hypot(x - 30 + z / 20, y - 36) < 4 + z / 40
    image = np.where(mask, 200, np.where(bone, 20, muscle)) + np.random.default_rng(seed).normal(0, 3, mask.shape)
    affine = np.diag([PIXEL_MM, PIXEL_MM, step_mm, 1])
    folder.mkdir()
    nib.save(nib.Nifti1Image(image.astype(np.float32), affine), folder / "scan.nii.gz")
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), folder / "drawn.nii.gz")
    words = [str(folder / "scan.nii.gz"), f"mask={folder / 'drawn.nii.gz'}", f"output={folder / 'out'}", "side=left"]
    assert measure_main(words) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def dates(tmp_path_factory):
    """Results of two dates, the second 12 mm higher up the leg, and of a third with another slice step."""
    root = tmp_path_factory.mktemp("dates")
    return (
        draw(root / "first", 0.0, 4.0, 30),
        draw(root / "second", 12.0, 4.0, 27, thicker=True, seed=1),
        draw(root / "coarse", 12.0, 6.0, 18, thicker=True, seed=2),
    )


@pytest.fixture
def compare(in_process):
    """`compare` in this process."""
    return in_process(compare_main)


def nerve_of(folder):
    (nerve,) = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))["nerves"]
    return nerve, {(each["branch"], each["quantity"]): each for each in nerve["quantities"]}


def test_a_known_change_and_a_known_shift(compare, dates, tmp_path):
    first, second, _ = dates
    printed = compare(first, second, "output=out", *(f"smallest_detectable_change.{each}" for each in LIMITS))
    nerve, quantities = nerve_of(tmp_path / "out")
    assert (nerve["align"], nerve["shift_mm"], nerve["verdict"]) == ("split", 12.0, "changed")
    assert "+12.0 mm" in printed.out
    (stretch,) = nerve["stretches"]
    assert (stretch["from_mm"] + 2, stretch["to_mm"] + 2) == THICK_MM  # z_mm is 0 at the middle of the first slice
    assert stretch["difference_mm2"] == pytest.approx(20)
    assert stretch["first_slices"] == [12, 17]
    assert stretch["second_slices"] == [9, 14]
    assert (nerve["stretch_mm"][1] - nerve["stretch_mm"][0], nerve["positions"]) == (108, 27)
    volume = quantities["total", "volume_mm3"]
    assert (volume["first"], volume["difference"]) == (pytest.approx(10800), pytest.approx(20 * 24))
    assert quantities["total", "max_csa_mm2"]["difference"] == pytest.approx(20)
    assert quantities["total", "length_mm"]["first"] == pytest.approx(108, rel=0.02)
    assert quantities["tibial", "mean_csa_mm2"]["difference"] == pytest.approx(0)
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    areas = table[(table["branch"] == "total") & (table["quantity"] == "csa_mm2")]
    thick = areas["z_mm"].between(THICK_MM[0] - 2, THICK_MM[1] - 2)
    np.testing.assert_allclose(areas["difference"], np.where(thick, 20, 0), atol=1e-6)
    assert (areas["beyond"].astype(bool) == thick).all()
    at_split = areas[areas["distance_from_split_mm"] == 0]
    assert at_split["first_slice"].tolist() == [8]  # the first slice of two nerves, from the head


def test_the_same_by_the_image_and_by_the_header(compare, dates, tmp_path):
    first, second, _ = dates
    compare(first, second, "output=image", "align=image")
    nerve, _ = nerve_of(tmp_path / "image")
    assert nerve["align"] == "image"
    assert nerve["shift_mm"] == pytest.approx(12, abs=1.5)
    compare(first, second, "output=header", "align=header")
    nerve, quantities = nerve_of(tmp_path / "header")
    assert (nerve["shift_mm"], nerve["verdict"]) == (0, "not judged")
    assert quantities["total", "volume_mm3"]["smallest_detectable_change"] is None


def test_the_header_places_two_oblique_scans():
    turned = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ np.diag([PIXEL_MM, PIXEL_MM, 4.0])
    nerves = []
    for start_mm in (0.0, 12.0):
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = turned, turned @ [0, 0, start_mm / 4]
        mask = np.stack([section(start_mm + 4 * number, thicker=False) for number in range(20)], axis=2)
        nerves.append(PlacedNerve(mask, Grid(mask.shape, affine, nib.Nifti1Header())))
    assert align_by_header(*nerves).shift_mm == pytest.approx(12)
    assert align_by_header(*nerves[::-1]).shift_mm == pytest.approx(-12)


def test_a_leg_without_landmarks_leaves_its_alignment_in_doubt(dates):
    first, _, _ = dates
    image = read_image(first.parent / "scan.nii.gz")
    alike = np.repeat(image.array[:, :, 15:16], image.array.shape[2], axis=2)
    noises = [np.random.default_rng(seed).normal(0, 3, alike.shape).astype(np.float32) for seed in (5, 6)]
    legs = [Volume(alike + noise, image.grid) for noise in noises]
    nerve = PlacedNerve(np.repeat(section(60, thicker=False)[..., None], alike.shape[2], axis=2), image.grid)
    found = align_by_image(nerve, nerve, (legs[0], legs[1]))
    assert found.rival_mm is not None
    assert abs(found.rival_mm - found.shift_mm) > 4
    sure = align_by_image(nerve, nerve, (image, image))
    assert sure.rival_mm is None
    assert sure.shift_mm == pytest.approx(0, abs=0.5)


def test_repeated_scans_of_a_study(compare, dates, tmp_path, capsys):
    for name, folder in {"sub-A": dates[0], "sub-Ar": dates[1], "sub-B": dates[0]}.items():
        shutil.copytree(folder, tmp_path / "results" / name)
        (tmp_path / "study").mkdir(exist_ok=True)
    for name in ("A", "Ar", "B", "Br"):
        shutil.copy(dates[0].parent / "scan.nii.gz", tmp_path / "study" / f"{name}.nii.gz")
    table = tmp_path / "study" / "participants.tsv"
    table.write_text("participant_id\tgroup\trepeat_of\nsub-A\tA\t\nsub-Ar\tA\tsub-A\nsub-B\tB\t\nsub-Br\tB\tsub-B\n")
    words = ("study=bids", "study.images.T2='{id}.nii.gz'", "study.root=study", "results=results")
    assert compare_main([*words, "output=changes"]) == 2  # Br has no result
    assert "sub-B_sub-Br: failed" in capsys.readouterr().out
    nerve, _ = nerve_of(tmp_path / "changes" / "sub-A_sub-Ar")
    assert nerve["shift_mm"] == pytest.approx(12, abs=4)
    assert not (tmp_path / "changes" / "sub-B_sub-Br").exists()
    assert compare_main([str(dates[0]), str(dates[1]), *words]) == 2
    assert compare_main([*words, "second=nowhere"]) == 2
    rows = "sub-A\tA\t\nsub-Ar\tA\tsub-A\nsub-C\tC\tsub-A\nsub-D\tD\t\n"  # C is of another group, D has no file
    table.write_text("participant_id\tgroup\trepeat_of\n" + rows)
    shutil.copy(dates[0].parent / "scan.nii.gz", tmp_path / "study" / "C.nii.gz")
    shutil.copytree(dates[0], tmp_path / "results" / "sub-C")
    capsys.readouterr()
    assert compare_main([*words, "output=faulty"]) == 2
    assert {path.name for path in (tmp_path / "faulty").iterdir()} == {"sub-A_sub-Ar"}
    printed = capsys.readouterr().out
    assert "sub-C: failed" in printed
    assert "sub-D: failed" in printed
    table.write_text("participant_id\nsub-A\nsub-Ar\n")
    assert compare_main([*words, "output=others"]) == 2
    assert not (tmp_path / "others").exists()


def test_slices_of_another_step_have_the_volume_of_the_same_stretch(dates):
    first, _, coarse = dates
    for pair, sign in (((first, coarse), 1), ((coarse, first), -1)):
        found = nerveseg.compare_results(*pair)
        (nerve,) = found.nerves
        volume = next(each for each in nerve.quantities if each.quantity == "volume_mm3")
        assert nerve.height_mm == 6
        # The middles of the slices at z = 0 lie 2 mm above the foot of the first leg, and 12 + 3 mm of the other.
        assert nerve.shift_mm == pytest.approx(sign * 13)
        assert nerve.stretch_mm[1] - nerve.stretch_mm[0] == pytest.approx(108)
        assert volume.difference == pytest.approx(sign * 20 * 24)


def test_the_band_comes_from_repeated_scans(dates, tmp_path):
    first, second, _ = dates
    differences = np.array([1.0, -2.0, 3.0, 0.5])
    pd.DataFrame({"quantity": "csa_mm2", "first": 100.0, "second": 100 + differences}).to_csv(tmp_path / "own.csv")
    found = nerveseg.compare_results(first, second, repeats=str(tmp_path / "own.csv"))
    limits = found.table[(found.table["branch"] == "total") & (found.table["quantity"] == "csa_mm2")]
    expected = 1.959964 * np.sqrt(np.mean(differences**2))
    np.testing.assert_allclose(limits["smallest_detectable_change"], expected, rtol=1e-6)
    study = pd.DataFrame(
        {"class": "nerve", "quantity": "volume_mm3", "analysis": "repeatability", "comparison": ["A", "Auto"],
         "smallest_detectable_change": [50.0, 20.0]}
    )  # fmt: skip
    study.to_csv(tmp_path / "agreement.csv")
    for automatic, value in ((True, 20.0), (False, 50.0)):
        assert detectable_change([tmp_path / "agreement.csv"], {}, automatic=automatic).values["volume_mm3"] == value
    with pytest.raises(ConfigurationError):
        detectable_change([tmp_path / "agreement.csv"], {"volume_mm3": 1.0}, automatic=True)


def test_a_comparison_is_a_table_of_repeated_scans(dates, tmp_path):
    first, second, _ = dates
    nerveseg.compare_results(first, second).save(tmp_path / "out")
    again = nerveseg.compare_results(first, second, repeats=str(tmp_path / "*" / "comparison.csv"))
    assert [each.verdict for each in again.nerves] == ["not judged"]  # of the mean area there is one pair only
    limits = again.table[again.table["quantity"] == "csa_mm2"].query("z_mm.notna() and branch == 'total'")
    assert limits["smallest_detectable_change"].notna().all()


def test_a_rerun_is_done_before_and_other_files_are_kept(compare, dates, tmp_path):
    first, second, coarse = dates
    compare(first, second, "output=out")
    assert "done before" in compare(first, second, "output=out").out
    assert "done before" not in compare(first, second, "output=out", "align=header").out
    compare(first, coarse, "output=out", code=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "comparison.csv").write_text("mine")
    compare(first, second, "output=mine", code=2)
    assert (tmp_path / "mine" / "comparison.csv").read_text() == "mine"
    compare(first, code=2)
    compare(first, first, code=2)


def edited(folder, to, **changes):
    """Copy of a result with changes of its summary."""
    to.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (to / path.name).write_bytes(path.read_bytes())
    summary = json.loads((to / "summary.json").read_text(encoding="utf-8"))
    (to / "summary.json").write_text(json.dumps(summary | changes), encoding="utf-8")
    return to


def test_the_verdict_is_of_the_mean_area_and_of_usable_masks(dates, tmp_path):
    first, second, _ = dates  # 120 voxels instead of 100 in 24 of 108 mm: 4.44 mm2 on average
    for limit, verdict in ((4.4, "changed"), (4.5, "unchanged")):
        found = nerveseg.compare_results(first, second, smallest_detectable_change={"mean_csa_mm2": limit})
        assert [each.verdict for each in found.nerves] == [verdict]
    bad = edited(second, tmp_path / "bad", grade={"level": "not usable", "reason": "the slices are not axial"})
    found = nerveseg.compare_results(first, bad, smallest_detectable_change={"mean_csa_mm2": 4.4})
    assert [each.verdict for each in found.nerves] == ["not judged"]
    assert any("not axial" in note for note in found.notes)


def test_a_split_that_a_flag_doubts_is_no_default(dates, tmp_path):
    first, second, _ = dates
    flag = {"code": "branch_ends", "message": "a branch ends"}
    doubted = edited(second, tmp_path / "doubted", flags=[flag])
    assert nerveseg.compare_results(first, doubted).nerves[0].align == "image"
    assert nerveseg.compare_results(first, doubted, align="split").nerves[0].align == "split"


def test_a_limit_of_an_unknown_quantity_is_refused(dates):
    first, second, _ = dates
    with pytest.raises(ConfigurationError) as unknown:
        nerveseg.compare_results(first, second, smallest_detectable_change={"volum_mm3": 1.0})
    assert unknown.value.found == "volum_mm3"
    assert "volume_mm3" in unknown.value.remedy


def test_what_cannot_be_compared_is_refused(dates, tmp_path):
    first, second, _ = dates
    with pytest.raises(RunError) as no_result:
        nerveseg.compare_results(first, tmp_path)
    assert no_result.value.path == tmp_path
    nerves = json.loads((second / "summary.json").read_text(encoding="utf-8"))["nerves"]
    right = edited(second, tmp_path / "right", nerves=[nerves[0] | {"side": "right"}])
    with pytest.raises(RunError) as other_side:
        nerveseg.compare_results(first, right)
    assert other_side.value.found == "left; right"
    classes = edited(second, tmp_path / "classes", classes={"nerve": [1], "vessel": [2]})
    with pytest.raises(RunError):
        nerveseg.compare_results(first, classes)
    corrected = edited(second, tmp_path / "corrected")
    image = nib.load(corrected / "mask.nii.gz")
    nib.save(nib.Nifti1Image(np.roll(np.asarray(image.dataobj), 1, axis=0), image.affine), corrected / "mask.nii.gz")
    with pytest.raises(RunError) as changed:
        nerveseg.compare_results(first, corrected)
    assert "nerveseg.measure" in changed.value.remedy


def test_no_common_stretch_is_refused_with_the_distance(dates, tmp_path):
    first, _, _ = dates
    far = draw(tmp_path / "far", 200.0, 4.0, 10)
    for name in ("mask", "branches"):  # 30 slices of 4 mm end at 118, these begin at 198
        image = nib.load(far / f"{name}.nii.gz")
        moved = image.affine + np.outer([0, 0, 1, 0], [0, 0, 0, 200.0])
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), far / f"{name}.nii.gz")
    summary = json.loads((far / "summary.json").read_text(encoding="utf-8"))
    (far / "summary.json").write_text(json.dumps(summary | {"masks": {}, "given": None}), encoding="utf-8")
    with pytest.raises(GeometryError) as missed:
        nerveseg.compare_results(first, far, align="header")
    assert "80.0 mm" in missed.value.found


def test_synthetic_results_say_so(dates, tmp_path):
    first, second, _ = dates
    synthetic = edited(second, tmp_path / "synthetic", warning="SYNTHETIC TRAINING DATA")
    summary = nerveseg.compare_results(first, synthetic).save(tmp_path / "out")
    assert summary.warning == "SYNTHETIC TRAINING DATA"
    assert "SYNTHETIC TRAINING DATA" in (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert set(pd.read_csv(tmp_path / "out" / "comparison.csv")["warning"]) == {"SYNTHETIC TRAINING DATA"}


def test_a_page_without_pictures_is_made_again_once_the_scan_is_back(compare, dates, tmp_path):
    first, second, _ = dates
    scan, away, page = first.parent / "scan.nii.gz", first.parent / "away.nii.gz", tmp_path / "out" / "comparison.html"

    def pictures():
        (nerve,) = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)[1])
        return {date: len(found) for date, found in nerve["pictures"].items()}

    scan.rename(away)
    try:
        compare(first, second, "output=out")
        made = page.stat().st_mtime_ns
        assert pictures() == {"first": 0, "second": 27}
        compare(first, second, "output=out")
        assert page.stat().st_mtime_ns == made, "nothing to add yet"
    finally:
        away.rename(scan)
    compare(first, second, "output=out")
    assert pictures() == {"first": 27, "second": 27}
    made = page.stat().st_mtime_ns
    compare(first, second, "output=out")
    assert page.stat().st_mtime_ns == made, "done before"
