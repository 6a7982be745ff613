"""Records of a network's training in the description of its bundle: data, samples, and the scans that they resemble."""

from operator import not_

from pydantic import BaseModel, Field, PositiveFloat

from nerveseg.data.consensus import Target

Range = tuple[PositiveFloat, PositiveFloat]


class TrainingRecord(BaseModel, frozen=True, extra="forbid"):
    """Record of a network's training."""

    study: str  # name of the study
    synthetic: bool  # flag: true if the study is simulated
    subjects: dict[str, dict[str, str]]  # hash of every file of every training subject
    fold: int  # number of the fold whose subjects were held out
    epochs: int  # number of epochs after which the network had these weights
    seed: int  # seed of the training
    folds_seed: int  # seed of the split
    # Number of samples made on the fly that the network had seen, here and in the trainings before it (`init`); left
    # out without any.
    samples: int = Field(default=0, exclude_if=not_)
    # Hash of the voxels of each subject's first image (`data.hashing`); left out where a slice store has none.
    voxels: dict[str, str] = Field(default={}, exclude_if=lambda voxels: not voxels)
    # Hash of the weights that the training began with; left out where they were drawn from the seed.
    init: str | None = Field(default=None, exclude_if=lambda init: init is None)
    # Hash of every file of each training subject of that model, and of the one before it, by `init/<id>`.
    init_subjects: dict[str, dict[str, str]] = Field(default={}, exclude_if=lambda subjects: not subjects)
    # Flag: true if that model, or one before it, learnt from simulated data; left out where false.
    init_synthetic: bool = Field(default=False, exclude_if=not_)
    # Command that began the training, with the options that change its result; left out where it is not recorded.
    command: str = Field(default="", exclude_if=not_)
    # Options of the training that `resume=force` changed, as `key: old -> new`; left out without any.
    changes: list[str] = Field(default=[], exclude_if=not_)
    # What the network learnt; left out where it is that of earlier versions, so that their bundles stay as they were.
    target: Target = Field(default="consensus", exclude_if=lambda target: target == "consensus")

    @property
    def all_subjects(self) -> dict[str, dict[str, str]]:
        """Hash of every file of every subject that the weights were trained on, here or before."""
        return self.subjects | self.init_subjects

    @property
    def unrecognised(self) -> list[str]:
        """Names of the subjects without any hash, as in a published bundle, whose scans cannot be recognised."""
        return [name for name, files in self.all_subjects.items() if not files and name not in self.voxels]


class ScanRanges(BaseModel, frozen=True, extra="forbid"):
    """Least and greatest values, in mm, over the scans that samples made on the fly stand for."""

    pixel_mm: Range  # in-plane pixel size
    step_mm: Range  # slice step
