"""Begin a training with the weights of a trained model (`init`), as for a few corrected scans of another contrast.

The network has to be the same, and what it sees. A single channel may be of another contrast, and the classes may be
others: the model's classifier gives its weights for parts of the same name, parts that are new begin as rare ones, and
parts that are left out become background. The subjects of the fold's test must not be among those that the
model was trained on; images are recognised by the hashes of their voxels and files, which the new bundle goes on to
record. Once a fold has a checkpoint, its weights are there and its provenance has the record, so that the model may be
moved or trained again.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nerveseg.console import say
from nerveseg.data.classes import Classes
from nerveseg.data.folds import Fold
from nerveseg.data.slice_store import SliceStore
from nerveseg.errors import ConfigurationError, StudyError
from nerveseg.inference.bundle import Bundle
from nerveseg.inference.ensemble import open_model
from nerveseg.networks.inspection import find_classifier
from nerveseg.networks.registry import BuiltNetwork
from nerveseg.runs import FoldFolder, StartRecord
from nerveseg.training.checkpoint_files import LAST, PREVIOUS
from nerveseg.workflows.config import TrainConfig
from nerveseg.workflows.prepare_study import FoldInput
from nerveseg.workflows.run_records import read_provenance
from nerveseg.workflows.training_job import TrainingJob

NEW_PART_ODDS = 0.02  # of a part that the model does not know, to the background


def begin_with_init(
    job: TrainingJob, network: BuiltNetwork, loaded: FoldInput, *, warn: bool = True
) -> StartRecord | None:
    """Load the weights that `init` names, unless the fold has a checkpoint; return the record of the model.

    Args:
        job: Job of the fold.
        network: Network to train.
        loaded: Data of the fold.
        warn: Flag of the process that prints a warning about training data that cannot be recognised.

    Raises:
        NervesegError: As `load_starting_weights` and `check_test_subjects`.
    """
    if record := checkpointed_start(job.folder):
        return record
    start = load_starting_weights(job.config, network)
    if start is None:
        return None
    check_test_subjects(start, loaded.fold, loaded.store)
    if warn and (note := unrecognised_note(start)):
        say(note)
    return record_of_start(start)


def checkpointed_start(folder: FoldFolder) -> StartRecord | None:
    """Return the record of the model that a fold with a checkpoint began with, if any."""
    has_checkpoint = any((folder.checkpoints / name).is_file() for name in (LAST, PREVIOUS))
    return read_provenance(folder).init if has_checkpoint and folder.provenance.is_file() else None


def load_starting_weights(config: TrainConfig, network: BuiltNetwork) -> Bundle | None:
    """Load the weights of the model that `init` names into a network, and return the model; None without `init`.

    Raises:
        BundleError: The folder holds no model, or one that is damaged.
        ConfigurationError: It holds several models, or one of another network, channels or context.
    """
    if config.init is None:
        return None
    bundles = open_model(config.init, config.plugins).bundles
    if len(bundles) > 1:
        folds = ", ".join(str(bundle.description.training.fold) for bundle in bundles)
        raise ConfigurationError(
            "init names one model", found=f"folds {folds}", path=config.init, remedy=f"init={config.init}/fold-0"
        )
    description, study, context = bundles[0].description, config.study, config.context
    pairs: Mapping[str, tuple[object, object]] = {
        "channels": _channels_to_compare(description.channels, list(study.images)),
        "optional channels": (description.optional, list(study.optional_channels)),
        "context": ((description.context.depth, description.context.slices), (context.depth, context.slices)),
        "network": (description.architecture.name, network.spec.name),
    }
    for what, (own, wanted) in pairs.items():
        if own != wanted:
            raise _other_model(config, what, f"{own}, of this training {wanted}")
    weights = bundles[0].network.state_dict()
    if _part_names(description.class_table) != _part_names(study.class_table):
        try:
            weights |= _classifier_weights(bundles[0], network.module, study.class_table)
        except ConfigurationError as error:
            raise _other_model(config, "classes", str(error.found)) from error
    try:
        network.module.load_state_dict(weights)
    except RuntimeError as error:
        raise _other_model(config, "size of the network", " ".join(str(error).split())[:200]) from error
    return bundles[0]


def _channels_to_compare(own: list[str], wanted: list[str]) -> tuple[object, object]:
    """Return the names of the channels, whose order counts; of a single channel each, their number only."""
    return (1, 1) if len(own) == len(wanted) == 1 else (own, wanted)


def _part_names(classes: Classes) -> list[str]:
    return [classes.part_name(part) for part in range(1, classes.count + 1)]


def _classifier_weights(start: Bundle, network: nn.Module, wanted: Classes) -> dict[str, Tensor]:
    """Return weight and bias of the last convolution, by their names, for the parts that a training tells apart.

    The background gets the mean of the weights of the model's background and of the parts that are left out, and their
    number as a factor on its odds: the sum of their exponentials, which is no convolution, is at least that. A new part
    gets the weights of the background, at odds of `NEW_PART_ODDS` to it.

    Raises:
        ConfigurationError: A network's output is not that of a convolution with a bias.
    """
    description = start.description
    own_names, names = _part_names(description.class_table), _part_names(wanted)
    left_out = [0, *(part for part, name in enumerate(own_names, 1) if name not in names)]
    own, fresh = (
        find_classifier(each, description.in_channels, len(parts) + 1, description.context.depth)
        for each, parts in ((start.network, own_names), (network, names))
    )
    place = next(name for name, module in network.named_modules() if module is fresh)
    weights = {}
    for key, given in own.state_dict().items():
        rows = [given[left_out].mean(dim=0)]
        rows += [given[own_names.index(name) + 1] if name in own_names else rows[0] for name in names]
        weights[f"{place}.{key}"] = torch.stack(rows)
    bias = weights[f"{place}.bias"]
    bias[0] += math.log(len(left_out))
    bias[1:][torch.tensor([name not in own_names for name in names])] += math.log(len(left_out) * NEW_PART_ODDS)
    return weights


def check_test_subjects(start: Bundle, fold: Fold, store: SliceStore) -> None:
    """Raise `StudyError` if the model that a training begins with was trained on a subject of the fold's test."""
    training = start.description.training
    known = {sha256 for files in training.all_subjects.values() for sha256 in files.values()}
    known |= {*training.voxels.values()}
    for subject in (*fold.test, *fold.validation):
        stored = store.subject(subject.id)
        if stored.voxels in known or not known.isdisjoint(stored.sha256.values()):
            raise StudyError(
                "no subject of the test is in the training data of init",
                found="the same image",
                subject=subject.id,
                path=subject.image,
                remedy="another model, or the fold that held this subject out",
            )


def record_of_start(start: Bundle) -> StartRecord:
    """Return the record of the model that a training begins with, and of its training data."""
    training = start.description.training
    return StartRecord(
        init=start.description.weights_sha256,
        init_synthetic=training.synthetic or training.init_synthetic,
        init_subjects={f"init/{name}": files for name, files in training.all_subjects.items()},
        voxels={f"init/{name}": voxels for name, voxels in training.voxels.items()},
        samples=training.samples,
    )


def unrecognised_note(start: Bundle) -> str:
    """Return a warning about the model's training subjects that no check can recognise; empty without any."""
    unknown = len(start.description.training.unrecognised)
    line = f"warning: init records no hash of {unknown} training subjects: their scans are not recognised in a test"
    return line if unknown else ""


def _other_model(config: TrainConfig, what: str, found: str) -> ConfigurationError:
    return ConfigurationError(
        f"init is a model of the {what} of this training",
        found=found,
        path=config.init,
        remedy="train with the options of that model (its model.json), or another init=",
    )
