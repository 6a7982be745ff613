"""Every file of conf/ is composed with every other, and every object it names is built."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from nerveseg.errors import ConfigurationError
from nerveseg.launch.compose import compose_config, config_folder, to_plain_dict
from nerveseg.networks.fc_densenet import FCDenseNet
from nerveseg.networks.registry import NetworkSpec, build_network
from nerveseg.networks.unet import UNet
from nerveseg.targets import instantiate_target
from nerveseg.training.losses import check_loss
from nerveseg.workflows.training_objects import build_callbacks, build_segmenter
from nerveseg.workflows.training_objects import build_network as train_network
from tests.helpers.composed import parsed_config

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
VERBS = sorted(path.stem for path in CONF.glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
NEEDED = {
    "study=bids": ["study.root=study"],
    "~experiment": ["name=mine"],
}
"""What a choice leaves to the user."""


def name(path):
    return path.relative_to(CONF).as_posix()


def groups(verb):
    """The groups that a command's defaults list names, and the one inside the synthetic study."""
    defaults = yaml.safe_load((CONF / f"{verb}.yaml").read_text(encoding="utf-8"))["defaults"]
    named = [group for entry in defaults if isinstance(entry, dict) for group in entry]
    return [*named, "cohort@study.simulate"] if verb in ("train", "check") else named


def choices(verb):
    return [
        f"{group}={path.stem}" for group in groups(verb) for path in sorted((CONF / group.split("@")[0]).glob("*.yaml"))
    ]


def mixtures(verb):
    """A file of each group at a time, until every file had its turn; a study and its cohort one at a time."""
    files = {group: sorted(path.stem for path in (CONF / group.split("@")[0]).glob("*.yaml")) for group in groups(verb)}
    files.pop("experiment")
    alone = [[f"{group}={chosen}"] for group in ("study", "cohort@study.simulate") for chosen in files.pop(group)]
    longest = max(map(len, files.values()))
    return alone + [[f"{group}={each[turn % len(each)]}" for group, each in files.items()] for turn in range(longest)]


def composed(verb, *overrides):
    needed = [word for override in overrides for word in NEEDED.get(override, [])]
    return to_plain_dict(compose_config(verb, [*overrides, *needed]))


def test_every_file_belongs_to_a_command():
    reached = {f"{verb}.yaml" for verb in VERBS}
    reached |= {re.sub(r"@[^=]*", "", choice).replace("=", "/") + ".yaml" for verb in VERBS for choice in choices(verb)}
    assert set(map(name, FILES)) == reached


@pytest.mark.parametrize("verb", VERBS)
def test_no_option_has_the_name_of_a_group_that_the_command_does_not_choose_from(verb):
    """Hydra takes `prediction=masks/` for the choice of a file where a folder conf/prediction/ exists."""
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    options = set(yaml.safe_load((CONF / f"{verb}.yaml").read_text(encoding="utf-8"))) - {"defaults"}
    assert options & folders <= set(groups(verb))


def test_the_checkouts_configurations_are_the_ones_in_use():
    assert config_folder() == CONF


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_composes_as_it_stands_and_with_every_choice_of_every_group(verb):
    assert composed(verb)["output_root"] == "outputs"
    for mixture in [[choice] for choice in choices(verb)] if verb != "train" else mixtures(verb):
        assert composed(verb, *mixture)["output_root"] == "outputs", mixture


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_composes_with_every_choice_and_bears_its_own_name(experiment):
    assert composed("train", f"experiment={experiment}")["name"] == experiment
    for mixture in mixtures("train"):
        if experiment.startswith("hippocampus") and mixture[0].startswith("cohort@"):
            continue  # a real study has no cohort to simulate
        config = composed("train", f"experiment={experiment}", *mixture)
        assert config["name"] == experiment
        instantiate_target(config["augmentation"], "augmentation")
        instantiate_target(config["optimization"]["schedule"], "optimization.schedule")
        group, chosen = mixture[0].split("=")
        if group == "study":
            assert config["study"]["name"].startswith(chosen.replace("_", "-"))


@pytest.mark.parametrize("context", sorted(path.stem for path in (CONF / "context").glob("*.yaml")))
def test_the_fat_suppressed_channel_may_be_optional_with_every_context(context):
    """T2, FS and the presence of FS, of every slice that is a channel."""
    parsed = parsed_config("train", "study=phantom_fatsat", "study.optional={FS:0.25}", f"context={context}")
    assert parsed.study.optional_channels == {"FS": 0.25}
    assert parsed.in_channels == 3 * parsed.context.slices
    assert parsed_config("train", "study=phantom_fatsat", f"context={context}").in_channels == 2 * parsed.context.slices


def test_the_paper_alone_moves_its_slices_with_torchio():
    slow = [
        experiment
        for experiment in EXPERIMENTS
        if "Torchio" in composed("train", f"experiment={experiment}")["augmentation"]["_target_"]
    ]
    assert slow == ["paper"]


def test_the_fast_augmentation_differs_from_the_papers_in_who_does_it_alone():
    paper, fast = (composed("train", f"augmentation={name}")["augmentation"] for name in ("paper", "fast"))
    assert {key: value for key, value in paper.items() if key != "_target_"} == {
        key: value for key, value in fast.items() if key != "_target_"
    }


def test_a_run_without_an_experiment_needs_a_name():
    with pytest.raises(ConfigurationError) as caught:
        to_plain_dict(compose_config("train", ["~experiment"]))
    assert "(name)" in caught.value.found
    assert composed("train", "~experiment")["network"]["growth_rate"] == 12, "the groups' own defaults are the paper"


@pytest.mark.parametrize("file", sorted((CONF / "network").glob("*.yaml")), ids=name)
def test_every_network_is_built(file):
    config = composed("train", f"network={file.stem}")
    built = build_network(config["network"], in_channels=3, classes=2)
    section = yaml.safe_load(file.read_text(encoding="utf-8"))
    values = {key: value for key, value in section.items() if key[0] != "_"} | {"in_channels": 3}
    if isinstance(built.module, FCDenseNet | UNet):
        assert built.spec == NetworkSpec(type(built.module).__name__, values | {"classes": 2})
    else:
        assert built.spec == NetworkSpec(section["_target_"], values | {"out_channels": 2})


@pytest.mark.parametrize("context", sorted(path.stem for path in (CONF / "context").glob("*.yaml")))
@pytest.mark.parametrize("network", sorted(path.stem for path in (CONF / "network").glob("*.yaml")))
def test_a_network_is_built_for_the_contexts_of_its_dimensions_and_refused_for_the_others(network, context):
    pytest.importorskip("monai")
    config = parsed_config("train", f"network={network}", f"context={context}", "preprocessing.size=[64,64]")
    if (context == "volume") == ("3d" in network):
        built = train_network(config)
        assert built.spec.arguments["in_channels"] == (5 if context == "neighbours" else 1)
        return
    with pytest.raises(ConfigurationError) as caught:
        train_network(config)
    assert "context=volume" in caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("context", ["slice", "neighbours"])
def test_a_part_of_the_plane_is_at_most_the_crop_and_fits_the_network(context):
    words = ("network=tiramisu_small", f"context={context}", "preprocessing.size=[64,64]", "context.centred=0.5")
    train_network(parsed_config("train", *words, "context.size=[64,32]"))
    with pytest.raises(ConfigurationError) as caught:
        train_network(parsed_config("train", *words, "context.size=[64,65]"))
    assert "context.size" in caught.value.rule
    with pytest.raises(ConfigurationError):
        parsed_config("train", *words)


@pytest.mark.parametrize(
    ("option", "named"),
    [("context.size=[65,64]", "preprocessing.size"), ("inference.accuracy=fast", "accuracy=fast")],
)
def test_what_a_context_of_patches_has_no_use_for_is_refused(option, named):
    config = parsed_config("train", "network=tiramisu_3d_small", "context=volume", "preprocessing.size=[64,64]", option)
    with pytest.raises(ConfigurationError) as caught:
        train_network(config)
    assert named in caught.value.rule


@pytest.mark.parametrize("file", sorted((CONF / "augmentation").glob("*.yaml")), ids=name)
def test_every_augmentation_keeps_shapes_and_the_label_a_label(file):
    config = composed("train", "~experiment", f"augmentation={file.stem}")
    augment = instantiate_target(config["augmentation"], "augmentation")
    label = torch.zeros(96, 80, dtype=torch.uint8)
    label[40:56, 30:50] = 1
    image, moved = augment(torch.randn(2, 96, 80), label, (1.0, 1.0), 3)
    assert (image.shape, image.dtype) == ((2, 96, 80), torch.float32)
    assert (moved.shape, moved.dtype) == ((96, 80), torch.uint8)
    assert set(moved.unique().tolist()) <= {0, 1}
    assert torch.equal(moved, label) == (file.stem == "none")


@pytest.mark.parametrize("file", sorted((CONF / "optimization").glob("*.yaml")), ids=name)
def test_every_optimizer_and_schedule_is_built(file):
    parsed = parsed_config("train", "~experiment", "name=x", f"optimization={file.stem}", "network=tiramisu_small")
    configured = build_segmenter(parsed, torch.nn.Conv2d(1, 2, 1)).configure_optimizers()
    assert configured["optimizer"].param_groups[0]["lr"] > 0
    assert configured["lr_scheduler"]["interval"] == parsed.optimization.schedule_interval


@pytest.mark.parametrize("file", sorted((CONF / "callbacks").glob("*.yaml")), ids=name)
def test_every_callback_is_built(file):
    parsed = parsed_config("train", f"callbacks={file.stem}")
    assert len(build_callbacks(parsed)) == len(yaml.safe_load(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", sorted((CONF / "loss").glob("*.yaml")), ids=name)
def test_every_loss_is_built(file):
    parsed = parsed_config("train", f"loss={file.stem}")
    check_loss(instantiate_target(parsed.loss, "loss"))


@pytest.mark.parametrize("file", [CONF / "optimization" / "paper.yaml", CONF / "optimization" / "short.yaml"], ids=name)
def test_the_paper_and_the_short_schedule_lower_the_rate_over_their_epochs(file):
    config = composed("train", "~experiment", f"optimization={file.stem}")["optimization"]
    layer = torch.nn.Linear(3, 1)
    optimizer = instantiate_target(config["optimizer"], "optimization.optimizer")(layer.parameters())
    schedule = instantiate_target(config["schedule"], "optimization.schedule")(optimizer)
    rates = []
    for _ in range(config["epochs"]):
        rates.append(optimizer.param_groups[0]["lr"])
        layer(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
        schedule.step()
    assert rates[0] == config["optimizer"]["lr"]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < rates[0] / 20


@pytest.mark.parametrize("file", FILES, ids=name)
def test_a_file_says_first_what_it_is(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert first.startswith("# ")
    assert len(first) > 15, "says something"


def test_interpolations_use_no_resolver_but_the_environment():
    found = {
        (name(file), resolver)
        for file in FILES
        for resolver in re.findall(r"\$\{([\w.]+):", file.read_text(encoding="utf-8"))
    }
    assert {resolver for _, resolver in found} <= {"oc.env"}
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "nerveseg").rglob("*.py")]
    registered = [name for text in sources for name in re.findall(r"register_new_resolver\(\s*([^,]+),", text)]
    assert registered == ['"oc.env"'], "the one that is registered allows less than OmegaConf's own"
