"""Networks of other packages: built, trained for a step, saved and loaded; what a bundle may not name."""

import json
import sys
import time

import pytest
import torch

from nerveseg.errors import BundleError, ConfigurationError
from nerveseg.inference.bundle import Bundle, load_bundle, save_bundle
from nerveseg.inference.runtimes import make_runner
from nerveseg.networks.inspection import check_network, find_classifier, find_reduction
from nerveseg.networks.registry import NetworkSpec, build_network, find_network, load_network
from nerveseg.training.segmenter import Segmenter, init_classifier_bias

PLUGIN = "tests.helpers.plugin_package"
OWN = {"_target_": f"{PLUGIN}.TwoLayers", "width": 5}
DYNUNET = {
    "_target_": "monai.networks.nets.DynUNet", "spatial_dims": 2, "kernel_size": [3, 3, 3], "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2], "filters": [4, 6, 8], "norm_name": ["instance", {"affine": True}],
}  # fmt: skip
SEGRESNET = {
    "_target_": "monai.networks.nets.SegResNet", "spatial_dims": 3, "init_filters": 8, "blocks_down": [1, 1, 1],
    "blocks_up": [1, 1],
}  # fmt: skip
OURS = {
    "_target_": "nerveseg.networks.fc_densenet.FCDenseNet", "first_filters": 4, "growth_rate": 2,
    "layers_per_block": 1, "transitions": 2,
}  # fmt: skip
DYNUNET_3D = DYNUNET | {
    "spatial_dims": 3, "kernel_size": [[3, 3, 1], [3, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2]],
    "upsample_kernel_size": [[2, 2, 1], [2, 2, 2]],
}  # fmt: skip
OURS_3D = OURS | {"dimensions": 3, "kernel_size": [[3, 3, 1], 3, 3], "pooling": [[2, 2, 1], [2, 2, 1]]}
VOLUMES = [pytest.param(OURS_3D, 4, id="ours"), pytest.param(DYNUNET_3D, 4, id="DynUNet"),
           pytest.param(SEGRESNET, 4, id="SegResNet")]  # fmt: skip
SECTIONS = [pytest.param(OWN, id="plugin"), pytest.param(DYNUNET, id="DynUNet"), pytest.param(OURS, id="ours")]


def built(section, in_channels=2):
    torch.manual_seed(0)
    return build_network(section, in_channels, 2, [PLUGIN])


@pytest.fixture
def bundle(tmp_path, random_description):
    """`bundle(section)`: a bundle on disk of an untrained network with two channels, and the network."""

    def make(section):
        network = built(section)
        save_bundle(tmp_path / "model", network.module, random_description(network.spec, ["T2", "FS"]))
        return tmp_path / "model", network.module.eval()

    return make


@pytest.fixture
def renamed(bundle):
    """`renamed(name, **arguments)`: a bundle whose network was renamed by hand."""

    def make(name, **arguments):
        folder, _ = bundle(OURS)
        values = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        values["architecture"] = {"name": name, "arguments": arguments}
        (folder / "model.json").write_text(json.dumps(values), encoding="utf-8")
        return folder

    return make


@pytest.mark.parametrize(("section", "name", "arguments"), [
    (OWN, OWN["_target_"], {"width": 5, "in_channels": 2, "num_classes": 2}),
    (DYNUNET, DYNUNET["_target_"], {**DYNUNET, "in_channels": 2, "out_channels": 2}),
    (OURS, "FCDenseNet", {**OURS, "in_channels": 2, "classes": 2}),
])  # fmt: skip
def test_a_network_is_recorded_by_its_name_and_the_arguments_it_was_given(section, name, arguments):
    arguments = {key: value for key, value in arguments.items() if key != "_target_"}
    assert built(section).spec == NetworkSpec(name, arguments)


@pytest.mark.filterwarnings("ignore:.*self.log.*")
@pytest.mark.parametrize("section", SECTIONS)
def test_a_step_of_training_lowers_the_loss(section):
    network = built(section).module
    model = Segmenter(
        network, lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1),
    )  # fmt: skip
    optimizer = model.configure_optimizers()["optimizer"]
    image = torch.randn(4, 2, 16, 16)
    batch = {"image": image, "label": (image[:, 0] > 1).long()}
    losses = []
    for _ in range(12):
        loss = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("section", SECTIONS)
def test_the_class_prior_is_what_an_untrained_network_predicts(section):
    network = built(section).module
    init_classifier_bias(network, [0.01], in_channels=2)
    with torch.no_grad():
        probability = torch.softmax(network.eval()(torch.randn(2, 2, 32, 32)), dim=1)[:, 1]
    assert float(probability.median()) == pytest.approx(0.01, rel=0.2)


def test_the_last_convolution_is_the_last_one_computed_not_the_last_one_defined():
    network = built(OWN).module
    assert find_classifier(network, 2, 2) is network.head


@pytest.mark.parametrize(("section", "reduction"), [(OWN, 2), (DYNUNET, 4), (OURS, 4)])
def test_the_reduction_is_the_product_of_the_strides(section, reduction):
    assert find_reduction(built(section).module, 2) == reduction


@pytest.mark.parametrize(("section", "reduction"), VOLUMES)
def test_a_network_of_three_dimensions_is_looked_into_with_its_slices(section, reduction):
    network = built(section).module
    check_network(network, 2, 2, (16, 16, 4))
    assert find_reduction(network, 2, depth=4) == reduction
    classifier = find_classifier(network, 2, 2, depth=4)
    assert isinstance(classifier, torch.nn.Conv3d)
    with torch.no_grad():
        classifier.weight.zero_()
        classifier.bias[1] = 3.0
        torch.testing.assert_close(network.eval()(torch.randn(1, 2, 16, 16, 4))[:, 1], torch.full((1, 16, 16, 4), 3.0))


@pytest.mark.parametrize(("section", "size"), [(OURS, (16, 16, 4)), (OURS_3D, (16, 16)), (DYNUNET_3D, (16, 16, 3))])
def test_a_network_of_other_dimensions_or_another_depth_is_refused(section, size):
    with pytest.raises(ConfigurationError) as caught:
        check_network(built(section).module, 2, 2, size)
    assert "context=volume" in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_an_attribute_goes_before_what_trying_would_find():
    network = built(OWN).module
    network.reduction = 64
    assert find_reduction(network, 2) == 64


def test_inspection_leaves_the_network_as_it_was():
    network = built(DYNUNET).module.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    check_network(network, 2, 2, (16, 16))
    find_reduction(network, 2)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("section", SECTIONS)
def test_a_bundle_gives_the_same_logits(section, bundle):
    folder, network = bundle(section)
    loaded = load_bundle(folder, [PLUGIN])
    images = torch.randn(2, 2, 24, 16)
    with torch.no_grad():
        assert torch.equal(loaded.network(images), network(images))
    assert loaded.description.architecture.name in (section["_target_"], "FCDenseNet")


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_other_networks_run_in_torch(runtime, bundle):
    folder, network = bundle(OWN)
    images = torch.randn(2, 2, 16, 12)
    with torch.no_grad():
        expected = torch.softmax(network(images), dim=1)[:, 1:]
    torch.testing.assert_close(make_runner([load_bundle(folder, [PLUGIN])], runtime)(images), expected)


def test_openvino_is_refused_for_other_networks(bundle):
    pytest.importorskip("openvino")
    folder, _ = bundle(OWN)
    with pytest.raises(ConfigurationError) as caught:
        make_runner([load_bundle(folder, [PLUGIN])], "openvino")
    assert caught.value.found == "TwoLayers"


def test_a_bundle_with_a_network_of_a_plugin_needs_the_plugin(bundle):
    folder, _ = bundle(OWN)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert caught.value.found == OWN["_target_"]
    assert caught.value.path == folder
    assert "plugins=[tests]" in caught.value.remedy


def test_a_configuration_with_a_network_of_a_plugin_needs_the_plugin():
    with pytest.raises(ConfigurationError) as caught:
        build_network(OWN, 1, 2)
    assert caught.value.found == OWN["_target_"]
    assert "plugins=[tests]" in caught.value.remedy


HOSTILE = [
    "os.system", "torch.load", "torch.hub.load", "builtins.eval", "subprocess.Popen", "evil_package.Net",
    "monai.networks.nets.torch.load", "monai.networks.nets.dynunet.torch.os.system",
    "monai.networks.nets.dynunet.UnetOutBlock", "monai.networks.nets.ResNetFeatures.forward",
    "torch.nn.modules.module.torch.load", "torch.nn.functional.relu", "torch.nn.Parameter",
    "torch.nn.init.torch.os.system", "nerveseg.networks.fc_densenet.checkpoint",
    "nerveseg.networks.registry.load_network", "nerveseg.launch.main.run_verb",
    "monai.networks.nets.resnet10", "monai.bundle.ConfigParser",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_in_a_bundle_neither_imports_nor_runs_anything(name, renamed, monkeypatch):
    called = []
    for function in ("os.system", "torch.load", "torch.hub.load", "subprocess.Popen"):
        monkeypatch.setattr(function, lambda *arguments, **options: called.append(arguments))
    folder = renamed(name, command="true", in_channels=2)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert caught.value.found == name
    assert caught.value.path == folder
    assert called == []
    assert "evil_package" not in sys.modules


@pytest.mark.parametrize("hidden", [
    {"_target_": "os.system", "command": "true"}, [{"_target_": "os.system", "command": "true"}],
    {"deep": {"_partial_": True}}, "https://example.org/weights.pth", "/etc/passwd", {"../x": 1}, "a\\b",
])  # fmt: skip
def test_hostile_arguments_in_a_bundle_are_refused(hidden, renamed, monkeypatch):
    called = []
    monkeypatch.setattr("os.system", lambda *arguments, **options: called.append(arguments))
    folder = renamed("torch.nn.Conv2d", in_channels=2, out_channels=2, kernel_size=hidden)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert "arguments" in caught.value.rule
    assert called == []


def test_a_bundle_fetches_no_pretrained_weights(monkeypatch):
    fetched = []
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *arguments, **_options: fetched.append(arguments))
    monkeypatch.setattr("torch.utils.model_zoo.load_url", lambda *arguments, **_options: fetched.append(arguments))
    arguments = {"model_name": "efficientnet-b0", "spatial_dims": 2, "in_channels": 3, "num_classes": 2}
    load_network(NetworkSpec("monai.networks.nets.EfficientNetBN", arguments | {"pretrained": True}))
    load_network(NetworkSpec("monai.networks.nets.EfficientNetBN", arguments))
    assert fetched == []


@pytest.mark.parametrize("value", [object(), {1: 2}, torch.zeros(1), {"_target_": "torch.nn.ReLU"}])
def test_arguments_are_plain_json(value):
    with pytest.raises(ConfigurationError) as caught:
        build_network(OURS | {"dropout": value}, 1, 2)
    assert "dropout" in caught.value.found


@pytest.mark.parametrize(("section", "found"), [
    ({}, ""),
    ({"_target_": "torch.nn.NoSuchNet"}, "torch.nn.NoSuchNet"),
    ({"_target_": f"{PLUGIN}.NeedsDepth"}, "NeedsDepth(in_channels, depth)"),
    ({"_target_": "nerveseg.networks.fc_densenet.DenseBlock"}, "DenseBlock"),
    ({**OWN, "widht": 3}, "network.widht"),
])  # fmt: skip
def test_a_network_that_cannot_be_built_is_named(section, found):
    with pytest.raises(ConfigurationError) as caught:
        build_network(section, 1, 2, [PLUGIN])
    assert found in str(caught.value.found)
    assert "\n" not in str(caught.value)


def test_deep_supervision_is_refused():
    network = built(DYNUNET | {"deep_supervision": True}).module
    with pytest.raises(ConfigurationError) as caught:
        check_network(network, 2, 2, (16, 16))
    assert "training" in caught.value.found
    assert "deep_supervision=false" in caught.value.remedy


def test_a_size_that_a_network_does_not_take_is_refused():
    with pytest.raises(ConfigurationError) as caught:
        check_network(built(OWN).module, 2, 2, (15, 16))
    assert "preprocessing.size" in caught.value.remedy


def test_a_class_prior_without_a_last_convolution_is_refused():
    network = built({"_target_": f"{PLUGIN}.NormLast"}).module
    with pytest.raises(ConfigurationError) as caught:
        init_classifier_bias(network, [0.01], 2)
    assert caught.value.remedy == "optimization.class_prior_bias=false"


def test_a_name_of_the_registry_is_a_name():
    assert find_network("FCDenseNet") is find_network("nerveseg.networks.fc_densenet.FCDenseNet")


def test_a_bundle_of_the_time_before_the_registry_loads(renamed, tmp_path):
    """Its arguments named every option of the constructor of that time."""
    arguments = {
        "in_channels": 2, "classes": 2, "first_filters": 4, "growth_rate": 2, "layers_per_block": [1, 1, 1, 1, 1],
        "transitions": 2, "dropout": 0.2,
    }  # fmt: skip
    loaded = load_bundle(renamed("FCDenseNet", **arguments))
    assert isinstance(loaded, Bundle)
    assert loaded.reduction == 4


@pytest.mark.parametrize("arguments", [
    {"layers_per_block": 1_000_000_000}, {"layers_per_block": 1e9}, {"layers_per_block": 900_000},
    {"transitions": 10**9},
    {"growth_rate": 400_000}, {"first_filters": 900_000}, {"in_channels": 999_999}, {"classes": float("inf")},
])  # fmt: skip
def test_a_network_that_is_too_large_is_refused_before_it_is_made(arguments, renamed):
    folder = renamed("FCDenseNet", **{**{key: value for key, value in OURS.items() if key != "_target_"}, **arguments})
    start = time.monotonic()
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert time.monotonic() - start < 1
    assert caught.value.path == folder


def test_neither_is_one_of_another_package(renamed):
    linear = renamed("torch.nn.Linear", in_features=1_000_000, out_features=1_000_000)
    with pytest.raises(BundleError):
        load_bundle(linear)


def test_a_users_own_network_has_a_limit_too():
    with pytest.raises(ConfigurationError):
        build_network(OURS | {"growth_rate": 100_000}, 1, 2)
