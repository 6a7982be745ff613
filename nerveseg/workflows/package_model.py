"""Make a trained fold a model of the package: a bundle in half precision, with its card and its licence.

    python -m nerveseg.workflows.package_model outputs/thigh/fold-0 nerveseg/models/thigh [mirrored_views=true ...]

The model is then tested on every scan of the study that judges it (`measure_packaged`), unless `--untested` is given;
an earlier model in the folder is replaced once all of that is done. Of a fold whose training was stopped the weights
are those of its last checkpoint, averaged where its callbacks average them (`callbacks=[default,weight_averaging]`).
Only networks that learnt from samples made on the fly are packaged, here and in the training of `init`, so that no
model of the package was made of a person's data. Settings of the prediction (`conf/inference/`) are those of the fold's
configuration but for the ones that are given.
"""

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

import nerveseg
from nerveseg.console import print_error, say
from nerveseg.errors import ConfigurationError, NervesegError, RunError
from nerveseg.files import explain_system_error, replace_folder, temporary_sibling
from nerveseg.inference.bundle import ModelDescription, load_bundle, read_description, save_bundle
from nerveseg.inference.expected_dice import FILE
from nerveseg.inference.model_folder import DESCRIPTION, is_bundle, is_in_fold
from nerveseg.inference.prediction_settings import PredictionSettings
from nerveseg.runs import WEIGHTS, FoldFolder, Provenance
from nerveseg.scans.request import record_of
from nerveseg.training.checkpoint_files import find_resumption
from nerveseg.workflows.config import TrainConfig
from nerveseg.workflows.fold_description import describe_fold
from nerveseg.workflows.measure_packaged import measure_packaged
from nerveseg.workflows.run_records import parse_train_config, read_provenance, read_run_config
from nerveseg.workflows.training_job import sets_no_result
from nerveseg.workflows.training_objects import build_network

LICENCE = "LICENSE"
MODEL_FILES = {DESCRIPTION, WEIGHTS, "README.md", FILE, LICENCE}  # names of the files of a packaged model
SOURCE = Path(nerveseg.__file__).parents[1]  # root of the repository, or folder of the installed packages
NETWORK = "network."  # prefix of the network's weights in a checkpoint


def package_model(fold: Path, target: Path, settings: Sequence[str] = (), *, tested: bool = True) -> ModelDescription:
    """Write the model of a fold in half precision to a folder; return its description.

    An earlier model in that folder is replaced at the end, by one renaming.

    Args:
        fold: Folder of the fold, whose training has ended or was stopped.
        target: Folder of the model.
        settings: Settings of the prediction that replace those of the fold, as `key=value`.
        tested: Flag: true to test and calibrate the model on every scan of the study that judges it.

    Raises:
        ConfigurationError: The network learnt from subjects, a setting is unknown, or the target holds other files.
        RunError: The fold has neither a model nor a checkpoint that fits, or its records are damaged.
        BundleError: The model of the fold is damaged.
    """
    place = target.resolve()
    _check_target(fold.resolve(), place)
    licence, folder = find_licence(), FoldFolder(fold)
    config, provenance = parse_train_config(folder), read_provenance(folder)
    _check_origin(config, provenance, fold)
    prediction = _settings(config.inference, settings)
    network = build_network(config)
    epochs = _load_weights(folder, network.module, config.plugins)
    own = config.model_copy(update={"inference": prediction})
    description = describe_fold(own, None, network.spec, epochs, provenance.init)
    temporary = temporary_sibling(place)
    try:
        save_bundle(temporary, network.module, _with_origin(description, provenance), half=True)
        shutil.copyfile(licence, temporary / LICENCE)
        if tested:
            measure_packaged(temporary, config, read_run_config(folder))
        description = read_description(temporary)
        replace_folder(place, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return description


def find_licence() -> Path:
    """Return the file of the project's licence, in the repository or of the installed package.

    Raises:
        ConfigurationError: There is none.
    """
    if (SOURCE / "pyproject.toml").is_file() and (SOURCE / LICENCE).is_file():
        return SOURCE / LICENCE
    try:
        installed = metadata.files("nerveseg") or []
    except metadata.PackageNotFoundError:
        installed = []
    found = [Path(str(file.locate())) for file in installed if file.name == LICENCE]
    for file in found:
        if file.is_file():
            return file
    raise ConfigurationError(
        "a model of the package has the licence of nerveseg",
        found=f"no file {LICENCE}",
        path=SOURCE,
        remedy="install nerveseg again, or give the command in its repository",
    )


def _check_target(fold: Path, target: Path) -> None:
    """Raise `ConfigurationError` for a target that is no place for a model, by resolved paths."""
    others = sorted(path.name for path in target.iterdir() if not _is_of_model(path)) if target.is_dir() else []
    if target.is_relative_to(fold) or fold.is_relative_to(target):
        found = f"a folder that is, holds or is part of the fold {fold}"
    elif is_in_fold(target):
        found = "the model of a fold"
    elif target.exists() and not target.is_dir():
        found = "a file"
    elif others:
        found = f"other files: {', '.join(others[:5])}{' ...' if len(others) > 5 else ''}"
    else:
        return
    raise ConfigurationError(
        "the target is a new folder, or that of a packaged model, which is replaced",
        found=found,
        path=target,
        remedy="another folder, such as nerveseg/models/<name>",
    )


def _is_of_model(path: Path) -> bool:
    return path.name in MODEL_FILES and path.is_file()


def _check_origin(config: TrainConfig, provenance: Provenance, fold: Path) -> None:
    """Raise `ConfigurationError` unless a network learnt from samples made on the fly alone, also before `init`."""
    start, changed = provenance.init, [line for each in provenance.config_changes for line in each.differences]
    if config.samples is None:
        found = f"the subjects of the study {config.study.name}"
    elif start is not None and (start.init_subjects or start.voxels or not start.samples):
        found = f"init={config.init}, a model of other data"
    elif start is None and config.init is not None:
        found = f"init={config.init}, of which the fold has no record"
    elif any(line.startswith("samples") for line in changed):
        found = "other samples, or subjects, before resume=force"
    else:
        return
    raise ConfigurationError(
        "a model of the package learnt from samples made on the fly alone",
        found=found,
        path=fold,
        remedy="share its bundle, the folder model/ of the fold",
    )


def _with_origin(description: ModelDescription, provenance: Provenance) -> ModelDescription:
    """Return a description with versions, command and changed options of the training."""
    changed = [line for each in provenance.config_changes for line in each.differences]
    origin = {
        "command": training_command(provenance.command, description.training.fold),
        "changes": [line for line in changed if not line.startswith("inference.")],
    }
    training = description.training.model_copy(update=origin)
    return description.model_copy(update={"training": training, "versions": provenance.versions})


def training_command(recorded: Sequence[str], fold: int) -> str:
    """Return the command of a training with the options that change its result.

    Empty if it was another command, or one of several settings, or of a folder of this machine.

    >>> training_command(["train.py", "experiment=thigh", "name=a", "context.size=[64,64]", "fold=0,1"], 0)
    "python -m nerveseg.train experiment=thigh 'context.size=[64,64]' fold=0"
    """
    options = {word.lstrip("+~").partition("=")[0]: word for word in recorded[1:] if not word.startswith("-")}
    kept = [word for key, word in options.items() if key == "experiment" or not (key == "init" or sets_no_result(word))]
    values = [word.partition("=")[2] for word in kept]
    unclear = any(not value or value[0] in "/~" or ("," in value and value[0] not in "[{'\"") for value in values)
    if not recorded or recorded[0] != "train.py" or unclear:
        return ""
    return shlex.join(["python", "-m", "nerveseg.train", *kept, f"fold={fold}"])


def _settings(own: PredictionSettings, changes: Sequence[str]) -> PredictionSettings:
    """Return settings of the prediction with values replaced; raise `ConfigurationError` for an unknown one."""
    values: dict[str, Any] = dict(own) | {"postprocessing": dict(own.postprocessing)}  # a dump leaves some out
    for word in changes:
        key, equals, text = word.partition("=")
        *sections, name = key.split(".")
        section = values
        try:
            for each in sections:
                section = section[each]
            if not equals or name not in section:
                raise KeyError(name)
            section[name] = yaml.safe_load(text)
        except (KeyError, TypeError, yaml.YAMLError) as error:
            raise ConfigurationError(
                "a setting of the prediction is one of conf/inference/, as key=value",
                found=word,
                remedy=f"keys are {', '.join(values)}",
            ) from error
    return record_of(PredictionSettings, values, "settings of the prediction")


def _load_weights(folder: FoldFolder, network: nn.Module, plugins: tuple[str, ...]) -> int:
    """Load the weights of a fold into its network; return the number of their epochs."""
    if is_bundle(folder.model):
        bundle = load_bundle(folder.model, plugins)
        _fit(network, bundle.network.state_dict(), folder.model)
        return bundle.description.training.epochs
    resumption = find_resumption(folder.checkpoints, set_aside=False)
    if resumption is None:
        raise RunError(
            "a model is made of a trained fold", found="neither model nor checkpoint", path=folder.path,
            remedy="python -m nerveseg.train experiment=thigh",
        )  # fmt: skip
    if resumption.warning:
        say(f"warning: {resumption.warning}")
    checkpoint = torch.load(resumption.checkpoint, map_location="cpu", weights_only=True)
    own = {name: values for name, values in checkpoint["state_dict"].items() if name.startswith(NETWORK)}
    _fit(network, {name.removeprefix(NETWORK): values for name, values in own.items()}, resumption.checkpoint)
    return int(checkpoint["epoch"]) + 1


def _fit(network: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Load weights into a network; raise `RunError` about their path if they are of another one."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(
            "the weights of a fold fit the network of its config.yaml",
            found=" ".join(str(error).split())[:200],
            path=path,
            remedy="restore config.yaml of the fold, or train it again",
        ) from error


def main(argv: list[str]) -> int:
    """Package a fold as a model, and test it; return the exit code."""
    parser = argparse.ArgumentParser(description="Make a trained fold a model of the package.")
    parser.add_argument("fold", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("settings", nargs="*", help="settings of the prediction, as key=value")
    parser.add_argument("--untested", action="store_true", help="no test on the scans of the study")
    given = parser.parse_args(argv)
    try:
        description = package_model(given.fold, given.target, given.settings, tested=not given.untested)
    except NervesegError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        say(f"stopped: nothing is written to {given.target}")
        return 130
    except OSError as error:
        print_error(explain_system_error(error))
        return 2
    size = sum(path.stat().st_size for path in given.target.iterdir())
    say(f"{given.target}: {description.training.samples:,} samples seen, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
