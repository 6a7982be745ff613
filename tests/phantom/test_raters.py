import itertools

import numpy as np
import pytest

from nerveseg.phantom.cohort import participants, simulate_subject
from nerveseg.phantom.raters import RATERS, Difficulty, Outline, Rater, rate

RADIUS_MM = 6.0


def outline(spacing_mm: float = 0.25) -> Outline:
    """A round nerve with a thinner branch (in the lower four of eight slices) and a vein."""
    axis = np.arange(-20, 20, spacing_mm)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    shape = (len(axis), len(axis), 8)
    nerve = np.broadcast_to((np.hypot(x, y) - RADIUS_MM)[..., None], shape).astype(np.float32).copy()
    branch, vein = np.hypot(x - 14, y) - 3, np.hypot(x, y + 15) - 2
    nerve[:, :, :4] = np.minimum(nerve[:, :, :4], branch[..., None])
    nearer = np.zeros(shape, dtype=bool)
    nearer[:, :, :4] = (branch < np.hypot(x, y) - RADIUS_MM)[..., None]
    veins = np.broadcast_to((vein < 0)[..., None], shape).copy()
    return Outline(nerve, nearer, veins, (spacing_mm, spacing_mm, 4.4), 4)


def drawn(event_rate: float, seed: int = 0, noise_mm: float = 0.0, bias_mm: float = 0.0, patient: bool = False):
    what = outline()
    image = np.where(what.distance_mm < 0, 200, 600).astype(np.float32)
    rater = Rater("OS", (bias_mm, bias_mm), (event_rate, event_rate))
    return rate(what, image, rater, Difficulty(patient, noise_mm, 0.0), np.random.default_rng(seed)), what


def test_a_rater_without_error_draws_the_truth():
    mask, what = drawn(event_rate=0.0)
    np.testing.assert_array_equal(mask, what.distance_mm < 0)


@pytest.mark.parametrize("bias_mm", [-0.5, 0.5, 1.0])
def test_a_bias_moves_the_outline_outward_by_as_much(bias_mm):
    mask, _ = drawn(event_rate=0.0, bias_mm=bias_mm)
    area_mm2 = mask[:, :, 7].sum() * 0.25**2
    assert area_mm2 == pytest.approx(np.pi * (RADIUS_MM + bias_mm) ** 2, rel=0.02)


def test_noise_has_the_strength_asked_for():
    moved = []
    for seed in range(30):
        mask, _ = drawn(event_rate=0.0, seed=seed, noise_mm=0.4)
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
            assert what.near_veins[added].all()
            added_vein += 1
        elif what.branch[lost].all():
            lost_branch += 1
        else:
            empty = ~mask.any(axis=(0, 1))
            assert empty[0] or empty[-1]
            assert not mask[:, :, empty].any()
            lost_end += 1
    assert min(lost_branch, lost_end, added_vein) > 8


def test_the_same_seed_draws_the_same_mask():
    first, second = (drawn(event_rate=0.5, seed=9, noise_mm=0.4)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def dice(first, second) -> float:
    return 2 * float((first & second).sum()) / float(first.sum() + second.sum())


def test_raters_agree_about_as_in_the_paper_and_less_in_patients(demo):
    patients = {"distal": 7, "medial": 3, "proximal": 10}
    many = demo.model_copy(update={"volunteers": 15, "patients": patients, "seed": 1, "sub_slices": 1})
    agreement = {"volunteer": [], "patient": []}
    for participant in participants(many):
        masks = simulate_subject(many, participant).raters
        assert list(masks) == [rater.name for rater in RATERS]
        agreement[participant.cohort] += [dice(a, b) for a, b in itertools.combinations(masks.values(), 2)]
    volunteers, patients = np.mean(agreement["volunteer"]), np.mean(agreement["patient"])
    assert 0.82 < volunteers < 0.90
    assert 0.72 < patients < 0.84
    assert patients < volunteers
    assert np.std(agreement["patient"]) > np.std(agreement["volunteer"])
