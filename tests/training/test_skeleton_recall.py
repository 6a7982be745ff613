"""The recall of skeletons: closed forms of simple shapes, and the term by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from nerveseg.training.losses import DiceCrossEntropy, check_loss
from nerveseg.training.skeleton_recall import SkeletonRecall, tubed_skeletons


def test_the_tube_of_a_disc_is_its_centre_and_of_a_line_the_line():
    x, y = np.ogrid[:21, :17]
    disc = (x - 10) ** 2 + (y - 8) ** 2 <= 36
    line = np.zeros((21, 17), bool)
    line[3, 2:15] = True
    found = tubed_skeletons(np.stack([disc, line, np.zeros_like(line)]))
    centre = np.abs(x - 10) + np.abs(y - 8) <= 1
    np.testing.assert_array_equal(found, [centre, line, np.zeros_like(line)])


def test_the_tube_of_a_patch_is_the_centreline_of_the_nerve():
    """A prism of 7 x 7 voxels; the thinning shortens it by at most half its width at each end."""
    patch = np.zeros((1, 15, 13, 20), bool)
    patch[0, 4:11, 3:10] = True
    found = tubed_skeletons(patch)[0]
    expected = np.zeros_like(patch[0])
    expected[7, 5:8] = expected[6:9, 6] = True
    np.testing.assert_array_equal(found[..., 4:-4], expected[..., 4:-4])
    assert not found[~expected].any()


@given(
    st.sampled_from([2, 3]).flatmap(
        lambda axes: arrays(bool, array_shapes(min_dims=axes + 1, max_dims=axes + 1, min_side=1, max_side=6))
    )
)
def test_every_component_has_a_tube_and_nothing_else_has(masks):
    for mask, tube in zip(masks, tubed_skeletons(masks), strict=True):
        assert not (tube & ~mask).any()
        components, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
        assert set(components[tube]) == set(range(1, count + 1))


def example(classes, size=(12, 10), seed=0):
    """Logits, and labels with a square of each class but background in each of two samples."""
    random = torch.Generator().manual_seed(seed)
    label = torch.zeros(2, *size, dtype=torch.int64)
    for part in range(1, classes):
        label[0, 1:4, 3 * part - 2 : 3 * part] = part
        label[1, 5:10, 3 * part - 3 : 3 * part] = part
    return torch.randn(2, classes, *size, generator=random), label


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("size", [(12, 10), (12, 10, 3)], ids=["slices", "patches"])
@pytest.mark.parametrize("weight", [0.0, 1.0, 0.3])
def test_the_loss_adds_what_of_the_tubes_is_missed(weight, size, classes):
    logits, label = example(classes, (12, 10))
    if len(size) == 3:
        logits, label = (each.unsqueeze(-1).repeat_interleave(3, dim=-1) for each in (logits, label))
    scores = np.exp(logits.double().numpy())
    shares = scores / scores.sum(axis=1, keepdims=True)
    tubes = [tubed_skeletons(label.numpy() == part) for part in range(1, classes)]
    recalls = [(shares[:, part] * tube).sum() / tube.sum() for part, tube in enumerate(tubes, 1)]
    expected = float(DiceCrossEntropy()(logits, label)) + weight * (1 - np.mean(recalls))
    loss = SkeletonRecall(weight)(logits, label)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_only_the_tube_gets_a_gradient_of_the_term():
    logits, label = example(2)
    gradients = []
    for weight in (0.0, 1.0):
        leaf = logits.clone().requires_grad_()
        SkeletonRecall(weight)(leaf, label).backward()
        gradients.append(leaf.grad)
    differs = (gradients[1] - gradients[0]).abs().amax(dim=1) > 1e-8
    np.testing.assert_array_equal(differs.numpy(), tubed_skeletons(label.numpy() == 1))


def test_a_batch_without_nerve_has_no_term():
    logits, label = example(3)
    nothing = torch.zeros_like(label)
    assert float(SkeletonRecall()(logits, nothing)) == float(DiceCrossEntropy()(logits, nothing))


def test_a_nerve_that_is_marked_with_certainty_costs_nothing():
    _, label = example(3)
    certain = 60 * torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    assert float(SkeletonRecall()(certain, label)) == pytest.approx(0, abs=1e-5)


def test_of_a_soft_label_the_tube_is_that_of_the_voxels_with_at_least_half():
    logits, label = example(3)
    hard = torch.nn.functional.one_hot(label, 3).movedim(-1, 1).float()
    background = torch.zeros_like(hard)
    background[:, 0] = 1
    soft = 0.5 * hard + 0.5 * background  # every voxel of a class has half of it
    soft[:, :, 10:] = torch.tensor([0.6, 0.4, 0.0])[:, None, None]  # less than half is no label
    term = float(SkeletonRecall()(logits, soft)) - float(DiceCrossEntropy()(logits, soft))
    expected = float(SkeletonRecall()(logits, label)) - float(DiceCrossEntropy()(logits, label))
    assert term == pytest.approx(expected, abs=1e-5)
    assert expected > 0.1


@pytest.mark.parametrize("classes", [2, 3])
def test_a_network_of_any_number_of_classes_is_taken(classes):
    check_loss(SkeletonRecall(), classes, soft=True)
