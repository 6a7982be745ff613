"""Margins of non-inferiority, options of an evaluation; their tests are in `hypotheses`."""

from pydantic import BaseModel, Field


class Margins(BaseModel, frozen=True, extra="forbid"):
    """Margins of non-inferiority, chosen before the test."""

    dice: float = Field(default=0.05, gt=0, lt=1)  # largest loss of Dice, in (0, 1)
    vs: float = Field(default=0.05, gt=0, lt=1)  # largest loss of volumetric similarity, in (0, 1)
    # Largest additional share of subjects with a distance above `far_mm`, in (0, 1).
    far_share: float = Field(default=0.10, gt=0, lt=1)
    far_mm: float = Field(default=10.0, gt=0, allow_inf_nan=False)  # limit of the surface HD95, in mm
