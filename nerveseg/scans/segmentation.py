"""Segment one scan: read it, predict its mask with the model's members, measure and flag it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nerveseg.biomarkers.course import NerveCourse
from nerveseg.biomarkers.quality import Flag
from nerveseg.biomarkers.summary import NerveSummary
from nerveseg.data.inputs import check_is_scan
from nerveseg.errors import ConfigurationError
from nerveseg.inference.ensemble import Ensemble, check_channels, open_model
from nerveseg.inference.predict import Prediction
from nerveseg.scans.measuring import measure_scan
from nerveseg.scans.prediction import predict_files
from nerveseg.scans.reading import LoadedScan, image_sha256
from nerveseg.scans.request import PatientInfo, ScanFiles, SegmentOptions, settings_notes
from nerveseg.types import Mask, Probability


@dataclass(frozen=True)
class Segmentation:
    """Segmented scan.

    Attributes:
        files: Files of the scan.
        scan: Images of the scan.
        model: Applied model.
        folds: Numbers of the model's folds that were averaged.
        prediction: Mask and probability in RAS order, and the settings that they depend on.
        courses: Nerve of each leg, its branches and their course.
        profile: Table with one row per slice and branch (`biomarkers.profile`).
        nerves: Summary of each nerve; two if the image shows both legs.
        lesion: Mask of the abnormal nerve, in RAS order; None without a fat-suppressed channel.
        flags: Quality flags, for a person to check.
        notes: Remarks on the origin of the numbers.
    """

    files: ScanFiles
    scan: LoadedScan
    model: Ensemble
    folds: tuple[int, ...]
    prediction: Prediction
    courses: tuple[NerveCourse, ...]
    profile: pd.DataFrame
    nerves: tuple[NerveSummary, ...]
    lesion: Mask | None
    flags: tuple[Flag, ...]
    notes: tuple[str, ...]

    @property
    def ras_mask(self) -> Mask:
        """Mask of the nerve, in RAS order."""
        return self.prediction.mask

    @property
    def ras_probability(self) -> Probability:
        """Probability of nerve, in RAS order."""
        return self.prediction.probability

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Mask in the input's own array order."""
        return np.asarray(self.scan.grid.from_ras(self.ras_mask), dtype=np.bool_)

    @property
    def probability(self) -> NDArray[np.float32]:
        """Probability in the input's own array order."""
        return np.asarray(self.scan.grid.from_ras(self.ras_probability), dtype=np.float32)

    @property
    def affine(self) -> NDArray[np.float64]:
        """Matrix from voxel indices of `mask` to mm (RAS+)."""
        return self.scan.grid.affine

    @property
    def synthetic(self) -> bool:
        """Flag: true if the model was trained on simulated data."""
        return self.model.synthetic


def segment_scan(
    path: str | Path,
    model: str | Path | Ensemble,
    *,
    series: str | None = None,
    images: Mapping[str, str | Path] | None = None,
    maps: Mapping[str, str | Path] | None = None,
    muscle: str | Path | None = None,
    person: PatientInfo | None = None,
    options: SegmentOptions | None = None,
    plugins: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Segmentation:
    """Segment one scan without writing files.

    Args:
        path: NIfTI, MetaImage or NRRD volume, or folder of one DICOM series.
        model: Folder of a sweep (its folds are averaged), of a fold or of a bundle; or an opened model.
        series: Number or UID of the DICOM series, if the folder holds several.
        images: Further channels by name.
        maps: Quantitative maps by name.
        muscle: Mask of a muscle that the nerve does not supply.
        person: Facts about the person scanned.
        options: Options as in `conf/segment.yaml`.
        plugins: Packages of the user's own whose networks the model may name.
        progress: Function that is called with the number of slices done and the number of all slices.

    Raises:
        NervesegError: A file cannot be read, or the model not be applied to it.
    """
    files = ScanFiles(
        name=Path(path).name,
        image=Path(path),
        series=series,
        channels={name: Path(file) for name, file in (images or {}).items()},
        maps={name: Path(file) for name, file in (maps or {}).items()},
        muscle=Path(muscle) if muscle else None,
        person=person or PatientInfo(),
    )
    opened = model if isinstance(model, Ensemble) else open_model(Path(model), plugins)
    return segment_files(files, opened, options or SegmentOptions(), progress)


def segment_files(
    files: ScanFiles,
    model: Ensemble,
    options: SegmentOptions,
    progress: Callable[[int, int], None] | None = None,
    sha256: str | None = None,
) -> Segmentation:
    """Segment one scan from its files.

    Args:
        files: Files of the scan.
        model: Model to apply.
        options: Options of segmentation and measurement.
        progress: Function that is called with the number of slices done and the number of all slices.
        sha256: Hash of the image (`image_sha256`); by default it is computed.

    Raises:
        NervesegError: A file cannot be read, or the model not be applied to it.
    """
    check_names(files, model)
    check_channels(model, [model.description.channels[0], *files.channels])
    members, held_out = model.members_for(sha256 or image_sha256(files))
    settings = options.settings(model.description.prediction)
    scan, prediction = predict_files(
        files,
        members,
        settings,
        check=check_is_scan,
        geometry=options.geometry,
        registration=options.registration,
        accelerator=options.accelerator,
        runtime=options.runtime,
        slices_per_batch=options.slices_per_batch,
        progress=progress,
    )
    measured = measure_scan(scan, prediction.mask, prediction.probability, model.description, files.person, options)
    return Segmentation(
        files=files,
        scan=scan,
        model=model,
        folds=tuple(member.description.training.fold for member in members),
        prediction=prediction,
        courses=measured.courses,
        profile=measured.profile,
        nerves=measured.nerves,
        lesion=measured.lesion,
        flags=measured.flags,
        notes=(
            *((held_out,) if held_out else ()),
            *settings_notes(settings, model.description.prediction),
            *measured.notes,
        ),
    )


def check_names(files: ScanFiles, model: Ensemble) -> None:
    """Raise `ConfigurationError` if two signals have one name, since the profile would hold only one of them."""
    names = [model.description.channels[0], *files.channels, *files.maps]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(
            "the image, further channels and maps have different names",
            found=f"{', '.join(twice)} twice; the image is {names[0]}",
            remedy="maps.<another name>=... or images.<another name>=...",
        )
