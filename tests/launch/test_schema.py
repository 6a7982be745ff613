"""Unknown options, missing groups and wrong values are refused at every level, with the key and the nearest option."""

import inspect

import pytest
import pytorch_lightning as pl

from nerveseg.errors import ConfigurationError
from nerveseg.launch.main import run_command
from nerveseg.launch.schema import OWNED_TRAINER_KEYS, parse_config
from nerveseg.workflows.config import TRAINER_KEYWORDS, TrainerConfig
from tests.helpers.composed import parsed_config, plain_config, training_jobs


def refused(*typed):
    with pytest.raises(ConfigurationError) as caught:
        training_jobs(*typed)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("typed", "found", "suggested"),
    [
        ("lr=0.1", "lr", "optimization.optimizer.lr"),
        ("+lr=0.1", "lr", ""),
        ("seeed=3", "seeed", "seed"),
        ("+seeed=3", "seeed", "seed"),
        ("optimization.epoch=3", "epoch", "optimization.epochs"),
        ("+optimization.epoch=3", "optimization.epoch", "optimization.epochs"),
        ("+folds.cuont=3", "folds.cuont", "folds.count"),
        ("+study.rooot=x", "study.rooot", "study.root"),
        ("+study.simulate.seeed=1", "study.simulate.seeed", "study.simulate.seed"),
        ("+preprocessing.sise=[8,8]", "preprocessing.sise", "preprocessing.size"),
        ("+margins.dize=0.1", "margins.dize", "margins.dice"),
        ("trainer.acelerator=cpu", "trainer.acelerator", "trainer.accelerator"),
        ("trainer.gradient_clip=1", "trainer.gradient_clip", "trainer.gradient_clip_val"),
        ("trainer.max_epochs=3", "trainer.max_epochs", "optimization.epochs"),
        ("trainer.devices=2", "trainer.devices", "torchrun"),
    ],
)
def test_an_unknown_option_is_refused_and_the_nearest_suggested(typed, found, suggested):
    error = refused(typed)
    assert found in str(error.found)
    assert suggested in error.remedy


@pytest.mark.parametrize("typed", ["callbacks.early_stopping.patience=3", "+callbacks.early_stopping.patience=3"])
def test_an_option_of_a_callback_that_was_not_chosen_is_refused(typed):
    assert "callbacks.early_stopping" in refused(typed).rule


@pytest.mark.parametrize("group", ["network", "loss", "augmentation", "folds", "study"])
def test_a_group_that_is_taken_away_is_missed_by_name(group):
    error = refused(f"~{group}")
    assert group in error.rule
    assert f"{group}=<name>" in error.remedy


@pytest.mark.parametrize(
    ("typed", "option", "found"),
    [
        ("name=", "name", ""),
        ("seed=abc", "seed", "abc"),
        ("optimization.epochs=0", "optimization.epochs", 0),
        ("folds.validation_fraction=1.5", "folds.validation_fraction", 1.5),
        ("resume=maybe", "resume", "maybe"),
        ("reference_table=nature", "reference_table", "nature"),
        ("report=7", "report", 7),
        ("trainer.compile=maybe", "trainer.compile", "maybe"),
        ("trainer.workers=-1", "trainer.workers", -1),
        ("plugins=my_package", "plugins", "my_package"),
        ("optimization.optimizer=null", "optimization.optimizer", None),
        ("study.consensus=vote", "study.consensus", "vote"),
    ],
)
def test_a_wrong_value_is_named_with_its_option(typed, option, found):
    error = refused(typed)
    assert error.rule.startswith(f"{option}")
    assert error.found == found


def test_trainer_keywords_are_those_of_lightning():
    ours = {"accelerator", "precision"}
    keywords = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}
    unused = {"limit_test_batches", "limit_predict_batches", "enable_autolog_hparams", "model_registry"}
    assert {*TRAINER_KEYWORDS, *OWNED_TRAINER_KEYS, *ours} == keywords - unused
    assert not set(TRAINER_KEYWORDS) & set(TrainerConfig.model_fields)


def test_keywords_of_the_trainer_pass_through():
    (job,) = training_jobs("trainer.gradient_clip_val=1", "trainer.accumulate_grad_batches=2", "trainer.profiler=null")
    assert job.config.trainer.keywords == {"gradient_clip_val": 1, "accumulate_grad_batches": 2}


@pytest.mark.parametrize("verb", ["simulate", "check", "evaluate", "segment", "measure", "compare"])
def test_every_command_refuses_an_unknown_key(verb):
    values = plain_config(verb) | {"surplus": 1}
    with pytest.raises(ConfigurationError) as caught:
        parse_config(verb, values)
    assert caught.value.found == "surplus"


def test_a_parsed_configuration_is_frozen():
    config = parsed_config("train")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


@pytest.mark.parametrize("flag", ["--experiment=paper", "--fold", "-x", "--exp=paper"])
def test_a_flag_that_hydra_does_not_have_is_one_line(flag, capsys):
    assert run_command("train", lambda job: None, [flag]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert flag in captured.err
