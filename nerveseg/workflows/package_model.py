"""Make a trained fold a model of the package: a bundle in half precision, with its card and its licence.

    python -m nerveseg.workflows.package_model outputs/thigh/fold-0 nerveseg/models/thigh [mirrored_views=true ...]

The model is then tested on every scan of the study that judges it (`measure_packaged`), unless `--untested` is given.
Of a fold whose training was stopped the weights are those of its last checkpoint, averaged where its callbacks average
them (`callbacks=[default,weight_averaging]`). Only networks that learnt from samples made on the fly are packaged, so
that no model of the package was made of a person's data. Settings of the prediction (`conf/inference/`) are those of
the fold's configuration but for the ones that are given.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from torch import nn

import nerveseg
from nerveseg.console import print_error, say
from nerveseg.errors import ConfigurationError, NervesegError, RunError
from nerveseg.inference.bundle import ModelDescription, load_bundle, save_bundle
from nerveseg.inference.model_folder import is_bundle
from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.runs import FoldFolder
from nerveseg.scans.request import record_of
from nerveseg.training.checkpoint_files import find_resumption
from nerveseg.workflows.fold_description import describe_fold
from nerveseg.workflows.measure_packaged import measure_packaged
from nerveseg.workflows.run_records import parse_train_config, read_provenance, read_run_config
from nerveseg.workflows.training_objects import build_network

LICENCE = "LICENSE"
SOURCE = Path(nerveseg.__file__).parents[1]  # root of the repository
NETWORK = "network."  # prefix of the network's weights in a checkpoint


def package_model(
    fold: Path, target: Path, settings: Sequence[str] = (), licence: Path = SOURCE / LICENCE
) -> ModelDescription:
    """Write the model of a fold in half precision to a folder, which is replaced; return its description.

    Args:
        fold: Folder of the fold, whose training has ended or was stopped.
        target: Folder of the model.
        settings: Settings of the prediction that replace those of the fold, as `key=value`.
        licence: File of the licence of the weights, that of the project.

    Raises:
        ConfigurationError: The network learnt from subjects, or a setting is unknown.
        RunError: The fold has neither a model nor a checkpoint, or its records are damaged.
        BundleError: The model of the fold is damaged.
    """
    folder = FoldFolder(fold)
    config = parse_train_config(folder)
    if config.samples is None:
        raise ConfigurationError(
            "a model of the package learnt from samples made on the fly",
            found=f"the subjects of the study {config.study.name}",
            path=fold,
            remedy="share its bundle, the folder model/ of the fold",
        )
    prediction = _settings(config.inference, settings)
    network = build_network(config)
    epochs, scores = _load_weights(folder, network.module, config.plugins)
    start = read_provenance(folder).init if folder.provenance.is_file() else None
    own = config.model_copy(update={"inference": prediction})
    kept = scores if prediction == config.inference else {}  # scores are of masks that were made with these settings
    description = describe_fold(own, None, network.spec, epochs, start).model_copy(update=kept)
    save_bundle(target, network.module, description, half=True)
    shutil.copyfile(licence, target / LICENCE)
    return description


def _settings(own: PredictionSettings, changes: Sequence[str]) -> PredictionSettings:
    """Return settings of the prediction with values replaced; raise `ConfigurationError` for an unknown one."""
    values = own.model_dump()
    for word in changes:
        key, _, value = word.partition("=")
        *sections, name = key.split(".")
        section = values
        for each in sections:
            section = section.setdefault(each, {})
        section[name] = yaml.safe_load(value)
    return record_of(PredictionSettings, values, "settings of the prediction")


def _load_weights(folder: FoldFolder, network: nn.Module, plugins: tuple[str, ...]) -> tuple[int, dict[str, object]]:
    """Load the weights of a fold into its network; return their epochs, and the fields of their scores, if any."""
    if is_bundle(folder.model):
        bundle = load_bundle(folder.model, plugins)
        network.load_state_dict(bundle.network.state_dict())
        trained = bundle.description
        return trained.training.epochs, {"scores": trained.scores, "computation": trained.computation}
    resumption = find_resumption(folder.checkpoints, set_aside=False)
    if resumption is None:
        raise RunError(
            "a model is made of a trained fold", found="neither model nor checkpoint", path=folder.path,
            remedy="python -m nerveseg.train experiment=thigh",
        )  # fmt: skip
    checkpoint = torch.load(resumption.checkpoint, map_location="cpu", weights_only=True)
    own = {name: values for name, values in checkpoint["state_dict"].items() if name.startswith(NETWORK)}
    network.load_state_dict({name.removeprefix(NETWORK): values for name, values in own.items()})
    return int(checkpoint["epoch"]) + 1, {}


def main(argv: list[str]) -> int:
    """Package a fold as a model, and test it; return the exit code."""
    parser = argparse.ArgumentParser(description="Make a trained fold a model of the package.")
    parser.add_argument("fold", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("settings", nargs="*", help="settings of the prediction, as key=value")
    parser.add_argument("--untested", action="store_true", help="no test on the scans of the study")
    given = parser.parse_args(argv)
    try:
        description = package_model(given.fold, given.target, given.settings)
        if not given.untested:
            folder = FoldFolder(given.fold)
            measure_packaged(given.target, parse_train_config(folder), read_run_config(folder))
    except NervesegError as error:
        print_error(error)
        return 2
    size = sum(path.stat().st_size for path in given.target.iterdir())
    say(f"{given.target}: {description.training.samples:,} samples seen, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
