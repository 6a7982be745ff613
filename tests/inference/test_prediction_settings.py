import pytest
import yaml
from pydantic import ValidationError

from nerveseg.errors import ConfigurationError
from nerveseg.inference.prediction_settings import PredictionSettings, settle_accuracy
from nerveseg.launch.compose import config_folder
from nerveseg.scans.request import PostprocessingChange, SegmentOptions, settings_notes
from tests.helpers.composed import parsed_config


def composed(*overrides):
    return parsed_config("train", *overrides).inference


def test_the_class_and_the_configuration_have_one_default():
    assert composed("inference=default") == PredictionSettings()
    assert PredictionSettings() == composed("experiment=half")


def test_a_single_setting_is_chosen_by_configuration():
    settings = composed("inference.accuracy=exact", "postprocessing@inference.postprocessing=none")
    assert settings.accuracy == "exact"
    assert not settings.postprocessing.remove_specks


@pytest.mark.parametrize("values", [{"precision": "bf16-mixed"}, {"field_of_view": "half"}, {"runtime": "torch"}])
def test_other_settings_are_refused(values):
    with pytest.raises(ValidationError):
        PredictionSettings(**values)


@pytest.mark.parametrize(
    ("accuracy", "device", "settled"),
    [("auto", "cpu", "fast"), ("auto", "cuda", "exact"), ("fast", "cuda", "fast"), ("exact", "cpu", "exact")],
)
def test_auto_follows_the_nerve_on_a_cpu(accuracy, device, settled):
    assert settle_accuracy(accuracy, device) == settled


def test_a_model_of_patches_is_exact_on_every_device():
    assert {settle_accuracy(accuracy, "cpu", patches=True) for accuracy in ("auto", "exact")} == {"exact"}
    with pytest.raises(ConfigurationError):
        settle_accuracy("fast", "cpu", patches=True)


@pytest.mark.parametrize("model", [PredictionSettings(), composed("inference=paper")], ids=["default", "paper"])
def test_segment_as_it_stands_changes_none_of_a_models_settings(model):
    options = parsed_config("segment").options
    assert options.settings(model) == SegmentOptions().settings(model) == model
    assert settings_notes(model, model) == ()


def test_what_is_given_takes_the_place_of_the_models_and_is_told():
    model = PredictionSettings()
    options = SegmentOptions(accuracy="exact", postprocessing={"bridge_single_slices": True})
    used = options.settings(model)
    assert used.accuracy == "exact"
    assert used.postprocessing == model.postprocessing.model_copy(update={"bridge_single_slices": True})
    told = [note.split(":")[0] for note in settings_notes(used, model)]
    assert told == ["accuracy=exact", "postprocessing.bridge_single_slices=true"]


def test_the_clean_up_of_segment_has_the_keys_of_the_models():
    file = config_folder() / "postprocessing" / "model.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert set(values) == set(PostprocessingChange.model_fields) == set(type(composed().postprocessing).model_fields)
    assert set(values.values()) == {None}
