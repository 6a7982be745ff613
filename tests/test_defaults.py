"""A class used from Python has the defaults of its configuration file."""

import dataclasses
import inspect
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from nerveseg.biomarkers.quality import QualityLimits
from nerveseg.data.augmentation import TensorAugmentation, TorchioAugmentation
from nerveseg.data.context import Context
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.data.study_layout import StudyLayout
from nerveseg.evaluation.margins import Margins
from nerveseg.inference.postprocessing import Postprocessing
from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.networks.unet import UNet
from nerveseg.phantom.specification import CohortSpec
from nerveseg.scans.request import PatientInfo, SegmentOptions

CONF = Path(__file__).parents[1] / "conf"
TABLE = [
    (TorchioAugmentation, "augmentation/paper.yaml"),
    (TensorAugmentation, "augmentation/paper.yaml"),
    (CohortSpec, "cohort/paper.yaml"),
    (Context, "context/slice.yaml"),
    (Margins, "margins/default.yaml"),
    (FCDenseNet, "network/tiramisu.yaml"),
    (UNet, "network/unet.yaml"),
    (Postprocessing, "postprocessing/default.yaml"),
    (PredictionSettings, "inference/default.yaml"),
    (Preprocessing, "preprocessing/paper.yaml"),
    (QualityLimits, "quality/default.yaml"),
    (StudyLayout, "study/bids.yaml"),
    (SegmentOptions, "segment.yaml"),
    (PatientInfo, "segment.yaml"),
    (SegmentOptions, "measure.yaml"),
    (PatientInfo, "measure.yaml"),
]


def class_defaults(cls):
    """Defaults of a pydantic model, a dataclass, or the constructor of any other class."""
    if issubclass(cls, BaseModel):
        fields = {name: field for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    if dataclasses.is_dataclass(cls):
        return {field.name: field.default for field in dataclasses.fields(cls)}
    parameters = inspect.signature(cls).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def plain(value):
    """A value as YAML has it."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


def pairs(defaults, content, prefix=""):
    """Each key that both sides state, with its two values; of nested sections the keys inside."""
    for key in defaults.keys() & content.keys():
        ours, theirs = plain(defaults[key]), content[key]
        if isinstance(ours, dict) and isinstance(theirs, dict):
            yield from pairs(ours, theirs, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ours, theirs


@pytest.mark.parametrize(("cls", "file"), TABLE, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_class_and_file_have_the_same_defaults(cls, file):
    content = yaml.safe_load((CONF / file).read_text(encoding="utf-8"))
    compared = list(pairs(class_defaults(cls), content))
    assert len(compared) >= min(2, len(content.keys() - {"_target_"})), "the file and the class share keys"
    assert {key: ours for key, ours, _ in compared} == {key: theirs for key, _, theirs in compared}


def test_a_difference_is_found():
    changed = {"lesion": {"k": 2.0}, "slices_per_batch": 8}
    compared = {key: ours == theirs for key, ours, theirs in pairs(class_defaults(SegmentOptions), changed)}
    assert compared == {"lesion.k": False, "slices_per_batch": True}
