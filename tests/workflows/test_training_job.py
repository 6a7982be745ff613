import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.errors import ConfigurationError, RunError
from nerveseg.launch.compose import compose_config, make_job
from nerveseg.workflows.run_records import differences
from nerveseg.workflows.training_job import changes_of, check_unchanged, is_finished, training_job, variant_name

EARLIER = Path(__file__).parents[1] / "helpers" / "reference" / "config_of_an_earlier_demo.yaml"
"""The `config.yaml` of a fold of `make demo` of November 2026, with OUTPUTS for the folder of all outputs."""


def job(tmp_path, *overrides):
    overrides = [f"output_root={tmp_path}", *overrides]
    return training_job(make_job("train", compose_config("train", overrides), overrides))


def begun(tmp_path, *overrides):
    """A job whose folder was begun, as far as its configuration goes."""
    first = job(tmp_path, *overrides)
    first.folder.path.mkdir(parents=True)
    first.folder.config.write_text(yaml.safe_dump(first.values), encoding="utf-8")
    return first


def test_the_demo_of_an_earlier_version_goes_on(tmp_path):
    now = job(tmp_path, "experiment=demo", "fold=0")
    now.folder.path.mkdir(parents=True)
    then = EARLIER.read_text(encoding="utf-8").replace("OUTPUTS", str(tmp_path))
    now.folder.config.write_text(then, encoding="utf-8")
    assert changes_of(now) == []


def test_a_fold_of_an_earlier_version_is_unchanged_where_later_options_are_off(tmp_path):
    options = ["loss=dice_cross_entropy", "postprocessing@inference.postprocessing=default"]
    first = begun(tmp_path, *options)
    values = yaml.safe_load(first.folder.config.read_text(encoding="utf-8"))
    del values["loss"]["logarithm"]
    del values["target"], values["context"], values["folds"]["validation_fraction"], values["study"]["terms"]
    del values["inference"]["mirrored_views"], values["inference"]["nerve_odds"]
    del values["inference"]["postprocessing"]["follow_path"]
    first.folder.config.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert changes_of(job(tmp_path, *options)) == []
    values["inference"]["mirrored_views"] = True
    first.folder.config.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert changes_of(job(tmp_path, *options)) == ["inference.mirrored_views: True -> False"]


def test_a_fold_lies_below_the_experiments_name(tmp_path):
    assert job(tmp_path).folder.path == tmp_path / "demo" / "fold-0"
    assert job(tmp_path, "experiment=paper", "fold=3").folder.path == tmp_path / "paper" / "fold-3"
    assert job(tmp_path, "name=mine").folder.path == tmp_path / "mine" / "fold-0"


def test_overrides_other_than_the_fold_have_a_folder_between(tmp_path):
    found = job(tmp_path, "fold=2", "network.growth_rate=16", "seed=3")
    assert found.cross_validation == tmp_path / "demo" / "network.growth_rate=16,seed=3"
    assert found.folder.path == found.cross_validation / "fold-2"
    assert found.title == "fold 2"


@pytest.mark.parametrize(
    "override",
    [
        "fold=1", "name=other", "experiment=paper", "output_root=elsewhere", "study.root=elsewhere", "trainer=cpu",
        "trainer.workers=0", "trainer.accelerator=cpu", "logger.wandb.offline=false", "+logger.wandb.tags=[a]",
        "hydra.verbose=true", "hydra/launcher=basic", "reference_table=null", "resume=force",
    ],
)  # fmt: skip
def test_where_and_on_what_to_compute_does_not_name_the_folder(override):
    assert variant_name([override, "seed=2"]) == "seed=2"
    assert variant_name([override]) == ""


@pytest.mark.parametrize(
    "override", ["seed=2", "folds.seed=2", "study=hippocampus", "study.classes={nerve: [1]}", "optimization.epochs=3",
                 "network=tiramisu", "cohort@study.simulate=tiny", "folds=paper", "preprocessing.size=[64,64]"],
)  # fmt: skip
def test_what_changes_the_result_does(override):
    assert variant_name(["fold=1", override]).startswith(override.split("=")[0])
    assert variant_name([override]) == variant_name([override, "trainer=cpu", "fold=0"])


def test_the_order_of_typing_does_not_matter():
    assert variant_name(["seed=2", "network.growth_rate=8"]) == variant_name(["network.growth_rate=8", "seed=2"])


def test_of_two_values_for_one_option_the_last_names_the_folder():
    assert variant_name(["seed=2", "seed=3"]) == "seed=3"


@given(
    st.lists(st.tuples(st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8})?", fullmatch=True), st.text(max_size=60)), max_size=12)
)
def test_a_folders_name_is_one_that_file_systems_take(pairs):
    overrides = [f"{key}={quoted(value)}" for key, value in pairs if key != "hydra"]
    name = variant_name(overrides)
    assert len(name.encode()) <= 255
    assert not set(name) & set("/\\\0\n\"'[]{} ")


def quoted(value):
    """A Hydra string of any characters; backslashes and quotes are left to the tests of the arguments."""
    return "'" + re.sub(r"['\\$]", "", value) + "'"


def test_long_names_are_cut_and_stay_apart():
    long = [f"augmentation.option_number_{number}={number}" for number in range(20)]
    names = {variant_name([*long, f"seed={seed}"]) for seed in range(10)}
    assert len(names) == 10
    assert {len(name) for name in names} == {200}


@pytest.mark.parametrize("fold", ["7", "4", "-1", "abc", "1.0", "true", "null", "'0'", "[0]"])
def test_a_fold_that_is_no_number_of_a_fold_is_refused(tmp_path, fold):
    with pytest.raises(ConfigurationError) as caught:
        job(tmp_path, f"fold={fold}")
    assert caught.value.rule.startswith("fold is ")


def test_the_number_of_folds_is_the_configured_one(tmp_path):
    assert job(tmp_path, "folds.count=8", "fold=7").folder.number == 7
    with pytest.raises(ConfigurationError) as caught:
        job(tmp_path, "folds.count=2", "fold=2")
    assert caught.value.found == 2
    assert "0 to 1" in caught.value.rule


def test_the_same_configuration_may_go_on(tmp_path):
    begun(tmp_path, "seed=2")
    check_unchanged(job(tmp_path, "seed=2"))
    check_unchanged(job(tmp_path, "seed=2", "trainer.workers=0", "logger=csv", "trainer=cpu"))
    check_unchanged(job(tmp_path, "seed=2", f"study.root={tmp_path / 'moved'}"))


def test_a_folder_that_was_not_begun_may_begin(tmp_path):
    check_unchanged(job(tmp_path))


def test_a_changed_configuration_is_refused_by_name(tmp_path):
    folder = begun(tmp_path, "name=x").folder
    config = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    config["network"]["growth_rate"] = 5
    config["study"]["classes"] = {"nerve": [3]}
    folder.config.write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.raises(RunError) as caught:
        check_unchanged(job(tmp_path, "name=x"))
    assert caught.value.found == "network.growth_rate: 5 -> 8; study.classes: {'nerve': [3]} -> None"
    assert caught.value.path == folder.path
    assert "name=" in str(caught.value.remedy)


def test_another_experiment_under_the_same_name_is_refused(tmp_path):
    begun(tmp_path, "name=x", "experiment=paper")
    with pytest.raises(RunError) as caught:
        check_unchanged(job(tmp_path, "name=x", "experiment=demo"))
    assert "network.dropout: 0.2 -> 0.1" in caught.value.found


def altered(folder, **sections):
    """The folder's own configuration, changed since it was begun."""
    config = yaml.safe_load(folder.config.read_text(encoding="utf-8"))
    for name, values in sections.items():
        config[name] = {**config[name], **values} if isinstance(values, dict) else values
    folder.config.write_text(yaml.safe_dump(config), encoding="utf-8")


def test_a_changed_configuration_goes_on_when_it_is_forced_to(tmp_path):
    altered(begun(tmp_path, "name=x").folder, network={"dropout": 0.5}, seed=9)
    with pytest.raises(RunError) as caught:
        check_unchanged(job(tmp_path, "name=x"))
    assert "resume=force" in caught.value.remedy
    forced = job(tmp_path, "name=x", "resume=force")
    check_unchanged(forced)
    assert changes_of(forced) == ["network.dropout: 0.5 -> 0.1", "seed: 9 -> 1"]


@pytest.mark.parametrize(
    "sections",
    [
        {"folds": {"seed": 9}},
        {"init": "elsewhere"},
        {"study": {"foreground": [3]}},
        {"preprocessing": {"size": [1, 1]}, "seed": 9},
    ],
)
def test_subjects_and_their_split_cannot_be_changed_by_force(tmp_path, sections):
    altered(begun(tmp_path, "name=x").folder, **sections)
    with pytest.raises(RunError) as caught:
        check_unchanged(job(tmp_path, "name=x"))
    assert "resume=force" not in caught.value.remedy
    with pytest.raises(RunError) as caught:
        check_unchanged(job(tmp_path, "name=x", "resume=force"))
    assert "resume=force" in caught.value.rule
    assert "seed: 9" not in caught.value.found.replace("folds.seed: 9", "")


def test_a_fold_is_finished_when_it_has_scores_of_this_configuration(tmp_path):
    folder = begun(tmp_path, "name=x").folder
    assert not is_finished(job(tmp_path, "name=x"))
    folder.scores.touch()
    assert is_finished(job(tmp_path, "name=x", "resume=force"))
    altered(folder, seed=9)
    assert not is_finished(job(tmp_path, "name=x", "resume=force"))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1\n", "\x00"])
def test_a_damaged_configuration_is_an_error_of_the_run(tmp_path, text):
    folder = begun(tmp_path).folder
    folder.config.write_text(text, encoding="utf-8")
    with pytest.raises(RunError):
        check_unchanged(job(tmp_path))


TREES = st.recursive(
    st.none() | st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)


@given(st.dictionaries(st.sampled_from("abc"), TREES, max_size=3), st.dictionaries(st.sampled_from("abc"), TREES))
def test_there_is_a_difference_exactly_where_there_is_one(before, after):
    assert differences(before, before) == []
    if flat(before) != flat(after):
        assert differences(before, after)
    assert len(differences(before, after)) == len(differences(after, before))


def flat(tree, prefix=""):
    """Leaves by their dotted path; None counts as absent, as an unset option does."""
    leaves = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return {key: value for key, value in leaves.items() if value is not None}
