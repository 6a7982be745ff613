"""Which classes a configuration may name, and what a mistake in a name or an option is answered with."""

import sys

import pytest
import torch
from torch import nn

from nerveseg.errors import ConfigurationError
from nerveseg.targets import find_target, instantiate_target

HOSTILE = [
    "os.system",
    "subprocess.call",
    "builtins.eval",
    "torch.load",
    "torch.optimum.anything",
    "nerveseg.launch.main.run_verb",
    "torch.optim.adam.torch.load",
    "torch.optim.adam.torch.os.system",
    "nerveseg.data.augmentation.torch.os.system",
    "nerveseg.networks.fc_densenet.functional.relu",
    "pytorch_lightning.callbacks.os.system",
    "torch.nn",
    "torch.optim.lr_scheduler",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_other_names_are_refused_and_not_called(name, monkeypatch):
    called = []
    monkeypatch.setattr("os.system", lambda *arguments, **options: called.append(arguments))
    with pytest.raises(ConfigurationError) as caught:
        instantiate_target({"_target_": name, "command": "true"}, "network")
    assert name in str(caught.value.found)
    assert called == []


@pytest.mark.parametrize("hidden_in", ["value", "list", "mapping"])
def test_a_target_among_the_options_is_held_to_the_same_rule(hidden_in, monkeypatch):
    called = []
    monkeypatch.setattr("os.system", lambda *arguments, **options: called.append(arguments))
    hidden = {"_target_": "os.system", "command": "true"}
    value = {"value": hidden, "list": [hidden], "mapping": {"deep": hidden}}[hidden_in]
    with pytest.raises(ConfigurationError) as caught:
        instantiate_target({"_target_": "torch.nn.Linear", "in_features": value, "out_features": 1}, "network")
    assert caught.value.found == "os.system"
    assert called == []


def test_an_allowed_class_is_called_with_its_options_and_further_arguments():
    layer = instantiate_target(
        {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 9}, "x", out_features=3
    )
    assert isinstance(layer, nn.Linear)
    assert layer.weight.shape == (3, 2)


def test_a_partial_waits_for_the_rest():
    make = instantiate_target({"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.5}, "optimization.optimizer")
    optimizer = make([nn.Parameter(torch.zeros(1))])
    assert optimizer.defaults["lr"] == 0.5


def test_a_nested_target_is_built_first():
    values = {"_target_": "torch.nn.TransformerEncoder", "num_layers": 1, "encoder_layer": {
        "_target_": "torch.nn.TransformerEncoderLayer", "d_model": 4, "nhead": 2, "dim_feedforward": 4,
        "batch_first": True,
    }}  # fmt: skip
    assert isinstance(instantiate_target(values, "network").layers[0], nn.TransformerEncoderLayer)


@pytest.mark.parametrize(
    ("values", "found", "suggested"),
    [
        ({"_target_": "torch.optim.Adm", "_partial_": True}, "torch.optim.Adm", "torch.optim.Adam"),
        ({"_target_": "torch.optim.Adam", "_partial_": True, "lrr": 1}, "optimizer.lrr", "optimizer.lr"),
        ({"_target_": "torch.nn.Liner"}, "torch.nn.Liner", "torch.nn.Linear"),
    ],
)
def test_the_nearest_name_is_suggested(values, found, suggested):
    with pytest.raises(ConfigurationError) as caught:
        instantiate_target(values, "optimizer")
    assert caught.value.found == found
    assert caught.value.remedy == f"did you mean {suggested}"


@pytest.mark.parametrize("values", [None, {}, {"lr": 1}, {"_target_": None}, "Adam"])
def test_a_section_without_a_target_is_refused(values):
    with pytest.raises(ConfigurationError) as caught:
        instantiate_target(values, "network")
    assert "network=<name>" in caught.value.remedy


def test_what_a_constructor_raises_is_one_line():
    with pytest.raises(ConfigurationError) as caught:
        instantiate_target({"_target_": "torch.nn.Dropout", "p": 7}, "network")
    assert "7" in caught.value.found
    assert "\n" not in str(caught.value)


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    """An importable package that no other test has imported."""
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os\nfrom torch import nn\n"
        "class Net(nn.Module):\n    def __init__(self, width=1):\n"
        "        super().__init__()\n        self.width = width\n"
        "def make(width=1):\n    return Net(width)\n"
    )
    (tmp_path / "broken_package.py").write_text("raise OSError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_package"
    for name in ("own_package", "broken_package"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["Net", "make"])
def test_a_package_is_open_once_it_is_named_in_plugins(own_package, name):
    values = {"_target_": f"own_package.{name}", "width": 5}
    with pytest.raises(ConfigurationError) as caught:
        instantiate_target(values, "network")
    assert "plugins=[own_package]" in caught.value.remedy
    assert "own_package" not in sys.modules, "refused without importing it"
    assert instantiate_target(values, "network", ["own_package"]).width == 5


def test_a_plugin_does_not_lead_on_to_other_packages(own_package):
    for name in ("own_package.os.system", "own_package.nn.Linear"):
        with pytest.raises(ConfigurationError):
            find_target(name, "network", ["own_package"], packages=())


@pytest.mark.parametrize("name", ["no_such_package_at_all.Net", "broken_package.Net"])
def test_a_plugin_that_cannot_be_imported_is_named(own_package, name):
    with pytest.raises(ConfigurationError) as caught:
        find_target(name, "network", [name.split(".")[0]])
    assert name in caught.value.found
    assert "PYTHONPATH" in caught.value.remedy
