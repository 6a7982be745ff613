"""Metrics that accumulate over batches and processes (TorchMetrics): Dice and surface distance, each per subject.

Scores of a study come from `evaluation`, which works on whole volumes. These follow a training: the mean over subjects,
each subject weighing the same, however its slices are spread over batches. An empty mask is treated as in `evaluation`:
if both masks of a subject are empty there is no score and the subject is left out; if one is empty, its Dice is 0, and
its distance is undefined and counted as a failure.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from nerveseg.evaluation.metrics.pair_scores import hausdorff_distance
from nerveseg.types import SpacingMm


class SubjectDice(Metric):
    """Mean over subjects of the Dice over all slices of a subject; NaN where every mask is empty."""

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in ("subject", "overlap", "size"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.subject: list[Tensor]
        self.overlap: list[Tensor]
        self.size: list[Tensor]

    def update(
        self,
        prediction: Bool[Tensor, "batch *size"],
        reference: Bool[Tensor, "batch *size"],
        subject: Int64[Tensor, " batch"],
    ) -> None:
        """Add slices or patches, each with the number of the subject that it belongs to."""
        self.subject.append(subject)
        self.overlap.append((prediction & reference).flatten(1).sum(dim=1))
        self.size.append(prediction.flatten(1).sum(dim=1) + reference.flatten(1).sum(dim=1))

    def compute(self) -> Float[Tensor, ""]:
        """Return the mean over subjects."""
        if len(self.subject) == 0:  # after a synchronisation of processes, a tensor
            return torch.tensor(float("nan"))
        ids, number = torch.unique(dim_zero_cat(self.subject), return_inverse=True)
        none = torch.zeros_like(ids)
        overlap = none.index_add(0, number, dim_zero_cat(self.overlap))
        size = none.index_add(0, number, dim_zero_cat(self.size))
        return (2 * overlap / size).nanmean()


class SurfaceDistance(Metric):
    """Mean over subjects of a quantile of the distances between two surfaces, in mm; NaN where none is defined.

    The functional form is `evaluation.metrics.hausdorff_distance` with `points="surface"`.

    Args:
        quantile: Quantile in (0, 1]; 1 is the full Hausdorff distance.
        **options: Options of `torchmetrics.Metric`.

    Attributes:
        n_failed: Number of subjects with one empty mask, whose distance is undefined; not in the mean.
        n_empty: Number of subjects with two empty masks, with nothing to compare; not in the mean.
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False

    def __init__(self, quantile: float = 0.95, **options: Any) -> None:
        super().__init__(**options)
        self.quantile = quantile
        self.add_state("total_mm", default=torch.tensor(0.0), dist_reduce_fx="sum")
        for name in ("n_measured", "n_failed", "n_empty"):
            self.add_state(name, default=torch.tensor(0), dist_reduce_fx="sum")
        self.total_mm: Tensor
        self.n_measured: Tensor
        self.n_failed: Tensor
        self.n_empty: Tensor

    def update(
        self,
        prediction: Bool[Tensor, "batch x y z"],
        reference: Bool[Tensor, "batch x y z"],
        spacing_mm: SpacingMm,
    ) -> None:
        """Add whole volumes, one per subject, all of the same spacing in mm."""
        for predicted, true in zip(prediction.cpu().numpy(), reference.cpu().numpy(), strict=True):
            if predicted.any() and true.any():
                self.total_mm += hausdorff_distance(true, predicted, spacing_mm, self.quantile)
                self.n_measured += 1
            elif predicted.any() or true.any():
                self.n_failed += 1
            else:
                self.n_empty += 1

    def compute(self) -> Float[Tensor, ""]:
        """Return the mean over the subjects whose distance is defined."""
        return self.total_mm / self.n_measured
