"""Read and write model bundles, the files of a trained model that can be shared.

    weights.safetensors    tensors only
    model.json             everything needed to apply the network, and a record of its training data
    README.md              the model card
    expected_dice.json     calibration of the expected Dice, once the sweep of the model has ended

Loading runs no code from the bundle: the network is a class that `networks.registry` allows, with plain JSON arguments,
and the weights are plain tensors, whose hash and values are checked (`weights`).
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import not_
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, Field, PositiveFloat, ValidationError, model_validator
from safetensors import SafetensorError
from torch import nn

from nerveseg.data.classes import NERVE, Classes, Declared, Term, with_classes
from nerveseg.data.context import Context
from nerveseg.data.further_channels import RegistrationRule
from nerveseg.data.optional_channels import is_missing, with_presence
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.errors import BundleError, ConfigurationError
from nerveseg.files import replace_folder, temporary_sibling, write_text
from nerveseg.inference.expected_dice import Calibrations, read_calibrations
from nerveseg.inference.model_card import model_card
from nerveseg.inference.prediction_settings import Computation, PredictionSettings
from nerveseg.inference.training_intensity import IntensityRange
from nerveseg.inference.training_record import ScanRanges, TrainingRecord
from nerveseg.inference.weights import check_weights, read_weights, write_weights
from nerveseg.networks.inspection import find_reduction
from nerveseg.networks.registry import NetworkSpec, find_network, load_network
from nerveseg.types import Channels

LEAST_LIMIT = 100_000
"""Number of parameters that a network may have however small its file is; the file's own fault is named then."""


class TestScore(BaseModel, frozen=True, extra="forbid"):
    """Mean over the held-out subjects of one cohort, against the consensus."""

    __test__ = False
    cohort: str  # name of the cohort
    n: int  # number of held-out subjects
    dice: float | None  # mean Dice coefficient


class ModelDescription(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """`model.json`."""

    format_version: Literal[1] = 1  # version of the bundle's format
    architecture: NetworkSpec  # network and its arguments
    channels: list[str]  # image channels, in the order the network takes them
    optional: list[str] = []  # channels that a scan may lack; the network takes a presence plane of each
    # Voxel spacing in RAS order: the median of the training volumes, of made samples the middle of their ranges.
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    preprocessing: Preprocessing  # preprocessing of a volume
    registration: RegistrationRule = "rigid"  # treatment of further channels on another grid than the first
    context: Context = Context()  # part of a stack that the network sees; a slice in bundles of earlier versions
    # Settings, besides preprocessing, that change a mask; the defaults in bundles of earlier versions.
    prediction: PredictionSettings = PredictionSettings()
    classes: Declared | None  # label values of each class; null is one class, nerve, of every label above zero
    terms: dict[str, Term] = {}  # coded terms of the classes in DICOM
    # Classes whose masks are results; empty, and left out of files, where these are all classes.
    result_classes: list[str] = Field(default=[], exclude_if=not_)
    training: TrainingRecord  # record of the training
    scores: list[TestScore] = []  # scores on the held-out subjects; empty before they are predicted
    # Scans and reference of the scores in words; left out where they are the held-out subjects and the consensus.
    scored: str = Field(default="", exclude_if=not_)
    # Device, runtime and search of the nerve with which the scores were measured.
    computation: Computation | None = None
    # Intensity of the training data, by channel; empty in bundles of earlier versions.
    intensity: dict[str, IntensityRange] = {}
    # Scans that made samples stand for; left out where the network learnt from subjects, whose median is `spacing_mm`.
    ranges: ScanRanges | None = Field(default=None, exclude_if=lambda ranges: ranges is None)
    lesion_reference: None = None  # null in every bundle of format 1; part of the hash
    versions: dict[str, str]  # versions of nerveseg and the libraries that a result depends on
    weights_sha256: str = ""  # hash of `weights.safetensors`

    def sha256(self) -> str:
        """Return the hash of the description without scores; models of the same hash give the same masks."""
        since, fields = ("context", "optional", "registration"), type(self).model_fields
        later = {name for name in since if getattr(self, name) == fields[name].default}  # as in earlier versions
        text = self.model_dump(mode="json", exclude={"scores", "scored", "computation"} | later)
        text["training"].pop("voxels", None)
        if not self.terms:
            del text["terms"]
        if self.class_table.names == (NERVE,):
            declared = text.pop("classes")
            text["foreground"] = declared and declared[NERVE]
        return hashlib.sha256(json.dumps(text, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, values: Any) -> Any:
        return with_classes(values)

    @property
    def class_table(self) -> Classes:
        """Classes of the model and the parts that the network tells apart."""
        return Classes.of(self.classes)

    @property
    def in_channels(self) -> int:
        """Number of channels that the network sees: those of a scan and of presence, of every slice of the context."""
        return (len(self.channels) + len(self.optional)) * self.context.slices

    def check_channels(self, given: Iterable[str], subject: str | None = None) -> None:
        """Raise `BundleError` about a subject unless all channels but the optional ones are among the names given."""
        names = list(given)
        missing = [name for name in self.channels if name not in names and name not in self.optional]
        if missing:
            raise BundleError(
                f"this model takes the channels {', '.join(self.channels)}",
                found=f"only {', '.join(names)}" if names else "none",
                subject=subject,
                remedy="give " + " ".join(f"images.{name}=<file>" for name in missing) + ", or take another model",
            )

    @model_validator(mode="after")
    def _check_names(self) -> "ModelDescription":
        if not set(self.optional) <= set(self.channels[1:]):
            raise ValueError("optional holds channels but the first")
        known, results = self.class_table.names, self.result_classes
        if not set(results) <= set(known) or (results and NERVE in known and NERVE not in results):
            raise ValueError("result_classes holds classes of the model, with the nerve")
        return self

    def network_channels(self, channels: Channels) -> Float32[np.ndarray, "input x y z"]:
        """Normalise the channels of a scan, missing ones of NaN, and append the presence planes."""
        positions = [self.channels.index(name) for name in self.optional]
        present = [not is_missing(channels[position]) for position in positions]
        return with_presence(self.preprocessing.normalise(channels), positions, present)

    def check_channel_count(self, given: int) -> None:
        """Raise `BundleError` unless the number of channels is the model's."""
        if given != len(self.channels):
            raise BundleError(
                f"this model takes {len(self.channels)} channels ({', '.join(self.channels)})",
                found=given,
                remedy="give each of them once, in this order",
            )


@dataclass(frozen=True)
class Bundle:
    """Loaded model."""

    network: nn.Module  # network in evaluation mode, on the CPU
    description: ModelDescription  # content of `model.json`
    calibrations: Calibrations | None = None  # content of `expected_dice.json`, if the bundle has it

    @cached_property
    def reduction(self) -> int:
        """Factor by which the network divides the in-plane size, of which its inputs are multiples."""
        return find_reduction(self.network, self.description.in_channels, self.description.context.depth)


def save_bundle(folder: Path, network: nn.Module, description: ModelDescription, *, half: bool = False) -> None:
    """Write a bundle in place of an existing one, with the weights' hash.

    Args:
        folder: Folder of the bundle.
        network: Network with its weights.
        description: Content of `model.json` but for the hash.
        half: Flag: true to write kernels in half precision; all weights are loaded in single precision.

    Raises:
        BundleError: A weight is not finite.
    """
    temporary = temporary_sibling(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        sha256 = write_weights(temporary, network, folder, half=half)
        _write_description(temporary, description.model_copy(update={"weights_sha256": sha256}))
        replace_folder(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def add_scores(folder: Path, scores: list[TestScore], computation: Computation | None = None, scored: str = "") -> None:
    """Write scores into a bundle's description and card, of the held-out subjects unless `scored` names others."""
    update = {"scores": scores, "scored": scored, "computation": computation}
    _write_description(folder, read_description(folder).model_copy(update=update))


def renamed_bundle(folder: Path, target: Path, name: Callable[[str], str]) -> None:
    """Copy a bundle with pseudonymised subject ids (`name` of an id) and without hashes of images."""
    description = read_description(folder)
    training = description.training
    subjects: dict[str, dict[str, str]] = {name(subject): {} for subject in training.subjects}
    before: dict[str, dict[str, str]] = {name(subject): {} for subject in training.init_subjects}
    training = training.model_copy(update={"subjects": subjects, "init_subjects": before, "voxels": {}})
    shutil.copytree(folder, target)
    _write_description(target, description.model_copy(update={"training": training}))


def load_bundle(folder: Path, plugins: Sequence[str] = ()) -> Bundle:
    """Load a bundle; networks of the packages in `plugins` may be named too.

    Raises:
        BundleError: The bundle is incomplete, altered, or of a format or network that this version does not know.
    """
    description = read_description(folder)
    size = check_weights(folder, description.weights_sha256)
    network = _load_network(description.architecture, folder, plugins, size)
    try:
        read_weights(folder, network)
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(
            "the weights fit the architecture that model.json names",
            path=folder,
            found=_one_line(error),
            remedy="copy the model again from its source",
        ) from error
    return Bundle(network.eval(), description, read_calibrations(folder))


def _load_network(architecture: NetworkSpec, folder: Path, plugins: Sequence[str], most_parameters: int) -> nn.Module:
    other_version = "install the version of nerveseg that made this model"
    try:
        find_network(architecture.name, plugins)
    except ConfigurationError as error:
        remedy = error.remedy if "." in architecture.name else other_version
        raise BundleError(error.rule, found=architecture.name, path=folder, remedy=remedy) from error
    try:
        return load_network(architecture, plugins, max(most_parameters, LEAST_LIMIT))
    except ConfigurationError as error:
        raise BundleError(
            "the network's arguments are known to this version",
            found=_one_line(f"{error.rule}: {error.found}"),
            path=folder,
            remedy=other_version,
        ) from error


def read_description(folder: Path) -> ModelDescription:
    """Read `model.json` of a bundle; raise `BundleError` if it is missing, damaged or of another format."""
    path = folder / "model.json"
    if not path.is_file():
        raise BundleError(
            "a model bundle has a model.json",
            found="no such file",
            path=folder,
            remedy="give the folder that holds model.json and weights.safetensors",
        )
    try:
        return ModelDescription.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        key = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(
            "model.json is a description of format 1",
            found=f"{key}: {first['msg']}",
            path=path,
            remedy="copy the model again from its source, or install the version of nerveseg that made it",
        ) from error


def _write_description(folder: Path, description: ModelDescription) -> None:
    write_text(folder / "model.json", description.model_dump_json(indent=1) + "\n")
    write_text(folder / "README.md", model_card(description.model_dump()))


def _one_line(error: Exception | str) -> str:
    """Return the first 300 characters: torch lists every key and signature."""
    line = " ".join(str(error).split())
    return line if len(line) <= 300 else f"{line[:300]}..."
