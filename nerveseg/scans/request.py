"""Request of a segmentation: the files of one scan, facts about the person, and the options of `segment`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError

from nerveseg.biomarkers.quality import QualityLimits
from nerveseg.biomarkers.signals import LesionRule
from nerveseg.data.further_channels import RegistrationRule
from nerveseg.data.volumes.nifti import Geometry
from nerveseg.errors import ConfigurationError
from nerveseg.inference.postprocessing import Postprocessing
from nerveseg.inference.prediction_settings import (
    Accuracy,
    FieldOfView,
    InPlaneSpacing,
    PredictionSettings,
    Runtime,
)

CHOSEN = ("field_of_view", "accuracy", "in_plane_spacing", "mirrored_views", "nerve_odds")
"""Settings of the prediction that the options of `segment` may replace, besides the clean-up."""


class PatientInfo(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Facts about the person scanned that no image header contains."""

    side: Literal["left", "right"] | None = None  # side of the leg in the image
    location: Literal["proximal", "medial", "distal"] | None = None  # part of the thigh
    sex: Literal["female", "male"] | None = None  # sex, as in the table of norms
    weight_kg: PositiveFloat | None = None  # body weight in kg


@dataclass(frozen=True)
class ScanFiles:
    """Files of one scan."""

    name: str  # name of the scan and of its results
    image: Path  # volume, or folder of one DICOM series, of the model's first channel
    series: str | None = None  # number or UID of the series, if the folder holds several
    channels: Mapping[str, Path] = field(default_factory=dict)  # further channels by name
    maps: Mapping[str, Path] = field(default_factory=dict)  # quantitative maps by name
    muscle: Path | None = None  # mask, on the image's grid, of a muscle that the nerve does not supply
    person: PatientInfo = field(default_factory=PatientInfo)  # facts about the person scanned
    in_memory: bool = False  # flag: true if an image was given in memory, so that its path is of a temporary file

    @property
    def paths(self) -> dict[str, Path]:
        """Files and folders by their role."""
        named = {f"images.{name}": path for name, path in self.channels.items()}
        named |= {f"maps.{name}": path for name, path in self.maps.items()}
        return {"image": self.image} | named | ({"muscle": self.muscle} if self.muscle else {})


class PostprocessingChange(BaseModel, frozen=True, extra="forbid"):
    """Values of `Postprocessing` that replace the model's own; None leaves the model's."""

    remove_specks: bool | None = None
    speck_volume_mm3: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    speck_distance_mm: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    bridge_single_slices: bool | None = None
    follow_path: bool | None = None


class SegmentOptions(BaseModel, frozen=True, extra="forbid"):
    """Options of segmentation and measurement; `conf/segment.yaml` holds the same keys.

    Options that change a mask are None by default, which takes the setting in the model's bundle.
    """

    geometry: Geometry = None  # transform of a header to trust if the two differ
    registration: RegistrationRule | None = None  # treatment of a further channel on another grid
    lesion: LesionRule = Field(default_factory=LesionRule)  # rule of a lesion
    # Clean-up of the mask that replaces the model's.
    postprocessing: PostprocessingChange | Postprocessing = Field(default_factory=PostprocessingChange)
    quality: QualityLimits = Field(default_factory=QualityLimits)  # limits beyond which a flag is raised
    field_of_view: FieldOfView | None = None  # part of each slice that is segmented
    accuracy: Accuracy | None = None  # search of the nerve: every slice whole, or the nerve followed through the stack
    in_plane_spacing: InPlaneSpacing | None = None  # pixels that the network sees: of the model's spacing or the scan's
    mirrored_views: bool | None = None  # flag: true to average over each slice and its left-right mirror image
    nerve_odds: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # factor on the odds of nerve
    # Classes whose masks are written: by default those that the model's description shows; nerve alone, or all.
    # A record lacks the default, so that results of earlier versions stay as they were.
    classes: Literal["nerve", "all"] | None = Field(default=None, exclude_if=lambda classes: classes is None)
    runtime: Runtime = "auto"  # program that runs the networks
    norms: Path | None = None  # table of normal values
    slices_per_batch: PositiveInt = 8  # number of slices that go through the network at a time
    accelerator: Literal["auto", "gpu", "cpu"] = "auto"  # device to compute on

    def settings(self, model: PredictionSettings) -> PredictionSettings:
        """Return a model's settings, replaced by the options that are given."""
        changes: dict[str, Any] = self.model_dump(include=set(CHOSEN), exclude_none=True)
        replaced = {name: value for name, value in self.postprocessing if value is not None}
        cleanup = model.postprocessing.model_copy(update=replaced)
        return model.model_copy(update=changes | {"postprocessing": cleanup})


class ScanRequest(BaseModel, frozen=True, extra="forbid"):
    """Record of the files and options with which the mask of a result can be measured again."""

    channel: str  # name of the image
    files: dict[str, str]  # absolute path of each file by its role (`ScanFiles.paths`)
    series: str | None  # number or UID of the series, if the folder of the image holds several
    person: PatientInfo  # facts about the person scanned
    options: SegmentOptions  # options of the measurement
    per_class: bool  # flag: true to write a mask of each class, too

    @classmethod
    def of(cls, files: ScanFiles, channel: str, options: SegmentOptions, per_class: bool) -> "ScanRequest | None":
        """Return the record of a scan, None of an image in memory; bytes of a path that are no UTF-8 become escapes."""
        if files.in_memory:
            return None
        named = {
            role: os.fsencode(os.path.abspath(path)).decode("utf-8", "backslashreplace")
            for role, path in files.paths.items()
        }
        norms = options.norms and Path(os.path.abspath(options.norms))
        return cls(
            channel=channel,
            files=named,
            series=files.series,
            person=files.person,
            options=options.model_copy(update={"norms": norms}),
            per_class=per_class,
        )

    def scan_files(self, name: str) -> ScanFiles:
        """Return the files of the scan, of this name."""
        paths = {role: Path(path) for role, path in self.files.items()}
        further: dict[str, dict[str, Path]] = {"images": {}, "maps": {}}
        for role, path in paths.items():
            kind, _, key = role.partition(".")
            if key:
                further[kind][key] = path
        return ScanFiles(
            name=name,
            image=paths["image"],
            series=self.series,
            channels=further["images"],
            maps=further["maps"],
            muscle=paths.get("muscle"),
            person=self.person,
        )


RENAME = "maps.<another name>=... or images.<another name>=..."


def check_names(channel: str, files: ScanFiles, remedy: str = RENAME) -> None:
    """Raise `ConfigurationError` if two signals have one name, since the profile would hold only one of them."""
    names = [channel, *files.channels, *files.maps]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(
            "the image, further channels and maps have different names",
            found=f"{', '.join(twice)} twice; the image is {channel}",
            remedy=remedy,
        )


Record = TypeVar("Record", bound=BaseModel)


def record_of(cls: type[Record], given: Record | Mapping[str, Any] | None, argument: str) -> Record:
    """Return a record from its values by name; raise `ConfigurationError` for an unknown name or a wrong value."""
    try:
        return given if isinstance(given, cls) else cls.model_validate(given or {})
    except ValidationError as error:
        first = error.errors()[0]
        name, message = ".".join(map(str, first["loc"])), str(first["msg"]).removeprefix("Value error, ")
        remedy = f"{argument} may hold {', '.join(cls.model_fields)}"
        raise ConfigurationError(f"{argument}: {name}: {message}", found=first["input"], remedy=remedy) from error


def settings_notes(used: PredictionSettings, model: PredictionSettings) -> tuple[str, ...]:
    """Return a note for every setting that differs from the one a model was tested with."""
    pairs = [(name, getattr(used, name), getattr(model, name)) for name in CHOSEN]
    pairs += [
        (f"postprocessing.{name}", value, getattr(model.postprocessing, name)) for name, value in used.postprocessing
    ]
    return tuple(
        f"{name}={_plain(value)}: the scores of this model are of {name}={_plain(own)}"
        for name, value, own in pairs
        if value != own
    )


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
