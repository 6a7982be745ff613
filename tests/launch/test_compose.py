import pickle

import pytest
from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict

from nerveseg.data.study_layout import StudyLayout
from nerveseg.errors import ConfigurationError
from nerveseg.launch.compose import compose_config, compose_jobs, to_plain_dict
from nerveseg.launch.schema import parse_section


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int
    inner: dict[str, int] = {}


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("foo=1", "foo"),
        ("network=nosuch", "nosuch"),
        ("nosuch=1", "nosuch"),
        ("network=null", "NoneType"),
        ("~network.foo", "foo"),
        ("+network.dropout=1", "dropout"),
        ("seed", "seed"),
    ],
)
def test_what_conf_does_not_have_is_refused_in_one_line(override, named):
    with pytest.raises(ConfigurationError) as caught:
        to_plain_dict(compose_config("train", [override]))
    text = str(caught.value)
    assert named in text
    assert "\n" not in text
    assert "remedy: " in text


def test_an_unknown_choice_is_answered_with_the_choices():
    with pytest.raises(ConfigurationError) as caught:
        compose_config("train", ["network=nosuch"])
    assert "tiramisu_small" in caught.value.found


def test_a_plain_configuration_is_resolved_and_made_of_plain_types():
    config = to_plain_dict(compose_config("train", ["optimization=short", "optimization.epochs=7"]))
    assert type(config["optimization"]) is dict
    assert config["optimization"]["schedule"]["T_max"] == 7
    assert type(config["preprocessing"]["size"]) is list
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize("broken", [{"a": "???"}, {"a": "${nowhere}"}, {"a": {"b": "???"}}])
def test_a_value_that_is_missing_is_named(broken):
    with pytest.raises(ConfigurationError) as caught:
        to_plain_dict(OmegaConf.create(broken))
    assert "(a" in caught.value.found


def test_a_study_without_its_folder_is_named():
    with pytest.raises(ConfigurationError) as caught:
        to_plain_dict(compose_config("check", ["study=bids"]))
    assert "(study.root)" in caught.value.found


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "number"),
        ({"number": "many"}, "number"),
        ({"number": 1, "foo": 2}, "foo"),
        ({"number": 1, "inner": {"a": "b"}}, "inner.a"),
    ],
)
def test_a_section_names_the_option_and_what_is_wrong_with_it(values, named):
    with pytest.raises(ConfigurationError) as caught:
        parse_section(Record, values)
    assert named in f"{caught.value.rule} {caught.value.found}"
    assert "\n" not in str(caught.value)


def test_a_section_becomes_a_record():
    assert parse_section(Record, {"number": 3}) == Record(number=3)
    description = parse_section(StudyLayout, {"name": "x", "root": "r", "images": {"T2": "a"}, "raters": {"A": "b"}})
    assert description.classes is None


def test_an_option_that_the_chosen_file_leaves_out_is_added(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "short.yaml").write_text(
        f"name: short\nroot: {tmp_path}\nimages: {{a: a}}\nraters: {{b: b}}\n"
    )
    arguments = ["--config-dir", str(tmp_path), "study=short", "study.participants=p.tsv"]
    with pytest.raises(ConfigurationError) as caught:
        compose_jobs("check", arguments)
    assert "+study.participants=" in caught.value.remedy


@pytest.mark.parametrize("verb", ["check", "train", "evaluate", "segment"])
@pytest.mark.parametrize(
    ("study", "key"), [("bids", "study.terms={a: {value: x}}"), ("phantom_branches", "study.classes={a: [1]}")]
)
def test_keys_that_a_mapping_of_a_study_lacks_are_added(verb, study, key):
    with pytest.raises(ConfigurationError) as caught:
        compose_jobs(verb, [f"study={study}", "study.root=x", key])
    assert f"+{key.partition('=')[0]}=" in caught.value.remedy
