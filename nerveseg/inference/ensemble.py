"""Open the model for new scans: one bundle, one fold, or a sweep, whose folds are averaged.

A scan that is in a fold's training data is no independent test of that fold. Such a scan, recognised by the hash of its
voxels or of its file, is segmented by the folds that held it out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nerveseg.data.in_plane_resampling import SAME_SPACING
from nerveseg.data.study_layout import RATER
from nerveseg.errors import BundleError
from nerveseg.inference.bundle import Bundle, ModelDescription, load_bundle
from nerveseg.inference.expected_dice import FILE, Calibrations
from nerveseg.inference.model_folder import check_model_folder, find_cross_validation, is_bundle, is_in_fold
from nerveseg.networks.registry import CHANNELS_ARGUMENT, CLASSES_ARGUMENTS
from nerveseg.notices import SYNTHETIC
from nerveseg.runs import FOLD_PREFIX, FoldFolder, find_folds


@dataclass(frozen=True)
class Ensemble:
    """Bundles that are applied together; one or several."""

    name: str  # folder of the sweep, fold or bundle, without the path to it
    bundles: tuple[Bundle, ...]  # members of the model, which agree in channels, preprocessing, prediction and spacing
    lines: tuple[str, ...] = ()  # messages to the user, about folds that are left out

    @property
    def description(self) -> ModelDescription:
        """Description of the first member."""
        return self.bundles[0].description

    @property
    def warning(self) -> str:
        """Warning "SYNTHETIC TRAINING DATA", or empty."""
        return SYNTHETIC if self.synthetic else ""

    @property
    def synthetic(self) -> bool:
        """Flag: true if a member was trained on simulated data."""
        return any(bundle.description.training.synthetic for bundle in self.bundles)

    @property
    def sha256(self) -> str:
        """Hash of the weights; for several members, hash of their sorted hashes."""
        hashes = sorted(bundle.description.weights_sha256 for bundle in self.bundles)
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()

    @property
    def calibrations(self) -> Calibrations | None:
        """Calibrations of the expected Dice that all members have in common, if any."""
        first = self.bundles[0].calibrations
        return first if all(bundle.calibrations == first for bundle in self.bundles) else None

    def members_for(self, file: str | None, voxels: str | None = None) -> tuple[tuple[Bundle, ...], str | None]:
        """Return the members that may segment a scan, and a message if the scan is in training data.

        Args:
            file: Hash of the scan's file; bundles of earlier versions record no other.
            voxels: Hash of the scan's voxels (`data.hashing.image_sha256`).
        """
        held_out = tuple(bundle for bundle in self.bundles if not _was_trained_on(bundle, file, voxels))
        if len(held_out) == len(self.bundles):
            return self.bundles, None
        if not held_out:
            which = "all folds of this model" if len(self.bundles) > 1 else "this model"
            line = f"this scan is in the training data of {which}: its mask is not an independent test"
            return self.bundles, line
        folds = ", ".join(str(bundle.description.training.fold) for bundle in held_out)
        return held_out, f"this scan is in the model's training data: segmented by fold {folds}, which held it out"


def open_model(path: Path, plugins: Sequence[str] = ()) -> Ensemble:
    """Load the model of a bundle, of a fold, or of a sweep with folds of one setting.

    Raises:
        BundleError: The folder has no model or several, or a model is incomplete, altered or unknown to this version.
    """
    check_model_folder(path)
    for folder in (path, FoldFolder(path).model):
        if is_bundle(folder):
            return _checked(Ensemble(_name(folder), (load_bundle(folder, plugins),)))
    return _checked(_open_sweep(path, plugins))


def _open_sweep(path: Path, plugins: Sequence[str]) -> Ensemble:
    folder = find_cross_validation(path)
    folds = find_folds(folder)
    trained = [fold for fold in folds if is_bundle(fold.model)]
    untrained = [str(fold.number) for fold in folds if fold not in trained]
    if not trained:
        raise BundleError(
            "a sweep has at least one trained fold",
            found=f"no model in fold {', '.join(untrained)}",
            path=folder,
            remedy="run the training command again; it continues from the last checkpoint",
        )
    left_out = f"{folder.name}: fold {', '.join(untrained)} is not trained yet and left out"
    differ = f"no expected Dice: {FILE} differs between the folds (nerveseg.evaluate run={folder} writes it again)"
    bundles = tuple(load_bundle(fold.model, plugins) for fold in trained)
    model = Ensemble(folder.resolve().name, bundles, (left_out,) if untrained else ())
    if model.calibrations is None and any(bundle.calibrations for bundle in bundles):
        return replace(model, lines=(*model.lines, differ))
    return model


def _checked(model: Ensemble) -> Ensemble:
    """Return a model whose members agree, and whose networks take the channels of their descriptions; else raise."""
    first = model.description
    for bundle in model.bundles:
        description = bundle.description
        arguments = description.architecture.arguments
        in_channels = arguments.get(CHANNELS_ARGUMENT)
        if in_channels != description.in_channels:
            raise BundleError(
                "a model's network takes as many channels as model.json names",
                found=f"{in_channels} and {description.in_channels}",
                path=model.name,
                remedy="copy the model again from its source",
            )
        classes = next((arguments[name] for name in CLASSES_ARGUMENTS if name in arguments), 2)
        if classes != description.class_table.count + 1:
            raise BundleError(
                "a model's network tells background and the parts of its classes apart",
                found=f"{classes} outputs, and {description.class_table.count} parts in model.json",
                path=model.name,
                remedy="copy the model again from its source",
            )
        for name, agree in (
            ("channels", description.channels == first.channels),
            ("optional", description.optional == first.optional),
            ("classes", description.class_table == first.class_table),
            ("terms", description.terms == first.terms),
            ("result_classes", description.result_classes == first.result_classes),
            ("registration", description.registration == first.registration),
            ("context", description.context == first.context),
            ("preprocessing", description.preprocessing == first.preprocessing),
            ("prediction", description.prediction == first.prediction),
            ("architecture", description.architecture == first.architecture),
            ("spacing_mm", np.allclose(description.spacing_mm[:2], first.spacing_mm[:2], rtol=SAME_SPACING, atol=0)),
        ):
            if not agree:
                raise BundleError(
                    f"the folds of a sweep agree in {name}",
                    found=f"fold {first.training.fold}: {getattr(first, name)}; "
                    f"fold {description.training.fold}: {getattr(description, name)}",
                    path=model.name,
                    remedy=f"give one fold: model=.../{FOLD_PREFIX}{first.training.fold}",
                )
    return model


def _was_trained_on(bundle: Bundle, file: str | None, voxels: str | None) -> bool:
    """Return true if the hash of a file or of voxels is of an image of a training subject; masks do not count."""
    channels, training = bundle.description.channels, bundle.description.training
    known = {subject[name] for subject in training.subjects.values() for name in channels if name in subject}
    for subject in training.init_subjects.values():  # of a model whose channels may have had other names
        known |= {sha256 for name, sha256 in subject.items() if not name.startswith(RATER)}
    return file in known or voxels in training.voxels.values()


def _name(bundle: Path) -> str:
    folder = bundle.resolve()
    return f"{folder.parents[1].name}/{folder.parent.name}" if is_in_fold(folder) else folder.name
