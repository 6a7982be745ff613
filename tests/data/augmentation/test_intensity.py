"""Changes of intensity: against scipy, and what they keep."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from nerveseg.data.augmentation import NoAugmentation, TensorAugmentation, TorchioAugmentation
from nerveseg.data.augmentation.intensity import (
    IntensityOptions,
    biased,
    blurred,
    change_intensities,
    coarsened,
    draw_changes,
    with_gamma,
)
from nerveseg.errors import ConfigurationError
from nerveseg.targets import instantiate_target

STILL = {"flip_probability": 0.0, "translation_probability": 0.0, "elastic_probability": 0.0}
AMOUNTS = {"bias_field": 0.3, "contrast": 0.25, "gamma": 0.5, "blur_sd_mm": 0.8, "low_resolution": 2.0, "noise_sd": 0.3}
SHARES = {
    name: f"{name.removesuffix('_sd_mm').removesuffix('_sd')}_probability" for name in AMOUNTS
}  # of a kind, the name of its probability
ALL = torch.ones(2, 1, 1, dtype=torch.bool)


def slices(shape=(40, 34), channels=2, seed=0):
    """Structured planes of zero mean and unit variance."""
    noise = np.random.default_rng(seed).normal(size=(channels, *shape))
    image = ndimage.gaussian_filter(noise, (0, 2, 2))
    image = (image - image.mean()) / image.std()
    return torch.from_numpy(image.astype(np.float32))


def only(name, **options):
    return TensorAugmentation(**STILL, **{name: AMOUNTS[name]}, **options)


def changed(augment, image, seed=1, spacing_mm=(1.0, 1.0)):
    return augment(image, torch.zeros(image.shape[1:], dtype=torch.uint8), spacing_mm, seed)[0]


@pytest.mark.parametrize("name", AMOUNTS)
def test_each_change_is_off_by_default_and_by_its_probability(name):
    image = slices()
    assert torch.equal(changed(TensorAugmentation(**STILL), image), image)
    assert torch.equal(changed(only(name, **{SHARES[name]: 0.0}), image), image)
    assert (changed(only(name), image) - image).abs().max() > 0.02


@pytest.mark.parametrize("name", AMOUNTS)
def test_a_seed_fixes_the_change_in_any_batch_and_every_seed_has_its_own(name):
    augment, image = only(name), slices()
    images, labels = image.expand(4, -1, -1, -1), torch.zeros(4, 40, 34, dtype=torch.uint8)
    batch, _ = augment.augment_batch(images, labels, 4 * [(1.0, 1.0)], [3, 1, 4, 9])
    for moved, seed in zip(batch, [3, 1, 4, 9], strict=True):
        assert torch.equal(moved, changed(augment, image, seed))
    assert len({float(moved.double().square().sum()) for moved in batch}) == 4


@pytest.mark.parametrize("name", AMOUNTS)
def test_constant_planes_stay_and_change_nothing_in_the_others(name):
    image = slices()
    planes = torch.stack([image[0], torch.zeros(40, 34), image[1], torch.ones(40, 34)])
    found = changed(only(name), planes)
    assert torch.equal(found[[1, 3]], planes[[1, 3]])
    if name != "noise_sd":
        torch.testing.assert_close(found[[0, 2]], changed(only(name), image), rtol=0, atol=1e-5)
    assert torch.equal(changed(only(name), planes[[1, 3]]), planes[[1, 3]])


@pytest.mark.parametrize("name", sorted(set(AMOUNTS) - {"noise_sd"}))
def test_all_slices_of_a_sample_are_changed_alike(name):
    image = slices(channels=1).expand(6, -1, -1)
    found = changed(only(name), image)
    assert torch.equal(found, found[:1].expand(6, -1, -1))


def test_labels_and_movements_stay():
    image, label = slices(), (slices(channels=1)[0] > 0.5).to(torch.uint8)
    moved = TensorAugmentation()(image, label, (0.8, 1.1), 7)
    with_changes = TensorAugmentation(**AMOUNTS)(image, label, (0.8, 1.1), 7)
    assert torch.equal(moved[1], with_changes[1])
    assert np.corrcoef(moved[0].flatten(), with_changes[0].flatten())[0, 1] > 0.8


def test_blurs_as_scipy_does_in_millimetres():
    image, (x_mm, y_mm) = slices((60, 50)), (0.5, 1.25)
    there = ndimage.gaussian_filter(image.double().numpy(), (0, 1.0 / x_mm, 1.0 / y_mm), truncate=8)
    inner = (slice(None), slice(16, -16), slice(8, -8))
    np.testing.assert_allclose(blurred(image, 1.0, (x_mm, y_mm))[inner], there[inner], atol=1e-5)
    torch.testing.assert_close(blurred(0 * image + 3, 2.0, (x_mm, y_mm)), 0 * image + 3)
    torch.testing.assert_close(blurred(image, 0.0, (x_mm, y_mm)), image)


def test_low_resolution_averages_blocks_and_interpolates_between_their_centres():
    image = slices((40, 30))
    blocks = image.reshape(2, 20, 2, 15, 2).mean(dim=(2, 4)).numpy()
    x, y = np.meshgrid((np.arange(40) - 0.5) / 2, (np.arange(30) - 0.5) / 2, indexing="ij")
    for found, plane in zip(coarsened(image, 2.0), blocks, strict=True):
        np.testing.assert_allclose(found, ndimage.map_coordinates(plane, [x, y], order=1, mode="nearest"), atol=1e-5)
    assert coarsened(image, 100.0).shape == image.shape


@pytest.mark.parametrize("exponent", [0.66, 1.5])
def test_gamma_keeps_order_mean_and_sd_and_is_a_power_on_the_range(exponent):
    image = slices()
    found = with_gamma(image, exponent, ALL).numpy()
    unit = (image.double().numpy() - image.min().item()) / (image.max() - image.min()).item()
    assert np.corrcoef(found.ravel(), (unit**exponent).ravel())[0, 1] == pytest.approx(1, abs=1e-6)
    assert stats.spearmanr(found.ravel(), image.numpy().ravel()).statistic > 1 - 1e-6
    assert (found.mean(), found.std()) == pytest.approx((image.mean().item(), image.std().item()), abs=2e-3)
    torch.testing.assert_close(with_gamma(image, 1.0, ALL), image, rtol=0, atol=1e-5)


def test_a_bias_field_is_a_smooth_factor_above_air():
    image = slices()
    image[:, :, 0] = image.amin() - 1  # air
    log_bias = torch.linspace(-0.3, 0.3, 4)[:, None].expand(4, 4)
    found = biased(image, log_bias, ALL)
    assert float(found.mean()) == pytest.approx(float(image.mean()), abs=1e-4)
    assert float(found.std()) == pytest.approx(float(image.std()), abs=1e-4)
    ratio = ((found - found[:, :, :1]) / (image - image[:, :, :1]))[:, :, 1:].double()
    profile = ratio.mean(dim=(0, 2)).log()
    torch.testing.assert_close(ratio, profile.exp()[None, :, None].expand_as(ratio), rtol=1e-3, atol=1e-3)
    assert float(profile[-1] - profile[0]) == pytest.approx(0.6, abs=1e-3)
    assert (profile.diff() > 0).all()


def test_contrast_stretches_about_the_mean():
    image = slices() + 0.7
    found = changed(only("contrast"), image, seed=5)
    factor = float(found.std() / image.std())
    assert abs(factor - 1) > 0.01
    torch.testing.assert_close(found, image.mean() + factor * (image - image.mean()), rtol=0, atol=1e-4)


def test_noise_is_gaussian_and_of_every_pixel():
    image = slices((120, 100), channels=3)
    noise = (changed(only("noise_sd"), image, seed=2) - image).numpy()
    sd = noise.std()
    assert 0.005 < sd <= 0.3
    assert stats.kstest(noise.ravel() / sd, "norm").pvalue > 0.01
    assert abs(np.corrcoef(noise.reshape(3, -1))[np.triu_indices(3, 1)]).max() < 0.05


def test_parameters_have_their_shares_and_ranges_and_do_not_depend_on_one_another():
    shares = {SHARES[name]: 0.3 for name in AMOUNTS}
    options = IntensityOptions(**AMOUNTS, **shares)
    drawn = [draw_changes(options, np.random.default_rng(seed)) for seed in range(2000)]
    ranges = {"contrast": (0.75, 1.25), "exponent": (1 / 1.5, 1.5), "blur_sd_mm": (0.4, 0.8)}
    ranges |= {"low_resolution": (1, 2), "noise_sd": (0, 0.3)}
    for field in fields(drawn[0]):
        values = [getattr(one, field.name) for one in drawn if getattr(one, field.name) is not None]
        assert len(values) / 2000 == pytest.approx(0.3, abs=0.04)
        if field.name in ranges:
            least, most = ranges[field.name]
            assert least <= min(values) < least + 0.02 * (most - least)
            assert most - 0.02 * (most - least) < max(values) <= most
    alone = IntensityOptions(gamma=0.5, gamma_probability=0.3)
    for seed, one in enumerate(drawn[:100]):
        assert draw_changes(alone, np.random.default_rng(seed)).exponent == one.exponent


@pytest.mark.parametrize(
    "wrong",
    [{"gamma": -0.1}, {"low_resolution": 0.5}, {"contrast": 1.0}, {"noise_probability": 2.0}, {"blur_sd_mm": np.inf}],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigurationError) as caught:
        TensorAugmentation(**wrong)
    assert next(iter(wrong)) in caught.value.rule


@pytest.mark.parametrize("cls", [TorchioAugmentation, NoAugmentation])
@pytest.mark.parametrize("name", [*AMOUNTS, "rotation_degrees", "scaling"])
def test_the_other_augmentations_have_no_such_options(cls, name):
    section = {"_target_": f"nerveseg.data.augmentation.{cls.__name__}", name: 0.1}
    with pytest.raises(ConfigurationError):
        instantiate_target(section, "augmentation", ())


def test_half_precision_of_a_training_changes_nothing():
    image = slices()
    plain = changed(TensorAugmentation(**STILL, **AMOUNTS), image)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(changed(TensorAugmentation(**STILL, **AMOUNTS), image), plain)


def test_gamma_with_a_constant_plane_below_the_others_is_finite():
    """A window whose last slice is filled with the air outside the stack."""
    image = torch.rand(5, 32, 32, generator=torch.Generator().manual_seed(1)) + 0.5
    image[4] = -1.0
    options = IntensityOptions(gamma=0.5, contrast=0.25, bias_field=0.3)
    changed = change_intensities(options, image[None].repeat(20, 1, 1, 1), 20 * [(1.0, 1.0)], range(20))
    assert bool(changed.isfinite().all())
    assert bool((changed[:, 4] == -1.0).all())
    assert not torch.equal(changed[:, 0], image[None].repeat(20, 1, 1, 1)[:, 0])
