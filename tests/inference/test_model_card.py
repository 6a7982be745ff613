import pytest

from nerveseg.data.context import Context
from nerveseg.data.preprocessing import Preprocessing
from nerveseg.inference.bundle import ModelDescription, TestScore, TrainingRecord, save_bundle
from nerveseg.inference.model_card import model_card
from nerveseg.inference.postprocessing import Postprocessing
from nerveseg.inference.prediction_settings import Computation, PredictionSettings
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.networks.registry import NetworkSpec


def description(synthetic=False, scores=(), **values):
    return ModelDescription(
        architecture=NetworkSpec("FCDenseNet", {"first_filters": 4}),
        channels=["T2", "T1"],
        spacing_mm=(0.520833, 0.520833, 4.4),
        **({"preprocessing": Preprocessing(size=(320, 300))} | values),
        classes=None,
        training=TrainingRecord(
            study="sciatic",
            synthetic=synthetic,
            subjects={f"V{number:02}": {} for number in range(39)},
            fold=3,
            epochs=100,
            seed=17,
            folds_seed=1,
        ),
        scores=list(scores),
        versions={},
    )


def card(**options):
    return model_card(description(**options).model_dump())


@pytest.mark.parametrize("synthetic", [True, False])
def test_every_card_says_what_the_model_is_not(synthetic):
    text = card(synthetic=synthetic)
    assert "not a medical device" in text.lower()
    assert ("SYNTHETIC" in text) == synthetic
    assert ("never seen a real nerve" in text) == synthetic


def test_the_warnings_come_before_anything_else():
    lines = [line for line in card(synthetic=True).splitlines() if line]
    assert lines[0].startswith("# ")
    assert "SYNTHETIC" in lines[1]
    assert "Not a medical device" in lines[2]


def test_the_card_states_what_went_in_and_how_it_was_trained():
    text = card()
    for fact in (
        "sciatic, fold 3",
        "T2, T1",
        "0.520833 x 0.520833 x 4.4 mm",
        "320 x 300",
        "39 subjects",
        "100 epochs, seed 17",
        "10.3389/fneur.2018.00777",
    ):
        assert fact in text


def test_scores_are_a_table_and_their_absence_is_said():
    assert "Not measured yet." in card()
    lines = card(scores=[TestScore(cohort="patient", n=11, dice=0.7195)]).splitlines()
    start = lines.index("| cohort | n | mean Dice |")
    assert lines[start + 2].split("|")[1:4] == [" patient ", " 11 ", " 0.720 "] or "0.719" in lines[start + 2]
    assert "Not measured yet." not in lines


WHOLE = ("resampled in plane", "whole field of view", "on a CPU the nerve followed", "components under 100 mm3")
CROP = ("own pixels", "centre crop", "every slice whole", "no clean-up")
RAW = PredictionSettings(
    field_of_view="crop",
    accuracy="exact",
    in_plane_spacing="scan",
    postprocessing=Postprocessing(remove_specks=False),
)


@pytest.mark.parametrize(
    ("settings", "steps", "others"), [(PredictionSettings(), WHOLE, CROP), (RAW, CROP, WHOLE)], ids=["default", "raw"]
)
def test_the_card_states_the_steps_that_its_scores_are_of(settings, steps, others):
    lines = card(prediction=settings).splitlines()
    section = lines[lines.index("## Prediction") + 1 : lines.index("## Training data")]
    listed = [line for line in section if line.startswith("- ")]
    for step in steps:
        assert sum(step in line for line in listed) == 1, step
    for step in others:
        assert not any(line.startswith(f"- {step}") for line in listed)


def test_the_card_states_what_the_network_sees_of_a_stack():
    slices, patches = (
        model_card(description(context=context).model_dump()) for context in (Context(), Context(depth=16))
    )
    assert "axial slices, 16 at a time" in patches
    assert "- overlapping windows of several slices with Gaussian weights" in patches.splitlines()
    assert "nerve followed" not in patches
    assert "at a time" not in slices
    assert "windows" not in slices


def test_the_card_states_what_the_scores_were_computed_with():
    scores = [TestScore(cohort="patient", n=11, dice=0.7195)]
    measured = Computation(device="cpu", runtime="openvino", accuracy="fast")
    (line,) = [line for line in card(scores=scores, computation=measured).splitlines() if "openvino" in line]
    assert "cpu" in line
    assert "accuracy=fast" in line
    assert "openvino" not in card(scores=scores)


@pytest.mark.parametrize(("spacing", "said"), [(None, "not resampled"), ((0.52, 0.5), "0.52 x 0.5 mm")])
def test_the_card_states_what_the_training_was_resampled_to(spacing, said):
    assert said in card(preprocessing=Preprocessing(size=(320, 300), spacing_mm=spacing))


def test_the_bundle_of_a_synthetic_study_carries_the_warning(tmp_path):
    network = FCDenseNet(first_filters=4, growth_rate=2, layers_per_block=1, transitions=1)
    save_bundle(tmp_path / "model", network, description(synthetic=True))
    assert "SYNTHETIC" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
