"""Typed configuration of `segment`."""

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, Strict

from nerveseg.scans.request import PatientInfo, ScanFiles, SegmentOptions
from nerveseg.scans.results import ResultOptions
from nerveseg.workflows.config import StudyConfig

OptionalPath = Annotated[Path | None, Strict(False)]


class SegmentConfig(SegmentOptions, ResultOptions, PatientInfo):
    """Configuration of `segment`.

    Attributes:
        input: Volume, DICOM folder or pattern of scans.
        study: Study whose subjects are segmented instead.
        model: Folder of a sweep, a fold or one model.
        plugins: Packages of the user's own whose networks a model may name.
        output: Folder of the results.
        output_root: Folder of all outputs.
        shard: Number of the part of an archive that this job segments, from 0.
        shards: Number of parts.
        images: Path template of each further channel; `{id}` stands for the scan's name.
        maps: Path template of each quantitative map.
        muscle: Path template of the mask of a muscle that the nerve does not supply.
        series: Number or UID of a DICOM series.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str | None
    study: StudyConfig | None = None
    model: OptionalPath
    plugins: tuple[str, ...]
    output: str | None
    output_root: Path
    shard: int | None = Field(strict=True)
    shards: int | None = Field(strict=True)
    images: dict[str, str]
    maps: dict[str, str]
    muscle: str | None
    series: int | str | None

    @property
    def person(self) -> PatientInfo:
        """Facts about the person scanned."""
        return PatientInfo.model_validate({name: getattr(self, name) for name in PatientInfo.model_fields})

    @property
    def options(self) -> SegmentOptions:
        """Options of segmentation and measurement."""
        return SegmentOptions.model_validate({name: getattr(self, name) for name in SegmentOptions.model_fields})

    @property
    def written(self) -> ResultOptions:
        """Options of the written files."""
        return ResultOptions.model_validate({name: getattr(self, name) for name in ResultOptions.model_fields})

    @property
    def results_root(self) -> Path:
        """Folder of the folders of all scans."""
        return Path(self.output) if self.output else self.output_root / "segmentations"

    def files(self, name: str, image: Path, person: PatientInfo) -> ScanFiles:
        """Return the files of one scan.

        Args:
            name: Name of the scan; replaces `{id}` in the templates.
            image: Volume, or folder of a DICOM series.
            person: Facts about the person scanned.
        """
        return ScanFiles(
            name=name,
            image=image,
            series=None if self.series is None else str(self.series),
            channels={key: Path(template.replace("{id}", name)) for key, template in self.images.items()},
            maps={key: Path(template.replace("{id}", name)) for key, template in self.maps.items()},
            muscle=Path(self.muscle.replace("{id}", name)) if self.muscle else None,
            person=person,
        )
