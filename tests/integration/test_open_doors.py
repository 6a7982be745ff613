"""Own and foreign networks, losses, augmentations, callbacks and schedules through the entry points, resumed exactly.

Each run is made three times over one slice store: undisturbed, stopped at the start of its second epoch, and resumed.
"""

import json
from pathlib import Path

import pytest
import torch

from nerveseg.segment import main as segment
from nerveseg.train import main as train
from tests.helpers import plugin_package
from tests.helpers.main_job import in_process, weights

pytestmark = pytest.mark.integration

PACKAGE = plugin_package.__name__
PLUGINS = f"plugins=[{PACKAGE}]"
CONF = Path(plugin_package.__file__).parent / "conf"
WARM_UP = ("optimization=warm_up", "optimization.schedule.milestones=[1]")
PATCHES = ("context=volume", "context.depth=4", "context.size=[32,24]", "network=tiramisu_3d_small",
           "network.kernel_size=[[3,3,1],3]", "network.pooling=[[2,2,1]]", "network.dropout=0.2")  # fmt: skip
VALIDATION = "folds.validation_fraction=0.3"


class StoppedAndResumed:
    """Trains fold 0 undisturbed, and again with Ctrl-C at the start of the second epoch."""

    def __init__(self, root, study, overrides):
        self.root = root
        self.study = study
        self.overrides = overrides

    def __call__(self, name, *options, callbacks="default"):
        marker = self.root / f"{name}.stop"
        arguments = [
            "fold=0", f"output_root={self.root}", f"study.root={self.study}", *self.overrides, "--config-dir", CONF,
            PLUGINS, f"callbacks=[{callbacks},stop_once]", f"callbacks.stop.marker='{marker}'", *options,
        ]  # fmt: skip
        arguments = [str(word) for word in arguments]
        in_process(f"name={name}", *arguments)
        marker.touch()
        assert train([f"name={name}-stopped", *arguments]) == 130
        assert not marker.exists()
        in_process(f"name={name}-stopped", *arguments)
        (undisturbed,) = (self.root / name).rglob("fold-0")
        (resumed,) = (self.root / f"{name}-stopped").rglob("fold-0")
        return undisturbed, resumed


@pytest.fixture(scope="module")
def stopped_and_resumed(tmp_path_factory, tiny_study, tiny_overrides):
    overrides = [word for word in tiny_overrides if not word.startswith(("network", "augmentation"))]
    return StoppedAndResumed(tmp_path_factory.mktemp("doors"), tiny_study, overrides)


@pytest.fixture(scope="module")
def small(tiny_overrides):
    """Overrides of the tiny network, without augmentation."""
    return [word for word in tiny_overrides if word.startswith(("network", "augmentation"))]


def assert_equal(undisturbed, resumed):
    expected, found = weights(undisturbed), weights(resumed)
    assert expected.keys() == found.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])] == []
    for name in ("metrics.csv", "scores.csv"):
        assert (resumed / name).read_bytes() == (undisturbed / name).read_bytes()


def architecture(fold):
    return json.loads((fold / "model" / "model.json").read_text(encoding="utf-8"))["architecture"]["name"]


@pytest.fixture
def segmented(tiny_study, tmp_path):
    """Segments one scan with a fold; returns the exit code and the folder of the results."""

    def run(fold, *options):
        image = tiny_study / "sub-P01/anat/sub-P01_T2w.nii.gz"
        output = tmp_path / "segmented"
        code = segment([str(image), f"model={fold}", f"output={output}", "accelerator=cpu", "runtime=torch", *options])
        return code, output

    return run


def test_network_loss_callback_and_augmentation_of_ones_own(stopped_and_resumed, segmented, capsys):
    undisturbed, resumed = stopped_and_resumed(
        "own", "network=two_layers", "loss=squared_error", "augmentation=noise", "optimization.class_prior_bias=false"
    )
    assert_equal(undisturbed, resumed)
    assert architecture(resumed) == f"{PACKAGE}.TwoLayers"
    assert "own/epochs" in (resumed / "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    capsys.readouterr()
    code, output = segmented(resumed)
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert "plugins=[" in line.partition("remedy: ")[2]
    assert not output.exists() or not any(output.iterdir())
    code, output = segmented(resumed, PLUGINS)
    assert code == 0
    assert (output / "mask.nii.gz").is_file()


@pytest.mark.slow
def test_a_network_and_a_loss_of_monai(stopped_and_resumed, segmented):
    pytest.importorskip("monai")
    undisturbed, resumed = stopped_and_resumed(
        "monai", "network=dynunet", "network.filters=[4,4,4,4]", "loss=monai_dice_ce", "augmentation=none"
    )
    assert_equal(undisturbed, resumed)
    assert architecture(resumed) == "monai.networks.nets.DynUNet"
    code, output = segmented(resumed)
    assert code == 0
    assert (output / "mask.nii.gz").is_file()


@pytest.mark.parametrize(
    ("name", "callbacks", "options"),
    [
        ("clipped", "default", ["+trainer.gradient_clip_val=0.1", "+trainer.accumulate_grad_batches=2"]),
        ("constant", "default", ["optimization.schedule=null"]),
        ("one_cycle", "default", ["optimization=one_cycle", "optimization.epochs=2"]),
        ("plateau", "default", ["optimization=plateau", "optimization.epochs=2", VALIDATION]),
        ("warm_up", "default", [*WARM_UP, "optimization.epochs=2"]),
        ("early", "default,early_stopping", [VALIDATION]),
        ("averaged", "default,weight_averaging", []),
        ("best", "default,best_checkpoint", [VALIDATION]),
        ("neighbours", "default", ["context=neighbours"]),
        ("volume", "default", [*PATCHES, VALIDATION]),
    ],
)  # fmt: skip
def test_a_choice_of_the_training_is_resumed_exactly(name, callbacks, options, stopped_and_resumed, small):
    assert_equal(*stopped_and_resumed(name, *small, *options, callbacks=callbacks))


def test_a_bundle_states_the_epochs_after_which_the_training_stopped(tmp_path, tiny_study, tiny_overrides):
    stop = ["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1", VALIDATION]
    rise = ["+callbacks.early_stopping.min_delta=1", "optimization.epochs=5"]
    own = [word for word in tiny_overrides if not word.startswith("optimization.epochs")]
    in_process("fold=0", "name=early", f"output_root={tmp_path}", f"study.root={tiny_study}", *own, *stop, *rise)
    (fold,) = tmp_path.rglob("fold-0")
    rows = (fold / "metrics.csv").read_text(encoding="utf-8").splitlines()
    column = rows[0].split(",").index("epoch")
    trained = 1 + max(int(float(row.split(",")[column])) for row in rows[1:] if row.split(",")[column])
    assert json.loads((fold / "model" / "model.json").read_text())["training"]["epochs"] == trained == 2
