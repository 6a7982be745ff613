"""What is to be segmented, and how: the files of one scan, the person it is of, and the options of `segment`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from nerveseg.biomarkers.flags import QualityLimits
from nerveseg.biomarkers.lesion import LesionRule
from nerveseg.data.volumes.volume import Geometry
from nerveseg.inference.postprocessing import Postprocessing
from nerveseg.inference.prediction_settings import Accuracy, FieldOfView, InPlaneSpacing, PredictionSettings
from nerveseg.inference.runtimes import Runtime


class PatientInfo(BaseModel):
    """What is known of the person; nothing of it can be read off a header.

    Attributes:
        side: Of the leg in the image.
        location: Part of the thigh.
        sex: As in the table of norms.
        weight_kg: Body weight.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: Literal["left", "right"] | None = None
    location: Literal["proximal", "medial", "distal"] | None = None
    sex: Literal["female", "male"] | None = None
    weight_kg: PositiveFloat | None = None


@dataclass(frozen=True)
class ScanFiles:
    """One scan's files.

    Attributes:
        name: Of the scan; names its results.
        image: A volume, or a folder of one DICOM series: the model's first channel.
        series: Number or UID of the series, where the folder holds several.
        channels: Further channels by name.
        maps: Quantitative maps by name.
        muscle: Mask, on the image's grid, of a muscle that the nerve does not supply.
        person: What is known of the person.
    """

    name: str
    image: Path
    series: str | None = None
    channels: Mapping[str, Path] = field(default_factory=dict)
    maps: Mapping[str, Path] = field(default_factory=dict)
    muscle: Path | None = None
    person: PatientInfo = field(default_factory=PatientInfo)

    @property
    def is_dicom(self) -> bool:
        """Whether the image is a folder of a DICOM series."""
        return self.image.is_dir()

    @property
    def paths(self) -> dict[str, Path]:
        """Every file or folder by what it is."""
        named = {f"images.{name}": path for name, path in self.channels.items()}
        named |= {f"maps.{name}": path for name, path in self.maps.items()}
        return {"image": self.image} | named | ({"muscle": self.muscle} if self.muscle else {})


class PostprocessingChange(BaseModel):
    """Values of `Postprocessing` that replace the model's own; None leaves the model's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    remove_specks: bool | None = None
    speck_volume_mm3: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    speck_distance_mm: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    bridge_single_slices: bool | None = None


class SegmentOptions(BaseModel):
    """How scans are segmented and measured; `conf/segment.yaml` holds the same keys.

    What changes a mask stands in the model's bundle; where it is None here, the model's own is used.

    Attributes:
        geometry: Which of a header's transforms to trust where they differ.
        registration: What to do with a further channel on another grid.
        lesion: What counts as lesion.
        postprocessing: Clean-up of the mask, where it is to differ from the model's.
        quality: Limits beyond which a flag is raised.
        field_of_view: The whole slice, or the centre crop of the training.
        accuracy: Every slice whole (exact), or the nerve followed through the stack (fast).
        in_plane_spacing: Pixels that the network sees: at the model's in-plane spacing, or the scan's own.
        runtime: What runs the networks.
        norms: Table of normal values.
        slices_per_batch: Slices that go through the network at a time.
        accelerator: What to compute on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    geometry: Geometry = None
    registration: Literal["rigid", "none"] = "rigid"
    lesion: LesionRule = Field(default_factory=lambda: LesionRule(channel="FS"))
    postprocessing: PostprocessingChange | Postprocessing = Field(default_factory=PostprocessingChange)
    quality: QualityLimits = Field(default_factory=QualityLimits)
    field_of_view: FieldOfView | None = None
    accuracy: Accuracy | None = None
    in_plane_spacing: InPlaneSpacing | None = None
    runtime: Runtime = "auto"
    norms: Path | None = None
    slices_per_batch: PositiveInt = 8
    accelerator: Literal["auto", "gpu", "cpu"] = "auto"

    def settings(self, model: PredictionSettings) -> PredictionSettings:
        """Return a model's settings with those that are given here instead of its own."""
        chosen = {"field_of_view", "accuracy", "in_plane_spacing"}
        changes: dict[str, Any] = self.model_dump(include=chosen, exclude_none=True)
        cleanup = model.postprocessing.model_copy(update=self.postprocessing.model_dump(exclude_none=True))
        return model.model_copy(update=changes | {"postprocessing": cleanup})


def settings_notes(used: PredictionSettings, model: PredictionSettings) -> tuple[str, ...]:
    """Return a line for every setting that is not the one a model was tested with."""
    pairs = [
        (name, getattr(used, name), getattr(model, name)) for name in ("field_of_view", "accuracy", "in_plane_spacing")
    ]
    pairs += [
        (f"postprocessing.{name}", value, getattr(model.postprocessing, name))
        for name, value in used.postprocessing.model_dump().items()
    ]
    return tuple(
        f"{name}={_plain(value)}: the scores of this model are of {name}={_plain(own)}"
        for name, value, own in pairs
        if value != own
    )


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
