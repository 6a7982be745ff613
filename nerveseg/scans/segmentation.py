"""Segment one scan: read it, predict its mask with the model's members, measure and flag it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerveseg.biomarkers.quality import Flag
from nerveseg.data.classes import Classes
from nerveseg.data.hashing import image_sha256
from nerveseg.data.inputs import check_is_scan
from nerveseg.inference.bundle import Bundle, ModelDescription
from nerveseg.inference.ensemble import Ensemble, open_model
from nerveseg.inference.model_folder import DEFAULT, model_path
from nerveseg.inference.predict import Prediction, predict_volume
from nerveseg.notices import SYNTHETIC_START
from nerveseg.scans.expectation import expect_dice, expectation_flags
from nerveseg.scans.identity import identity_of
from nerveseg.scans.in_memory import ImageSource, as_file, is_in_memory
from nerveseg.scans.measuring import MeasuredScan, measure_scan
from nerveseg.scans.reading import LoadedScan, input_sha256, read_scan
from nerveseg.scans.request import PatientInfo, ScanFiles, SegmentOptions, check_names, record_of, settings_notes
from nerveseg.scans.results import ResultOptions, check_free, in_words
from nerveseg.training.devices import choose_device
from nerveseg.types import SpacingMm

NOT_RECORDED = "an image was in memory, so no file is recorded: a corrected mask is measured with the scan as a file"


@dataclass(frozen=True, kw_only=True)
class Segmentation(MeasuredScan):
    """Segmented scan, with its measurements."""

    model: Ensemble  # applied model
    folds: tuple[int, ...]  # numbers of the model's folds that were averaged
    prediction: Prediction  # mask and probability in RAS order, and the settings that they depend on
    requested: SegmentOptions  # options as they were given
    inputs: Mapping[str, str]  # hash of each input's file by its role
    seconds: float  # time from reading the input to the last measurement, in s

    def __repr__(self) -> str:
        """Return name, model, grade, nerves and flags in a few lines."""
        lines = [f"<Segmentation of {self.files.name} by {self.model.name}", self.grade.in_words()]
        lines += map(in_words, self.nerves)
        lines += [f"look: {flag.message}" for flag in self.flags] + ([self.warning] if self.warning else [])
        return "\n  ".join(lines) + ">"

    def save(self, folder: str | Path, **written: bool | str | None) -> Path:
        """Write the files that `python -m nerveseg.segment` writes, and return their folder.

        Args:
            folder: Folder to write to; a result that it holds already stays, if it is the same.
            written: Options of the files: `write_probability`, `write_channels`, `per_class`, `dicom_seg`, `dicom_sr`,
                `surface`, as in `conf/segment.yaml`.

        Raises:
            ConfigurationError: An option is unknown, or cannot be met.
            RunError: The folder holds the result of another scan, a corrected mask, or files from elsewhere.
        """
        from nerveseg.scans.dicom_export import check_exportable
        from nerveseg.scans.writing import write_segmentation  # imports this module

        chosen, started = record_of(ResultOptions, written, "save"), time.perf_counter() - self.seconds
        check_exportable(self.files, chosen)
        identity = identity_of(self.files.person, self.inputs, self.model, self.requested, chosen)
        target = Path(folder).expanduser()
        if not check_free(target, identity):
            write_segmentation(target, self, identity, chosen, started)
        return target

    @property
    def probability(self) -> NDArray[np.float32]:
        """Probability in the input's own array order."""
        return np.asarray(self.scan.grid.from_ras(self.prediction.probability), dtype=np.float32)


def segment_scan(
    path: ImageSource,
    model: str | Path | Ensemble = DEFAULT,
    *,
    series: str | int | None = None,
    images: Mapping[str, ImageSource] | None = None,
    maps: Mapping[str, ImageSource] | None = None,
    muscle: ImageSource | None = None,
    person: PatientInfo | Mapping[str, Any] | None = None,
    options: SegmentOptions | Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Segmentation:
    """Segment one scan without writing files; the result's `save` writes them.

    Args:
        path: NIfTI, MetaImage or NRRD volume, DICOM as the command takes it, or an image of nibabel.
        model: Folder of a sweep (its folds are averaged), of a fold or of a bundle; name of a model that is part of
            nerveseg; or an opened model.
        series: Number or UID of the DICOM series, if there are several.
        images: Further channels by name.
        maps: Quantitative maps by name.
        muscle: Mask of a muscle that the nerve does not supply.
        person: Facts about the person scanned, as a record or a dict: `{"side": "left"}`.
        options: Options as in `conf/segment.yaml`, as a record or a dict: `{"accuracy": "exact"}`.
        plugins: Packages of the user's own whose networks the model may name.
        progress: Function that is called with the number of slices done and the number of all slices.

    Raises:
        NervesegError: A file cannot be read, an option is unknown, or the model cannot be applied to the scan.
    """
    info, chosen = record_of(PatientInfo, person, "person"), record_of(SegmentOptions, options, "options")
    opened = model if isinstance(model, Ensemble) else open_model(Path(model_path(model)), plugins)
    with TemporaryDirectory(prefix="nerveseg-") as folder:
        place = Path(folder)
        image = as_file(path, place, "image")
        files = ScanFiles(
            name=image.name,
            image=image,
            series=None if series is None else str(series),
            channels={name: as_file(each, place, f"images.{name}") for name, each in (images or {}).items()},
            maps={name: as_file(each, place, f"maps.{name}") for name, each in (maps or {}).items()},
            muscle=None if muscle is None else as_file(muscle, place, "muscle"),
            person=info,
            in_memory=any(map(is_in_memory, (path, *(images or {}).values(), *(maps or {}).values(), muscle))),
        )
        return segment_files(files, opened, chosen, progress)


def segment_files(
    files: ScanFiles,
    model: Ensemble,
    options: SegmentOptions,
    progress: Callable[[int, int], None] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Segmentation:
    """Segment one scan from its files, with functions and errors as in `segment_scan`.

    By `inputs`, the hash of each file by its role, a member of an earlier version recognises its training data; by
    default they are computed.
    """
    started = time.perf_counter()
    check_names(model.description.channels[0], files)
    scan = _read_checked(files, model.description, options)
    check_is_scan(scan.image, files.image)
    inputs = inputs or input_sha256(files)
    members, held_out = model.members_for(inputs["image"], image_sha256(scan.image))
    prediction = _predict(files, scan, members, options, progress)
    channel, model_seen = model.description.channels[0], (model.description, prediction.probability)
    measured = measure_scan(scan, prediction.mask, prediction.legs, channel, files.person, options, model_seen)
    classes, table = prediction.classes.select(_result_classes(model.description, options))
    expected = expect_dice(prediction, scan, model, measured.flags)
    expected = {name: each for name, each in expected.items() if name in classes.names}
    flags = (
        *measured.flags,
        *expectation_flags(expected, classes.names, options.quality.expected_dice),
        *_made_samples_flag(model.description),
    )
    notes = (
        *((held_out,) if held_out else ()),
        *((NOT_RECORDED,) if files.in_memory else ()),
        *settings_notes(prediction.settings, model.description.prediction),
        *_start_note(members),
        *_class_note(prediction.classes, classes),
        *_registration_note(options, model.description),
        *_clean_up_note(prediction, scan.grid.ras_spacing_mm),
        *(
            f"no channel {name}, which this model may do without (images.{name}=...)"
            for name in model.description.optional
            if name not in files.channels
        ),
        *measured.notes,
    )
    return Segmentation(
        **vars(replace(measured, flags=flags, notes=notes)),
        files=files,
        options=options.model_copy(update={"registration": options.registration or model.description.registration}),
        channel=channel,
        scan=scan,
        labels=table[prediction.labels],
        classes=classes,
        synthetic=model.synthetic,
        model=model,
        folds=tuple(member.description.training.fold for member in members),
        prediction=prediction,
        expected_dice=expected,
        requested=options,
        inputs=inputs,
        seconds=time.perf_counter() - started,
    )


def predict_files(
    files: ScanFiles,
    members: Sequence[Bundle],
    options: SegmentOptions,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[LoadedScan, Prediction]:
    """Read a scan, bring its channels onto one grid, and predict its mask, for the test of a fold and for `segment`.

    The members are averaged; they agree in channels, preprocessing and spacing. `progress` gets the number of slices
    done and that of all slices.

    Raises:
        VolumeError, GeometryError: A file is not a readable image, or a channel or map does not overlap with the image.
        BundleError: A channel of the model is missing, or a probability is not finite.
    """
    scan = _read_checked(files, members[0].description, options)
    return scan, _predict(files, scan, members, options, progress)


def _read_checked(files: ScanFiles, description: ModelDescription, options: SegmentOptions) -> LoadedScan:
    description.check_channels([description.channels[0], *files.channels], files.name)
    return read_scan(files, options.geometry, options.registration or description.registration)


def _predict(
    files: ScanFiles,
    scan: LoadedScan,
    members: Sequence[Bundle],
    options: SegmentOptions,
    progress: Callable[[int, int], None] | None,
) -> Prediction:
    description = members[0].description
    settings = options.settings(description.prediction)
    device = choose_device(options.accelerator, settings.precision)
    return predict_volume(
        members,
        scan.network_channels(description.channels),
        scan.grid.ras_spacing_mm,
        settings,
        runtime=options.runtime,
        slices_per_batch=options.slices_per_batch,
        progress=progress,
        device="cuda" if device.accelerator == "gpu" else "cpu",
        scan=files.name,
    )


def _result_classes(description: ModelDescription, options: SegmentOptions) -> list[str]:
    """Return the names of the classes whose masks are results."""
    classes = description.class_table
    if options.classes == "nerve":
        return [name for name in classes.names if classes.is_nerve(name)]
    return list(classes.names) if options.classes == "all" else description.result_classes or list(classes.names)


def _made_samples_flag(model: ModelDescription) -> tuple[Flag, ...]:
    """Return a flag of a model that no scan was shown to, so that its mask is never graded usable."""
    message = "the model learnt from made samples alone, not from scans: a person has to look at every slice"
    return (Flag("made_samples", message),) if model.ranges else ()


def _start_note(members: Sequence[Bundle]) -> tuple[str, ...]:
    """Return a note of a model that learnt from scans and began with the weights of one of simulated data."""
    trainings = [member.description.training for member in members]
    return (SYNTHETIC_START,) if any(each.init_synthetic and not each.synthetic for each in trainings) else ()


def _class_note(known: Classes, results: Classes) -> tuple[str, ...]:
    """Return a note of the classes that the model tells apart and that are no results."""
    others = [name for name in known.names if name not in results.names]
    return (f"not written: {', '.join(others)}, classes of the model beside the nerve (classes=all)",) if others else ()


def _registration_note(options: SegmentOptions, model: ModelDescription) -> tuple[str, ...]:
    """Return a note if the network's further channels are placed in another way than in its training and test."""
    given, own = options.registration, model.registration
    differs = len(model.channels) > 1 and given not in (None, own)
    return (f"registration={given}: the scores of this model are of registration={own}",) if differs else ()


def _clean_up_note(prediction: Prediction, spacing_mm: SpacingMm) -> tuple[str, ...]:
    """Return a note of how much the clean-up removed from the nerve and added to it."""
    found = prediction.found
    voxel_mm3 = float(np.prod(spacing_mm))
    removed, added = (
        np.count_nonzero(each) * voxel_mm3 for each in (found & ~prediction.mask, prediction.mask & ~found)
    )
    if not removed and not added:
        return ()
    share = removed / (np.count_nonzero(found) * voxel_mm3)
    return (f"the clean-up removed {removed:,.0f} mm3 of the nerve found ({share:.0%}), and added {added:,.0f} mm3",)
