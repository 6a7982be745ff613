"""Dice with cross entropy and the recall of skeletons, for structures that are thin or are missed in some slices.

The skeleton of a label (the centre of a section, the centreline of a patch) is dilated by one voxel within the label.
The additional term is one minus the share of this tube that the network marks, so a section that is missed whole counts
about as much in a thin nerve as in a thick one.

References:
    Kirchhoff Y, Rokuss MR, Roy S, et al. Skeleton recall loss for connectivity conserving and resource efficient
    segmentation of thin tubular structures. ECCV 2024; arXiv:2404.03010.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, label
from skimage.morphology import skeletonize
from torch import Tensor

from nerveseg.training.losses import HALF, DiceCrossEntropy


class SkeletonRecall(DiceCrossEntropy):
    """Dice with cross entropy, plus one minus the soft recall of the tubed skeleton of each class that a batch shows.

    The skeletons are computed on the CPU, in the bounding box of each label: slices in the plane, patches in three
    dimensions. The batch counts as one volume, as for Dice, and the classes but background are averaged.

    Args:
        skeleton_weight: Factor on the term of the skeletons.
        dice: Arguments of `DiceCrossEntropy`.
    """

    def __init__(self, skeleton_weight: float = 1.0, **dice: Any) -> None:
        super().__init__(**dice)
        self.skeleton_weight = skeleton_weight

    def forward(
        self,
        logits: Float[Tensor, "batch class *size"],
        label: Int64[Tensor, "batch *size"] | Float[Tensor, "batch class *size"],
    ) -> Float[Tensor, ""]:
        """Return the loss in single precision; labels are numbers of classes, or the probability of each class."""
        probabilities = logits.float().softmax(dim=1)
        recalls = []
        for part in range(1, probabilities.shape[1]):
            drawn = label[:, part] >= HALF if label.is_floating_point() else label == part
            tube = torch.from_numpy(tubed_skeletons(drawn.cpu().numpy())).to(logits.device)
            if tube.any():
                recalls.append(probabilities[:, part][tube].mean())
        missed = 1 - torch.stack(recalls).mean() if recalls else logits.new_zeros(())
        return super().forward(logits, label) + self.skeleton_weight * missed.float()


def tubed_skeletons(masks: Bool[np.ndarray, "batch *size"]) -> Bool[np.ndarray, "batch *size"]:
    """Return the skeleton of each mask, slices (x, y) or patches (x, y, z), dilated by one voxel within the mask.

    Of a component that has no skeleton, all voxels are returned.
    """
    tubes = np.zeros_like(masks)
    for mask, tube in zip(masks, tubes, strict=True):
        for box in find_objects(mask.astype(np.uint8)):
            tube[box] = _tube(mask[box])
    return tubes


def _tube(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    skeleton = skeletonize(mask)
    tube: NDArray[np.bool_] = binary_dilation(skeleton) & mask
    components, count = label(mask, np.ones((3,) * mask.ndim))
    lost = np.setdiff1d(np.arange(1, count + 1), components[skeleton])  # Lee's thinning deletes some small components
    return tube | np.isin(components, lost) if lost.size else tube
