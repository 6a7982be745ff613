"""Typed configuration of `segment` and `measure`, and the part of an archive that one job segments.

The shard of a scan is the SHA-256 of its path (of a subject without a scan: of its id) modulo the number of shards. It
does not depend on the other scans, so scans that are added later change no other scan's shard. Shards differ a little
in size.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, Strict

from nerveseg.biomarkers.quality import QualityLimits
from nerveseg.biomarkers.signals import LesionRule
from nerveseg.data.further_channels import RegistrationRule
from nerveseg.data.template_fields import fill_template
from nerveseg.data.volumes.nifti import Geometry
from nerveseg.errors import ConfigurationError
from nerveseg.inference.model_folder import ModelPath
from nerveseg.names import FolderPath, Name
from nerveseg.scans.request import PatientInfo, ScanFiles, SegmentOptions
from nerveseg.scans.results import ResultOptions
from nerveseg.workflows.config import StudyConfig

Label = Annotated[str, Strict(False), BeforeValidator(str)]
"""Type of a participant or a session, which YAML may read as a number."""

SHARDS = "shards"  # name of the folder of the shards' tables and errors, among the results


class ScanConfig(PatientInfo, frozen=True, extra="forbid"):
    """Options of a command on scans: the files, and where results go."""

    input: str | None  # volume, DICOM folder or pattern of scans; of `measure` a folder of results, too
    output: FolderPath | None  # folder of the results
    output_root: FolderPath  # folder of all outputs
    images: dict[Name, str]  # path template of each further channel; `{id}` stands for the scan's name
    maps: dict[Name, str]  # path template of each quantitative map
    muscle: str | None  # path template of the mask of a muscle that the nerve does not supply
    series: int | str | None  # number or UID of a DICOM series
    review: Path | None  # table of a reviewer's verdicts

    @property
    def person(self) -> PatientInfo:
        """Facts about the person scanned."""
        return PatientInfo.model_validate({name: getattr(self, name) for name in PatientInfo.model_fields})

    def files(self, name: str, image: Path, person: PatientInfo, fields: Mapping[str, str] | None = None) -> ScanFiles:
        """Return the files of a scan; a DICOM image is a folder.

        In the templates, the scan's name (of a study's subject: the participant) replaces `{id}`, `fields` the others.
        """

        def path(template: str) -> Path:
            return Path(fill_template(template, name, fields or {}))

        return ScanFiles(
            name=name,
            image=image,
            series=None if self.series is None else str(self.series),
            channels={key: path(template) for key, template in self.images.items()},
            maps={key: path(template) for key, template in self.maps.items()},
            muscle=path(self.muscle) if self.muscle else None,
            person=person,
        )


class SegmentConfig(SegmentOptions, ResultOptions, ScanConfig, frozen=True, extra="forbid"):
    """Configuration of `segment`."""

    study: StudyConfig | None = None  # study whose subjects are segmented instead
    model: ModelPath | None  # folder of a sweep, a fold or one model, or the name of one that is part of nerveseg
    plugins: tuple[str, ...]  # packages of the user's own whose networks a model may name
    participants: tuple[Label, ...]  # participants of the study to segment; none stands for all
    sessions: tuple[Label, ...]  # sessions of the study to segment; none stands for all
    shard: int | None = Field(strict=True)  # number of the part of an archive that this job segments, from 0
    shards: int | None = Field(strict=True)  # number of parts

    @property
    def options(self) -> SegmentOptions:
        """Options of segmentation and measurement; the transform is the study's unless the command gives one."""
        own = {name: getattr(self, name) for name in SegmentOptions.model_fields}
        studys = self.study.geometry if self.study else None
        return SegmentOptions.model_validate(own | {"geometry": self.geometry or studys})

    @property
    def written(self) -> ResultOptions:
        """Options of the written files."""
        return ResultOptions.model_validate({name: getattr(self, name) for name in ResultOptions.model_fields})

    @property
    def results_root(self) -> Path:
        """Folder of the folders of all scans."""
        return self.output or self.output_root / "segmentations"


class MeasureConfig(ScanConfig, frozen=True, extra="forbid"):
    """Configuration of `measure`."""

    study: StudyConfig | None = None  # study whose classes the mask has
    mask: str | None  # mask or label map that a person drew or corrected
    segment: int | str | None  # label, or name of a segment of 3D Slicer, that is nerve
    automatic: str | None  # automatic mask that was corrected
    channel: Name | None  # name of the image in columns and pages
    geometry: Geometry  # transform of a header to trust if the two differ
    registration: RegistrationRule | None  # treatment of a further channel on another grid
    lesion: LesionRule  # rule of a lesion
    quality: QualityLimits  # limits beyond which a flag is raised
    norms: Path | None  # table of normal values
    per_class: bool  # flag: true to write a mask of each class, too

    @property
    def options(self) -> SegmentOptions:
        """Options of the measurement."""
        own = {name: getattr(self, name) for name in ("geometry", "registration", "lesion", "quality", "norms")}
        studys = self.study.geometry if self.study else None
        return SegmentOptions.model_validate(own | {"geometry": self.geometry or studys})


@dataclass(frozen=True)
class Shard:
    """Part of an archive."""

    number: int  # number of the part, from 0
    of: int  # number of parts

    def holds(self, path: str) -> bool:
        """Return true if a scan belongs to this shard."""
        return int(hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest(), 16) % self.of == self.number

    def table(self, root: Path) -> Path:
        """Return the file of its table, with a row for each scan; written last."""
        return root / SHARDS / f"shard-{self.number}-of-{self.of}.csv"

    def failure(self, root: Path) -> Path:
        """Return the file of the shard's error, which exists if the shard failed."""
        return root / SHARDS / f"shard-{self.number}-of-{self.of}.failure.json"


def chosen_shard(config: SegmentConfig) -> Shard | None:
    """Return the shard that a configuration names, or None; raise `ConfigurationError` for a wrong number."""
    number, of = config.shard, config.shards
    if number is None and of is None:
        return None
    if number is None or of is None or not 0 <= number < of:
        raise ConfigurationError(
            "shard is a number from 0 to shards - 1",
            found=f"shard={number}, shards={of}",
            remedy="-m shard=0..15 runs all of 16 shards; shard=3 shards=16 runs one of them",
        )
    return Shard(number, of)
