"""How a study lies on disk: path templates and reading rules, the content of a file of `conf/study/`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from nerveseg.data.consensus import Rule
from nerveseg.data.volumes.volume import Geometry


class StudyLayout(BaseModel):
    """How a study lies on disk; the content of a file of `conf/study/`.

    Attributes:
        name: Names the study in tables, outputs and models.
        root: Folder that the templates start from.
        images: Path template of each channel; the first channel's grid is the reference grid.
        raters: Path template of each rater's masks; one rater is the reference himself, several have a consensus.
        participants: Table of participants, relative to the root; need not exist.
        foreground: Label values that are nerve; by default every label above zero.
        geometry: Which of the header's transforms to trust where qform and sform differ; by default that is an error.
        consensus: How several raters become one reference (paper, 2.3: majority vote).
        missing_raters: Whether a subject may lack masks of some raters; of one rater he has to have one.
        synthetic: The study is simulated, and everything learned on it says so.
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
