from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from nerveseg.data.datamodule import SliceDataModule
from nerveseg.phantom.structures import BACKGROUND, BONE, MUSCLE, NERVE
from nerveseg.synthesis import scene
from nerveseg.synthesis import thigh_samples as samples
from nerveseg.synthesis.anatomies import AIR, CORTEX, FIRST_MUSCLE, MARROW, NERVOUS, SEPTUM, STEP_MM, TISSUES
from nerveseg.synthesis.contrast import draw_contrast
from nerveseg.synthesis.scanner import draw_scanner
from nerveseg.synthesis.thigh_samples import ThighSamples


@pytest.fixture
def made(bank):
    """`made(size)`: the samples of a bank of one person."""
    return lambda size=64, seed=1: ThighSamples(bank, (size, size), (1.0, 1.0), 1, seed, per_epoch=6)


@pytest.fixture
def ideal(monkeypatch):
    """Samples without texture, noise, blur and normalisation, seen straight, and the signals that were drawn."""
    drawn = []

    def plain_contrast(rng):
        contrast = draw_contrast(rng)
        share = contrast.fat_share.copy()
        share[FIRST_MUSCLE:], share[MARROW], share[CORTEX] = 0.0, 0.0, 0.0
        water = contrast.water.copy()
        water[FIRST_MUSCLE:], water[[MARROW, CORTEX]] = water[FIRST_MUSCLE], water[CORTEX]
        zeros = np.zeros(TISSUES, np.float32)
        drawn.append(replace(contrast, water=water, fat_share=share, uneven=zeros, streaks=zeros))
        return drawn[-1]

    def plain_scanner(rng, slices):
        scanner = draw_scanner(rng, slices)
        bias, gains = 0 * scanner.log_bias, np.ones(slices, np.float32)
        return replace(
            scanner, pixel_mm=1.0, blur=0.01, log_bias=bias, gains=gains, noise=0.0, ghost=0.0, gamma=1.0, floor=0.0
        )

    def straight(rng, planes, level, field_mm):
        centre_mm = np.argwhere(planes[level] == NERVOUS).mean(axis=0)
        centre_mm = (centre_mm - (scene.SIZE - 1) / 2) * STEP_MM + scene.CENTRE_MM
        bend_mm = np.zeros((2, 6, 6), np.float32)
        return scene.View(field_mm, tuple(centre_mm), np.eye(2, dtype=np.float32), bend_mm, None, None, None)

    monkeypatch.setattr(samples, "draw_contrast", plain_contrast)
    monkeypatch.setattr(samples, "draw_scanner", plain_scanner)
    monkeypatch.setattr(samples, "draw_view", straight)
    monkeypatch.setattr(samples, "_volume_moments", lambda *_: (0.0, 1.0))
    return drawn


def test_a_sample_is_a_function_of_seed_epoch_and_number(made):
    first, again = made()[2, 3], made()[2, 3]
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["label"], again["label"])
    for other in (made()[3, 2], made()[2, 4], made(seed=2)[2, 3]):
        assert not torch.equal(first["image"], other["image"])


def test_a_sample_has_the_slices_beside_it_and_structures_as_labels(made):
    every = [made()[0, number] for number in range(6)]
    for sample in every:
        assert sample["image"].shape == (3, 64, 64)
        assert sample["image"].isfinite().all()
        assert sample["label"].shape == (64, 64)
        assert sample["label"].dtype == torch.int64
    assert set(torch.cat([sample["label"].unique() for sample in every]).tolist()) <= set(range(7))


def test_without_noise_each_structure_has_the_signal_that_was_drawn_for_its_tissue(made, ideal):
    sample = made(96)[0, 0]
    signal = ideal[0].signal
    for structure, tissue in {NERVE: NERVOUS, MUSCLE: FIRST_MUSCLE, BONE: CORTEX, BACKGROUND: AIR}.items():
        inside = ndimage.binary_erosion(sample["label"] == structure, iterations=2 if structure != BACKGROUND else 4)
        assert inside.sum() >= 4
        found = np.median(sample["image"][1].numpy()[inside])
        assert found == pytest.approx(signal[tissue], abs=1e-4), structure


def test_the_nerve_of_a_label_has_the_area_of_the_anatomy(ideal, bank):
    pixel_mm = 0.3
    label = ThighSamples(bank, (320, 320), (pixel_mm, pixel_mm), 1, 1, per_epoch=1)[0, 0]["label"]
    area_mm2 = (bank.planes(0)[50] == NERVOUS).sum() * STEP_MM**2
    assert int((label == NERVE).sum()) * pixel_mm**2 == pytest.approx(area_mm2, rel=0.05)


def test_a_mirrored_leg_is_the_mirror_image(made, monkeypatch, ideal):
    straight = made(96)[0, 0]
    drawn = samples.draw_view

    def mirrored(*arguments):
        return replace(drawn(*arguments), turn=np.diag([-1, 1]).astype(np.float32))

    monkeypatch.setattr(samples, "draw_view", mirrored)
    flipped = made(96)[0, 0]
    assert (straight["label"] == flipped["label"].flip(0)).float().mean() > 0.99
    assert torch.allclose(straight["image"], flipped["image"].flip(1), atol=1e-4)


def test_a_resumed_training_goes_on_with_the_samples_of_the_next_epoch(made):
    def loader(module):
        return [batch["image"] for batch in module.train_dataloader()]

    def module():
        return SliceDataModule(pytest.fail, [], batch_size=2, seed=5, samples=made(32))

    whole, resumed = module(), module()
    loader(whole)
    state = whole.state_dict()
    whole.sampler.set_epoch(1)
    resumed.load_state_dict(state)
    assert all(map(torch.equal, loader(whole), loader(resumed)))


def test_a_sample_does_not_depend_on_the_number_of_threads(made):
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append([made()[0, index]["image"].numpy() for index in range(6)])
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_fat_lies_between_muscles_that_touch_and_nowhere_else():
    first, second, third = range(FIRST_MUSCLE, FIRST_MUSCLE + 3)
    labels = np.full((60, 60), first, np.uint8)
    labels[30:], labels[30:, 30:], labels[:, 50:] = second, third, CORTEX
    with_septa = labels.copy()
    scene._add_septa(with_septa, 0.25)
    septum = with_septa == SEPTUM
    assert np.array_equal(with_septa[~septum], labels[~septum])
    distance = ndimage.distance_transform_edt(~((labels == second) | (labels == third)))  # 1 beside the first border
    assert set(distance[septum & (labels == first)]) <= {1.0, 2.0}
    widths = septum.sum(axis=0)
    assert 1 <= widths[10] <= 2  # pixels of 0.8 mm
    assert widths[30] > 10  # along the border of second and third
    assert not septum[:, 53:].any()  # no muscles meet beside bone
