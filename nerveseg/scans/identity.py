"""Identity of a result: the hashes of everything that it depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from nerveseg import __version__
from nerveseg.files import file_sha256
from nerveseg.scans.request import PatientInfo, SegmentOptions

if TYPE_CHECKING:
    from nerveseg.inference.ensemble import Ensemble


class Identity(BaseModel, frozen=True, extra="forbid"):
    """Hashes of the inputs, model and options of a result; equal identities give equal results."""

    inputs: dict[str, str]  # hash of every input file by its role, including the table of norms
    model: str  # hash of the descriptions of the model's members, which contain the hashes of their weights
    options: str  # hash of the options
    version: str  # version of nerveseg


def options_sha256(*options: BaseModel) -> str:
    """Return the hash of options that change a result."""
    return hashlib.sha256("".join(option.model_dump_json() for option in options).encode()).hexdigest()


def identity_of(
    person: PatientInfo,
    inputs: Mapping[str, str],
    model: Ensemble,
    options: SegmentOptions,
    written: BaseModel,
) -> Identity:
    """Return the identity of a result; `inputs` holds the hash of each input's file by its role."""
    return Identity(
        inputs=dict(inputs) | ({"norms": file_sha256(options.norms)} if options.norms else {}),
        model=_fingerprint(model),
        options=options_sha256(options, person, written),
        version=__version__,
    )


def _fingerprint(model: Ensemble) -> str:
    """Hash the descriptions of the members without their scores (weights' hashes are part), and the calibration."""
    hashes = sorted(bundle.description.sha256() for bundle in model.bundles)
    hashes += [model.calibrations.sha256()] if model.calibrations else []
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
