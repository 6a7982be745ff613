import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.segmentation import DiceScore

from nerveseg.training.validation_metrics import SubjectDice, SurfaceDistance

SPACING_MM = (0.52, 0.7, 4.4)


@given(st.integers(0, 2**32 - 1))
@pytest.mark.filterwarnings("ignore:DiceScore metric currently defaults")
def test_dice_is_the_mean_over_subjects_of_torchmetrics_own(seed):
    random = np.random.default_rng(seed)
    slices = 12
    reference = torch.from_numpy(random.random((slices, 5, 4)) < 0.4)
    prediction = torch.from_numpy(random.random((slices, 5, 4)) < 0.4)
    subject = torch.from_numpy(random.integers(0, 3, slices))
    metric, expected = SubjectDice(), []
    for batch in torch.randperm(slices).split(5):
        metric.update(prediction[batch], reference[batch], subject[batch])
    for number in subject.unique():
        own = DiceScore(2, include_background=False, average="micro", input_format="index")
        chosen = subject == number
        # one sample per subject: its slices side by side
        own.update(prediction[chosen].flatten()[None].long(), reference[chosen].flatten()[None].long())
        expected.append(float(own.compute()))
    assert float(metric.compute()) == pytest.approx(np.mean(expected), abs=1e-6)


def test_dice_of_empty_masks():
    none, some = torch.zeros(1, 2, 2, dtype=torch.bool), torch.ones(1, 2, 2, dtype=torch.bool)
    metric = SubjectDice()
    assert metric.update(none, none, torch.tensor([0])) is None
    assert metric.compute().isnan(), "nothing to compare"
    metric.update(some, some, torch.tensor([1]))
    assert float(metric.compute()) == 1.0, "the subject without nerve is left out"
    metric.update(none, some, torch.tensor([2]))
    assert float(metric.compute()) == 0.5, "a missed nerve counts as 0"
    metric.reset()
    metric.update(some, none, torch.tensor([2]))
    assert float(metric.compute()) == 0.0


def distance_by_hand(reference, prediction, quantile):
    """Boundary voxels by ITK, distances between all pairs, the larger of the two directed quantiles."""
    points = []
    for mask in (reference, prediction):
        volume = SimpleITK.ConstantPad(SimpleITK.GetImageFromArray(mask.astype(np.uint8)), [1] * 3, [1] * 3, 0)
        surface = SimpleITK.GetArrayFromImage(SimpleITK.LabelContour(volume, fullyConnected=False))
        points.append(np.argwhere(surface) * SPACING_MM)
    directed = [
        np.quantile(np.linalg.norm(first[:, None] - second[None], axis=2).min(axis=1), quantile)
        for first, second in (points, points[::-1])
    ]
    return max(directed)


@pytest.mark.parametrize("quantile", [0.5, 0.95, 1.0])
def test_surface_distance_is_the_mean_over_subjects(quantile):
    random = np.random.default_rng(5)
    reference = random.random((3, 6, 5, 4)) < 0.2
    prediction = random.random((3, 6, 5, 4)) < 0.2
    metric = SurfaceDistance(quantile)
    metric.update(torch.from_numpy(prediction[:2]), torch.from_numpy(reference[:2]), SPACING_MM)
    metric.update(torch.from_numpy(prediction[2:]), torch.from_numpy(reference[2:]), SPACING_MM)
    expected = [distance_by_hand(one, other, quantile) for one, other in zip(reference, prediction, strict=True)]
    assert float(metric.compute()) == pytest.approx(np.mean(expected), rel=1e-4)
    assert int(metric.n_failed) == int(metric.n_empty) == 0


def test_failures_are_counted_and_not_in_the_mean():
    none, some = torch.zeros(1, 3, 3, 2, dtype=torch.bool), torch.ones(1, 3, 3, 2, dtype=torch.bool)
    metric = SurfaceDistance()
    metric.update(none, some, SPACING_MM)
    metric.update(some, none, SPACING_MM)
    metric.update(none, none, SPACING_MM)
    assert metric.compute().isnan()
    assert (int(metric.n_failed), int(metric.n_empty)) == (2, 1)
    metric.update(some, some, SPACING_MM)
    assert float(metric.compute()) == 0.0
    metric.reset()
    assert (int(metric.n_failed), int(metric.n_empty)) == (0, 0)
