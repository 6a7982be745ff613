"""A model of the package: its weights, its record and its files, from a fold that was stopped or has ended."""

import json
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader

from nerveseg.errors import ConfigurationError, RunError
from nerveseg.inference.bundle import load_bundle
from nerveseg.runs import FoldFolder
from nerveseg.training.checkpoint_files import VerifiedCheckpoints
from nerveseg.training.epoch_checkpoint import EpochCheckpoint
from nerveseg.training.segmenter import Segmenter
from nerveseg.workflows.package_model import main, package_model
from nerveseg.workflows.training_objects import build_network
from tests.helpers.composed import parsed_config, plain_config

OPTIONS = ("experiment=thigh", "network.filters=[2,3]", "samples.per_epoch=6")
LICENCE = Path(__file__).parents[2] / "LICENSE"


def rounded(tensor):
    return tensor.half().float() if tensor.ndim > 1 else tensor


@pytest.fixture
def stopped(tmp_path):
    """A fold that was stopped after three epochs, with the network as Lightning left it, averaged."""
    folder = FoldFolder(tmp_path / "fold-0")
    folder.path.mkdir()
    folder.config.write_text(yaml.safe_dump(plain_config("train", *OPTIONS)))
    network = build_network(parsed_config("train", *OPTIONS)).module
    batch = {"image": torch.randn(5, 16, 16), "label": torch.randint(7, (16, 16))}
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[EMAWeightAveraging(decay=0.5), EpochCheckpoint(folder.checkpoints, 1, {})],
        plugins=[VerifiedCheckpoints()],
    )
    trainer.fit(Segmenter(network, lambda weights: torch.optim.SGD(weights, lr=0.1)), DataLoader([batch] * 4, 2))
    return folder, network


@pytest.mark.filterwarnings("ignore")  # of Lightning, about loaders without workers
def test_a_stopped_fold_gives_the_averaged_weights_of_its_last_checkpoint(stopped, tmp_path):
    folder, averaged = stopped
    last = torch.load(folder.checkpoints / "last.ckpt", weights_only=True)["current_model_state"]
    target = tmp_path / "models" / "small"
    assert main([str(folder.path), str(target), "accuracy=fast", "postprocessing.follow_path=false", "--untested"]) == 0
    assert {path.name for path in target.iterdir()} == {"model.json", "weights.safetensors", "README.md", "LICENSE"}
    assert (target / "LICENSE").read_bytes() == LICENCE.read_bytes()
    bundle = load_bundle(target)
    found, expected = bundle.network.state_dict(), averaged.state_dict()
    for name, values in found.items():
        assert torch.equal(values, rounded(expected[name])), name
    assert any(not torch.equal(found[name], rounded(last[f"network.{name}"])) for name in found)
    content = json.loads((target / "model.json").read_text())
    training, settings = content["training"], bundle.description.prediction
    assert (settings.accuracy, settings.postprocessing.follow_path) == ("fast", False)
    assert (training["epochs"], training["samples"], training["subjects"]) == (3, 18, {})


def test_a_fold_that_cannot_be_packaged_is_refused(tmp_path, capsys):
    folder = FoldFolder(tmp_path / "fold-0")
    folder.path.mkdir()
    folder.config.write_text(yaml.safe_dump(plain_config("train", *OPTIONS)))
    with pytest.raises(RunError):
        package_model(folder.path, tmp_path / "model")
    folder.config.write_text(yaml.safe_dump(plain_config("train", "study=phantom")))
    with pytest.raises(ConfigurationError):
        package_model(folder.path, tmp_path / "model")
    folder.config.write_text(yaml.safe_dump(plain_config("train", *OPTIONS)))
    for wrong in ("nosuch=1", "accuracy=sometimes", "accuracy"):
        with pytest.raises(ConfigurationError):
            package_model(folder.path, tmp_path / "model", [wrong])
    assert not (tmp_path / "model").exists()
    assert main([str(folder.path), str(tmp_path / "model")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
