"""Write a segmentation to its folder, each file atomically, the summary last."""

import shutil
import time
from pathlib import Path

import numpy as np

from nerveseg.data.volumes.volume import write_labels, write_mask, write_probability
from nerveseg.evaluation.comparisons import AUTOMATIC
from nerveseg.files import atomic_write, file_sha256, write_csv
from nerveseg.notices import header_notice
from nerveseg.reporting.check_sheet import check_sheet, registration_sheet
from nerveseg.reporting.overlay import save_png
from nerveseg.reporting.subject_page import write_subject_page
from nerveseg.reporting.subject_view import LESION, STRAY, SubjectView, facts_of
from nerveseg.runs import package_versions
from nerveseg.scans.dicom_export import write_dicom_mask
from nerveseg.scans.expectation import named_expectations
from nerveseg.scans.results import Identity, ModelRecord, ResultOptions, ScanSummary, begin, finish
from nerveseg.scans.segmentation import Segmentation

OWN_FORMATS = (".mha", ".nrrd")  # suffixes of inputs whose mask is written in the same format; other masks are NIfTI


def write_segmentation(
    folder: Path, segmentation: Segmentation, identity: Identity, options: ResultOptions, started: float
) -> ScanSummary:
    """Write the mask, the tables and the pictures of a scan; `started` is in s of `time.perf_counter`."""
    scan, prediction, classes = segmentation.scan, segmentation.prediction, segmentation.prediction.classes
    description = header_notice(segmentation.synthetic)
    suffix = next((end for end in OWN_FORMATS if segmentation.files.image.name.lower().endswith(end)), ".nii.gz")
    class_masks = {name: f"mask-{name}{suffix}" for name in classes.names if options.per_class}
    begin(folder, list(class_masks.values()))
    write_mask(folder / f"mask{suffix}", segmentation.ras_mask, scan.grid, description)
    if classes.count > 1:
        write_labels(folder / f"labels{suffix}", classes.decode(prediction.labels), scan.grid, description)
    for name, file in class_masks.items():
        write_mask(folder / file, classes.mask(prediction.labels, name), scan.grid, description)
    if options.write_probability:
        write_probability(folder / "probability.nii.gz", prediction.probability, scan.grid, description)
    identified = write_dicom_mask(folder, segmentation) if options.dicom_seg else []
    write_csv(folder / "profile.csv", segmentation.profile.assign(warning=segmentation.warning), float_format="%.6g")
    _draw(folder, segmentation)
    drawn = f"labels{suffix}" if classes.count > 1 else f"mask{suffix}"
    with atomic_write(folder / f"automatic{suffix}") as temporary:
        shutil.copyfile(folder / drawn, temporary)
    written = {
        "class_masks": list(class_masks.values()),
        "masks": {name: file_sha256(folder / name) for name in sorted({f"mask{suffix}", drawn, *class_masks.values()})},
        "automatic": f"automatic{suffix}",
        "identified": identified,
    }
    summary = _summary(segmentation, f"mask{suffix}", identity, time.perf_counter() - started)
    summary = summary.model_copy(update=written)
    finish(folder, summary)
    return summary


def _draw(folder: Path, segmentation: Segmentation) -> None:
    scan = segmentation.scan
    nerve, strays = (
        np.any(masks, axis=0)
        for masks in zip(*((each.mask, each.strays) for each in segmentation.courses), strict=True)
    )
    sides: dict[str, slice] = {course.side: course.leg.columns for course in segmentation.courses}
    sheet = check_sheet(
        scan.image.array,
        nerve,
        segmentation.profile,
        title=segmentation.files.name,
        warning=segmentation.warning or None,
        slice_numbers=scan.grid.slice_numbers,
        flags=[flag.message for flag in segmentation.flags],
        spacing_mm=scan.grid.ras_spacing_mm,
        sides=sides,
        strays=strays,
    )
    save_png(folder / "check.png", sheet)
    pictures: dict[str, bytes] = {}
    for name, registration in scan.registrations.items():
        path = folder / f"registration-{name}.png"
        registration_sheet(path, scan.image.array, registration)
        pictures[name] = path.read_bytes()
    masks = {AUTOMATIC: nerve} | ({STRAY: strays} if strays.any() else {})
    if segmentation.lesion is not None and segmentation.lesion.any():
        masks[LESION] = segmentation.lesion
    expected = named_expectations(segmentation.expected_dice, segmentation.prediction.classes.names)
    page = SubjectView(
        name=segmentation.files.name,
        title=f"Nerve segmentation of {segmentation.files.name}",
        warning=segmentation.warning,
        image=scan.image.array,
        spacing_mm=scan.grid.ras_spacing_mm,
        slice_numbers=scan.grid.slice_numbers,
        masks=masks,
        profiles={AUTOMATIC: segmentation.profile},
        facts=[
            *((name, each.in_words()) for name, each in expected),
            *facts_of(segmentation.nerves),
        ],
        flags=segmentation.flags,
        notes=segmentation.notes,
        sides=sides,
        registrations=pictures,
        probability=segmentation.prediction.probability,
    )
    write_subject_page(folder / "report.html", page)


def _summary(segmentation: Segmentation, mask: str, identity: Identity, seconds: float) -> ScanSummary:
    model, scan = segmentation.model, segmentation.scan
    movement = ("translation_mm", "rotation_deg", "trusted", "note")
    return ScanSummary(
        warning=segmentation.warning,
        name=segmentation.files.name,
        shape=scan.grid.shape,
        spacing_mm=scan.grid.ras_spacing_mm,
        mask=mask,
        classes=segmentation.prediction.classes.written,
        model=ModelRecord(
            name=model.name,
            sha256=model.sha256,
            study=model.description.training.study,
            folds=list(segmentation.folds),
            synthetic=model.synthetic,
        ),
        nerves=list(segmentation.nerves),
        expected_dice=segmentation.expected_dice,
        flags=list(segmentation.flags),
        notes=list(segmentation.notes),
        prediction=segmentation.prediction.settings,
        computation=segmentation.prediction.computation,
        registrations={
            name: {field: getattr(registration, field) for field in movement}
            for name, registration in scan.registrations.items()
        },
        seconds=round(seconds, 3),
        versions=package_versions(),
        identity=identity,
    )
