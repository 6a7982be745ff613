import math

import monai.losses
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.errors import ConfigurationError
from nerveseg.training.losses import DiceCrossEntropy, check_loss, loss_value


def example(seed=0, count=3, classes=2):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, 6, 5, generator=random)
    drawn = torch.rand(count, 6, 5, generator=random) < 0.3
    return logits, drawn * torch.randint(1, classes, drawn.shape, generator=random)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([torch.float32, torch.bfloat16]))
def test_cross_entropy_is_the_mean_negative_log_probability_of_the_true_class(seed, count, kind):
    random = np.random.default_rng(seed)
    logits = torch.tensor(random.normal(0, 5, (count, 2, 4, 5)), dtype=kind)
    label = random.integers(0, 2, (count, 4, 5))
    scores = logits.double().numpy()
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    expected = -np.log(np.take_along_axis(shares, label[:, None], axis=1)).mean()
    loss = loss_value(torch.nn.CrossEntropyLoss(), logits, torch.from_numpy(label))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_the_loss_of_an_undecided_network_is_the_logarithm_of_two():
    label = torch.zeros(2, 3, 3, dtype=torch.int64)
    loss = loss_value(torch.nn.CrossEntropyLoss(), torch.zeros(2, 2, 3, 3), label)
    assert float(loss) == pytest.approx(math.log(2))


@pytest.mark.parametrize("weight", [1.0, 0.5])
@pytest.mark.parametrize("classes", [2, 4])
def test_dice_and_cross_entropy_are_monais_over_the_batch(classes, weight):
    logits, label = example(classes=classes)
    theirs = monai.losses.DiceCELoss(
        to_onehot_y=True, softmax=True, include_background=False, batch=True, smooth_nr=1.0, smooth_dr=1.0,
        lambda_dice=weight,
    )  # fmt: skip
    assert float(DiceCrossEntropy(weight)(logits, label)) == pytest.approx(float(theirs(logits, label[:, None])))


def test_a_class_that_a_batch_does_not_show_has_no_dice():
    logits, label = example(classes=3)
    entropy, loss = torch.nn.functional.cross_entropy, DiceCrossEntropy()
    nothing = torch.zeros_like(label)
    assert float(loss(logits, nothing)) == float(entropy(logits, nothing))
    label[label == 2] = 0
    without = torch.cat([logits[:, :2], torch.full_like(logits[:, :1], -30.0)], dim=1)
    assert float(loss(without, label)) == pytest.approx(float(loss(logits[:, :2], label)))


@pytest.mark.parametrize(
    "loss",
    [
        monai.losses.DiceCELoss(to_onehot_y=True, softmax=True),
        monai.losses.DiceFocalLoss(to_onehot_y=True, softmax=True),
        monai.losses.TverskyLoss(to_onehot_y=True, softmax=True, include_background=False),
    ],
)
def test_monais_losses_work_as_they_are(loss):
    logits, label = example()
    check_loss(loss)
    assert float(loss_value(loss, logits.bfloat16(), label)) == pytest.approx(
        float(loss(logits.bfloat16().float(), label[:, None]))
    )


def test_a_loss_derived_from_one_of_monais_is_taken_for_one():
    class Own(monai.losses.DiceLoss):
        pass

    logits, label = example()
    loss = Own(to_onehot_y=True, softmax=True)
    assert float(loss_value(loss, logits, label)) == float(loss(logits, label[:, None]))


def test_any_function_of_logits_and_labels_is_a_loss():
    logits, label = example()
    assert loss_value(torch.nn.functional.cross_entropy, logits, label) == torch.nn.CrossEntropyLoss()(logits, label)
    check_loss(torch.nn.functional.cross_entropy)


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        (monai.losses.DiceLoss(), "AssertionError"),
        (torch.nn.CrossEntropyLoss(reduction="none"), "shape (2, 16, 16)"),
        (lambda logits, label: logits.mean() / 0, "nan"),
    ],
)
@pytest.mark.filterwarnings("ignore:single channel prediction")
def test_a_loss_that_does_not_fit_is_named_before_a_study_is_read(loss, found):
    with pytest.raises(ConfigurationError) as caught:
        check_loss(loss)
    assert found in str(caught.value.found)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("loss", [DiceCrossEntropy(0.7), torch.nn.CrossEntropyLoss()])
def test_certain_probabilities_are_worth_the_same_as_numbers_of_classes(classes, loss):
    logits, label = example(classes=classes)
    certain = torch.nn.functional.one_hot(label, classes).movedim(-1, 1).float()
    assert float(loss_value(loss, logits, certain)) == pytest.approx(float(loss_value(loss, logits, label)))


def test_soft_dice_of_probabilities_is_that_of_the_formula():
    logits, _ = example(classes=3)
    shares = torch.rand(logits.shape, generator=torch.Generator().manual_seed(2)).softmax(dim=1)
    shares[:, 2] = 0
    p, t = logits.double().softmax(1).numpy(), shares.double().numpy()
    common = (p[:, 1] + t[:, 1] - abs(p[:, 1] - t[:, 1])).sum()
    dice = (common + 1) / (p[:, 1].sum() + t[:, 1].sum() + 1)
    entropy = -(t * np.log(p)).sum(axis=1).mean()
    assert float(DiceCrossEntropy(1.0)(logits, shares)) == pytest.approx(entropy + 1 - dice, rel=1e-5)


def test_no_probabilities_have_a_smaller_dice_loss_than_the_soft_labels_themselves():
    logits, _ = example(classes=3)
    loss, shares = DiceCrossEntropy(dice_weight=1.0), logits.softmax(dim=1)
    best = float(loss(logits, shares) - torch.nn.functional.cross_entropy(logits, shares))
    assert best == pytest.approx(0, abs=1e-6)
    sharper = 2 * logits
    assert float(loss(sharper, shares) - torch.nn.functional.cross_entropy(sharper, shares)) > 0.01


def test_the_logarithm_moves_a_class_that_has_nearly_no_probability():
    """A class of 12 pixels that the network has given up: the pull of 1 - Dice is about none, that of -log is one."""
    label = torch.zeros(1, 32, 32, dtype=torch.int64)
    label[0, :3, :4] = 1
    logits = torch.zeros(1, 2, 32, 32)
    logits[:, 1] = -12.0
    pulls = {}
    for logarithm in (False, True):
        given = logits.clone().requires_grad_()
        loss = DiceCrossEntropy(smoothing_pixels=1e-5, logarithm=logarithm)
        (loss(given, label) - torch.nn.functional.cross_entropy(given, label)).backward()
        pulls[logarithm] = -float(given.grad[:, 1][label == 1].sum())
    assert pulls[False] < 1e-3
    assert pulls[True] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("classes", [2, 4])
def test_losses_are_checked_on_probabilities_and_monais_are_refused(classes):
    for loss in (torch.nn.CrossEntropyLoss(), DiceCrossEntropy()):
        check_loss(loss, classes, soft=True)
    for one_hot in (True, False):
        loss = monai.losses.DiceCELoss(to_onehot_y=one_hot, softmax=True)
        if one_hot:
            check_loss(loss, classes)
        with pytest.raises(ConfigurationError) as caught:
            check_loss(loss, classes, soft=True)
        assert "loss" in caught.value.rule


def test_the_logarithm_needs_smoothing_and_is_finite_without_a_class():
    with pytest.raises(ConfigurationError) as caught:
        DiceCrossEntropy(smoothing_pixels=0.0, logarithm=True)
    assert caught.value.found == 0.0
    logits, label = example(classes=3)
    logits[:, 1] = -200.0  # a probability of 0 in single precision
    assert bool(DiceCrossEntropy(smoothing_pixels=1e-5, logarithm=True)(logits, torch.zeros_like(label)).isfinite())


def test_a_class_with_small_shares_alone_has_no_dice():
    logits, label = example(classes=3)
    shares = torch.nn.functional.one_hot(label % 2, 3).movedim(-1, 1).float()
    rest = shares.clone()
    rest[:, 2, 0, 0], rest[:, 0, 0, 0] = 0.01, rest[:, 0, 0, 0] - 0.01
    entropy = torch.nn.functional.cross_entropy
    with_rest, without = (float(DiceCrossEntropy()(logits, each) - entropy(logits, each)) for each in (rest, shares))
    assert with_rest == pytest.approx(without, abs=1e-3)
