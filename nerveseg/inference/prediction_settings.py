"""Everything that changes the mask that a model makes of a scan, in one record that stands in the model's bundle.

The test of a fold and `segment` both take it from there, so the scores of a model are those of the masks that its users
get. What computes (device, runtime) is no setting: both take the fastest that the machine has, by one rule, and the
probabilities agree to 1e-4.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from nerveseg.inference.postprocessing import Postprocessing

FieldOfView = Literal["whole", "crop"]

Accuracy = Literal["auto", "fast", "exact"]
"""auto: fast on a CPU; exact on a GPU, which has the whole slices done before the search would be over."""

InPlaneSpacing = Literal["model", "scan"]


class PredictionSettings(BaseModel):
    """How a scan becomes a mask; `conf/inference/` holds the same keys.

    Attributes:
        field_of_view: Part of each slice that is segmented: the whole, or the centre crop of the training.
        accuracy: Search of the nerve: every slice whole (exact), or the nerve followed through the stack (fast).
        in_plane_spacing: Pixels that the network sees: resampled to the model's in-plane spacing, or the scan's own.
        precision: Arithmetic of the network; autocast is never used.
        postprocessing: Clean-up of the mask.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field_of_view: FieldOfView = "whole"
    accuracy: Accuracy = "auto"
    in_plane_spacing: InPlaneSpacing = "model"
    precision: Literal["32-true"] = "32-true"
    postprocessing: Postprocessing = Field(default_factory=Postprocessing)

    def in_words(self) -> list[str]:
        """Return one phrase per step, for the model card."""
        return [
            {
                "model": "slices resampled in plane to the model's spacing",
                "scan": "slices in the scan's own pixels, not resampled",
            }[self.in_plane_spacing],
            {
                "whole": "the whole field of view",
                "crop": "the centre crop of the training; no nerve is marked outside it",
            }[self.field_of_view],
            {
                "auto": "on a CPU the nerve followed through the stack, on a GPU every slice whole (accuracy=auto)",
                "fast": "the nerve followed through the stack (accuracy=fast)",
                "exact": "every slice whole (accuracy=exact)",
            }[self.accuracy],
            "single precision",
            *self.postprocessing.in_words(),
        ]


class Computation(BaseModel):
    """What a mask was computed with on one machine.

    Attributes:
        device: Device in torch's words.
        runtime: Program that ran the network.
        accuracy: Search of the nerve, with `auto` settled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    runtime: Literal["openvino", "torch"]
    accuracy: Literal["fast", "exact"]


def settle_accuracy(accuracy: Accuracy, device: str) -> Literal["fast", "exact"]:
    """Return what `auto` means on a device."""
    if accuracy == "auto":
        return "fast" if device == "cpu" else "exact"
    return accuracy
