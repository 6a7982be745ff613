"""Layout of a study on disk: path templates and reading rules; the files of one participant."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from nerveseg.data.classes import Classes, Declared, Term, with_classes
from nerveseg.data.consensus import Rule
from nerveseg.data.further_channels import RegistrationRule
from nerveseg.data.template_fields import fill_template, template_fields
from nerveseg.data.volumes.nifti import Geometry
from nerveseg.errors import StudyError
from nerveseg.names import FolderPath, Name

NO_FIELDS: Mapping[str, str] = {}  # one object for all participants


class StudyLayout(BaseModel, frozen=True, extra="forbid"):
    """Layout of a study on disk; the content of a file of `conf/study/`."""

    name: Name  # name of the study in tables, outputs and models
    root: FolderPath  # folder that the templates start from
    images: dict[Name, str] = Field(min_length=1)  # path template of each channel; the first has the reference grid
    # Treatment of further channels on another grid than the first; by default another grid is an error.
    channels: Literal["resample", "register"] | None = None
    # Channels that some subjects lack, each with the probability (0 to 1) with which training drops it.
    optional: dict[Name, Annotated[float, Field(ge=0, lt=1)]] | None = None
    # Path template of each rater's masks; one rater is the reference, several have a consensus.
    raters: dict[Name, str] = Field(min_length=1)
    participants: str = "participants.tsv"  # table of participants, relative to the root; the file is optional
    classes: Declared | None = None  # label values of each class; by default one class, nerve: every label above zero
    # Coded term of each class in DICOM; by default nerve or tissue.
    terms: dict[Name, Term] = Field(default_factory=dict)
    geometry: Geometry = None  # transform to use if qform and sform differ; by default a difference is an error
    consensus: Rule = "majority"  # rule of the consensus of several raters (paper, 2.3: majority vote)
    missing_raters: Literal["refuse", "allow"] = "refuse"  # rule for subjects without masks of some raters
    synthetic: bool = False  # flag of a simulated study, stated in every result of its models

    @model_validator(mode="after")
    def _check_channels(self) -> "StudyLayout":
        unknown = [name for name in self.optional or () if name not in list(self.images)[1:]]
        if unknown:
            raise ValueError(f"optional holds names of images but the first, not {', '.join(unknown)}")
        if self.channels and len(self.images) == 1:
            raise ValueError(f"channels={self.channels} is for images beside the first; there are none")
        return self

    @property
    def optional_channels(self) -> Mapping[str, float]:
        """Channels that some subjects lack, in the order of the images, with the probability of their dropping."""
        return {name: self.optional[name] for name in self.images if name in self.optional} if self.optional else {}

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, values: Any) -> Any:
        return with_classes(values)

    @model_validator(mode="after")
    def _check_terms(self) -> "StudyLayout":
        unknown = sorted(self.terms.keys() - set(self.class_table.names))
        if unknown:
            raise ValueError(f"terms of the classes {', '.join(self.class_table.names)}, not of {', '.join(unknown)}")
        return self

    @property
    def class_table(self) -> Classes:
        """Classes of the study and the parts that a network learns."""
        return Classes.of(self.classes)

    @property
    def registration(self) -> RegistrationRule:
        """Rule by which `segment` places further channels as training does."""
        return "none" if self.channels == "resample" else "rigid"

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the first image's template but `id`, in order; with any, a participant may have several scans."""
        return template_fields([next(iter(self.images.values()))])


RATER = "rater-"  # start of the names of the folders of raters, below `derivatives`


def bids_layout(root: Path) -> StudyLayout:
    """Return the layout of a BIDS-like folder, as `conf/study/bids.yaml`, with the raters that have a folder in it.

    Raises:
        StudyError: The folder does not exist, or has no folder `derivatives/rater-<name>`.
    """
    names = sorted(path.name.removeprefix(RATER) for path in root.glob(f"derivatives/{RATER}*") if path.is_dir())
    if not names:
        found = "no such folder" if root.is_dir() else "no folder at all"
        rule = f"a study's folder holds the masks of each rater in derivatives/{RATER}<name>"
        remedy = "correct the path, or describe another layout: open_study(StudyLayout(name=, root=, images=, raters=))"
        raise StudyError(rule, found=found, path=root, remedy=remedy)
    masks = {name: f"derivatives/{RATER}{name}/sub-{{id}}/anat/sub-{{id}}_label-nerve_mask.nii.gz" for name in names}
    images = {"T2": "sub-{id}/anat/sub-{id}_T2w.nii.gz"}
    return StudyLayout(name=root.resolve().name, root=root, images=images, raters=masks)


def with_synthetic(description: StudyLayout) -> StudyLayout:
    """Return a layout whose flag `synthetic` is true if the study's own description says so, too."""
    return description.model_copy(update={"synthetic": True}) if says_synthetic(description.root) else description


def says_synthetic(root: Path) -> bool:
    """Return true if the study's BIDS `dataset_description.json` names it synthetic, in any configuration."""
    try:
        content = json.loads((root / "dataset_description.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "SYNTHETIC" in str(content.get("Name", ""))


@dataclass(frozen=True, slots=True, eq=False)
class SubjectFiles(Mapping[str, Path]):
    """Mapping from name to path that stores the templates and makes each path on request.

    Every process of a data loader holds the study: 10,000 participants with four `Path` objects each would take 18 MiB
    in each of them (benchmarks/startup.py).
    """

    root: Path  # folder of the study
    templates: Mapping[str, str]  # path template by name, relative to the root; `{id}` stands for the participant
    participant: str  # id of the participant, without `sub-`
    # Values of the templates' further fields.
    fields: Mapping[str, str] = field(default_factory=lambda: NO_FIELDS)

    def __getitem__(self, name: str) -> Path:
        """Return the path of that name; the file need not exist."""
        return self.root / fill_template(self.templates[name], self.participant, self.fields)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order of the templates."""
        return iter(self.templates)

    def __len__(self) -> int:
        return len(self.templates)
