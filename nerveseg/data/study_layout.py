"""Layout of a study on disk: path templates and reading rules, the content of a file of `conf/study/`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from nerveseg.data.consensus import Rule
from nerveseg.data.volumes.volume import Geometry


class StudyLayout(BaseModel):
    """Layout of a study on disk; the content of a file of `conf/study/`.

    Attributes:
        name: Name of the study in tables, outputs and models.
        root: Folder that the templates start from.
        images: Path template of each channel; the first channel's grid is the reference grid.
        raters: Path template of each rater's masks; one rater is the reference, several have a consensus.
        participants: Path of the table of participants, relative to the root; the file is optional.
        foreground: Label values of nerve; by default every label above zero.
        geometry: Transform of a header to use if qform and sform differ; by default a difference is an error.
        consensus: Rule of the consensus of several raters (paper, 2.3: majority vote).
        missing_raters: Rule for subjects without masks of some raters: "refuse" or "allow"; one mask is always needed.
        synthetic: Flag of a simulated study, stated in every result of its models.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    root: Path
    images: dict[str, str] = Field(min_length=1)
    raters: dict[str, str] = Field(min_length=1)
    participants: str = "participants.tsv"
    foreground: tuple[int, ...] | None = None
    geometry: Geometry = None
    consensus: Rule = "majority"
    missing_raters: Literal["refuse", "allow"] = "refuse"
    synthetic: bool = False
