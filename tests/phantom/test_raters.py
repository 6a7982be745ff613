import dataclasses
import itertools

import numpy as np
import pytest

from nerveseg.phantom.cohort import participants, simulate_subject
from nerveseg.phantom.grid import ScanGrid
from nerveseg.phantom.outline import Outline, VeinTrack, vein_mask
from nerveseg.phantom.raters import RATERS, Difficulty, Rater, rate

RADIUS_MM = 6.0


def outline(spacing_mm: float = 0.25, uncertainty: float = 1.0) -> Outline:
    """A round nerve with a thinner branch (in the lower four of eight slices) and a vein, in a box of the scan."""
    axis = np.arange(-20, 20, spacing_mm)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    shape = (len(axis), len(axis), 8)
    nerve = np.broadcast_to((np.hypot(x, y) - RADIUS_MM)[..., None], shape).astype(np.float32).copy()
    branch = np.hypot(x - 14, y) - 3
    nerve[:, :, :4] = np.minimum(nerve[:, :, :4], branch[..., None])
    border = np.broadcast_to((branch - np.hypot(x, y) + RADIUS_MM)[..., None] / 2, shape).astype(np.float32)
    stacked = np.tile(axis, (8, 1))
    grid = ScanGrid(stacked, stacked, 4.4 * np.arange(8.0), (spacing_mm, spacing_mm, 4.4), 4.0, 1)
    centre = np.tile([0.0, -15.0], (8, 1))
    vein = VeinTrack(centre, np.full(8, 2.0), np.full(8, 15.0), beside=True)
    box = slice(0, len(axis)), slice(0, len(axis))
    return Outline(grid, box, nerve, np.full(shape, uncertainty, np.float32), border, 15.0, (vein,))


def drawn(event_rate: float, seed: int = 0, noise_mm: float = 0.0, bias_mm: float = 0.0, uncertainty: float = 1.0,
          patient: bool = True):  # fmt: skip
    what = outline(uncertainty=uncertainty)
    rater = Rater("OS", (bias_mm,) * 2, (1.0,) * 2, (event_rate,) * 2, (1.0,) * 2)
    return rate(what, rater, Difficulty(patient, noise_mm, 0.0), np.random.default_rng(seed)), what


def test_a_rater_without_error_draws_the_truth():
    mask, what = drawn(event_rate=0.0)
    np.testing.assert_array_equal(mask, what.distance_mm < 0)


@pytest.mark.parametrize("bias_mm", [-0.5, 0.5, 1.0])
def test_a_bias_moves_the_outline_outward_by_as_much(bias_mm):
    mask, _ = drawn(event_rate=0.0, bias_mm=bias_mm)
    area_mm2 = mask[:, :, 7].sum() * 0.25**2
    assert area_mm2 == pytest.approx(np.pi * (RADIUS_MM + bias_mm) ** 2, rel=0.02)


@pytest.mark.parametrize(("noise_mm", "uncertainty"), [(0.4, 1.0), (0.2, 2.0)])
def test_noise_has_the_strength_asked_for_and_follows_the_uncertainty(noise_mm, uncertainty):
    moved = []
    for seed in range(30):
        mask, _ = drawn(event_rate=0.0, seed=seed, noise_mm=noise_mm, uncertainty=uncertainty)
        edge = mask[80:, 80, 7]
        moved.append(np.flatnonzero(edge)[-1] * 0.25 - RADIUS_MM)
    assert np.std(moved) == pytest.approx(0.4, rel=0.35)


def test_gross_events_lose_a_branch_or_an_end_or_add_a_vein():
    lost_branch = lost_end = added_vein = 0
    for seed in range(60):
        mask, what = drawn(event_rate=1.0, seed=seed)
        truth = what.distance_mm < 0
        added, lost = mask & ~truth, truth & ~mask
        assert added.any() != lost.any()
        if added.any():
            assert vein_mask(what.veins[0], what.grid)[added].all()
            added_vein += 1
        elif what.branch[lost].all():
            lost_branch += 1
        else:
            empty = ~mask.any(axis=(0, 1))
            assert empty[0] or empty[-1]
            assert not mask[:, :, empty].any()
            lost_end += 1
    assert min(lost_branch, lost_end, added_vein) > 4


def test_in_volunteers_only_a_vein_beside_the_nerve_is_taken_for_it():
    for seed in range(20):
        mask, what = drawn(event_rate=1.0, seed=seed, patient=False)
        added = mask & ~what.truth
        assert (mask | what.truth == mask).all()
        assert vein_mask(what.veins[0], what.grid)[added].all()
        assert added.any()


def test_the_nearer_of_two_veins_is_the_likelier_mistake():
    what = outline()
    near, far = what.veins[0], dataclasses.replace(what.veins[0], centre_mm=np.tile([0.0, 15.0], (8, 1)))
    far = dataclasses.replace(far, gap_mm=np.full(8, 60.0))
    what = dataclasses.replace(what, veins=(near, far))
    rater = Rater("OS", (0.0,) * 2, (1.0,) * 2, (1.0,) * 2, (1.0,) * 2)
    masks = [rate(what, rater, Difficulty(False, 0.0, 0.0), np.random.default_rng(seed)) for seed in range(40)]
    taken = [sum((mask & vein_mask(track, what.grid)).any() for mask in masks) for track in (near, far)]
    assert taken[0] > 30 > 10 > taken[1]
    assert sum(taken) == 40


@pytest.mark.slow
def test_a_harder_subject_has_more_gross_events():
    what = outline()
    rater = Rater("OS", (0.0,) * 2, (1.0,) * 2, (0.3,) * 2, (1.0,) * 2)
    events = {
        relative: sum(
            (rate(what, rater, Difficulty(True, 0.0, 0.0, relative), np.random.default_rng(seed)) != what.truth).any()
            for seed in range(100)
        )
        for relative in (0.5, 2.0)
    }
    assert events[0.5] == pytest.approx(15, abs=11)
    assert events[2.0] == pytest.approx(60, abs=15)


def test_the_same_seed_draws_the_same_mask():
    first, second = (drawn(event_rate=0.5, seed=9, noise_mm=0.4)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def dice(first, second) -> float:
    return 2 * float((first & second).sum()) / float(first.sum() + second.sum())


@pytest.mark.slow
def test_raters_agree_about_as_in_the_paper_and_less_in_patients(demo):
    patients = {"distal": 7, "medial": 3, "proximal": 10}
    many = demo.model_copy(update={"volunteers": 15, "patients": patients, "seed": 1, "sub_slices": 1})
    agreement = {"volunteer": [], "patient": []}
    for participant in participants(many):
        masks = simulate_subject(many, participant).raters
        assert list(masks) == [rater.name for rater in RATERS]
        agreement[participant.cohort] += [dice(a, b) for a, b in itertools.combinations(masks.values(), 2)]
    volunteers, patients = np.mean(agreement["volunteer"]), np.mean(agreement["patient"])
    assert 0.85 < volunteers < 0.92
    assert 0.69 < patients < 0.865
    assert patients < volunteers
    assert np.std(agreement["patient"]) > np.std(agreement["volunteer"])
