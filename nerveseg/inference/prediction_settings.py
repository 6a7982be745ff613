"""Settings that change the mask that a model makes of a scan, in one record in the model's bundle.

The test of a fold and `segment` both read it from the bundle, so the scores of a model are those of the masks that its
users get. Device and runtime are no settings: both commands use the fastest of the machine, by one rule, and the
probabilities agree to 1e-4.
"""

from operator import not_
from typing import Literal

from pydantic import BaseModel, Field

from nerveseg.errors import ConfigurationError
from nerveseg.inference.postprocessing import Postprocessing

FieldOfView = Literal["whole", "crop"]

Accuracy = Literal["auto", "fast", "exact"]
"""Search of the nerve; auto is fast on a CPU and exact on a GPU, where whole slices take less time than the search, and
exact for a model that segments patches of several slices (`context=volume`)."""

InPlaneSpacing = Literal["model", "scan"]

Runtime = Literal["auto", "openvino", "torch"]
"""Program that runs the networks of a model; auto is OpenVINO on a CPU where it is installed, else torch."""


class PredictionSettings(BaseModel, frozen=True, extra="forbid"):
    """Settings of the prediction; `conf/inference/` holds the same keys."""

    # Part of each slice that is segmented: the whole, or the centre crop of the training.
    field_of_view: FieldOfView = "whole"
    # Search of the nerve: every slice whole (exact), or the nerve followed through the stack (fast).
    accuracy: Accuracy = "auto"
    # Pixels that the network sees: resampled to the model's in-plane spacing, or the scan's own.
    in_plane_spacing: InPlaneSpacing = "model"
    precision: Literal["32-true"] = "32-true"  # arithmetic of the network; autocast is never used
    # Flag: true to average the probabilities of each slice and of its left-right mirror image; false in bundles of
    # earlier versions, and left out of files where it is off.
    mirrored_views: bool = Field(default=False, exclude_if=not_)
    # Factor on the odds of nerve before the likeliest part of a voxel is taken: above 1 more nerve is marked, and the
    # probability stays as it is; 1 in bundles of earlier versions, and left out of files where it is 1.
    nerve_odds: float = Field(default=1.0, gt=0, allow_inf_nan=False, exclude_if=lambda odds: odds == 1)
    postprocessing: Postprocessing = Field(default_factory=Postprocessing)  # clean-up of the mask

    def in_words(self, patches: bool = False) -> list[str]:
        """Return one phrase per step, for the model card; of patches where the model segments patches of slices."""
        return [
            {
                "model": "slices resampled in plane to the model's spacing",
                "scan": "slices in the scan's own pixels, not resampled",
            }[self.in_plane_spacing],
            {
                "whole": "the whole field of view",
                "crop": "the centre crop of the training; no nerve is marked outside it",
            }[self.field_of_view],
            "overlapping windows of several slices with Gaussian weights"
            if patches
            else {
                "auto": "on a CPU the nerve followed through the stack, on a GPU every slice whole (accuracy=auto)",
                "fast": "the nerve followed through the stack (accuracy=fast)",
                "exact": "every slice whole (accuracy=exact)",
            }[self.accuracy],
            *(["mean over each slice and its left-right mirror image"] if self.mirrored_views else []),
            *([f"odds of nerve times {self.nerve_odds:g}"] if self.nerve_odds != 1 else []),
            "single precision",
            *self.postprocessing.in_words(),
        ]


class Computation(BaseModel, frozen=True, extra="forbid"):
    """Record of the device and the programs that computed a mask."""

    device: str  # device, as torch names it
    runtime: Literal["openvino", "torch"]  # program that ran the network
    accuracy: Literal["fast", "exact"]  # search of the nerve that `auto` stands for on this device


def settle_accuracy(accuracy: Accuracy, device: str, patches: bool = False) -> Literal["fast", "exact"]:
    """Return the search of the nerve that `auto` stands for on a device, for a model of slices or of patches.

    Raises:
        ConfigurationError: The model segments patches of several slices, which are never searched.
    """
    if patches and accuracy == "fast":
        raise ConfigurationError(
            "accuracy=fast follows the nerve from slice to slice, in a model that segments slice by slice",
            found="a model of context=volume",
            remedy="accuracy=exact",
        )
    if patches:
        return "exact"
    if accuracy == "auto":
        return "fast" if device == "cpu" else "exact"
    return accuracy
