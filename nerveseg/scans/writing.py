"""Write the results of a scan to its folder, each file atomically, the summary last.

The mask is the model's (`segment`) or a person's (`measure`); everything else is the same.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nerveseg.data.volumes.volume import write_labels, write_probability
from nerveseg.evaluation.comparisons import AUTOMATIC
from nerveseg.files import atomic_write, file_sha256, write_csv
from nerveseg.notices import header_notice
from nerveseg.reporting.check_sheet import check_sheet, registration_sheet
from nerveseg.reporting.overlay import save_png
from nerveseg.reporting.subject_page import write_subject_page
from nerveseg.reporting.subject_view import LESION, STRAY, SubjectView, facts_of
from nerveseg.runs import package_versions
from nerveseg.scans.dicom_export import export_dicom
from nerveseg.scans.expectation import named_expectations
from nerveseg.scans.given import GivenScan
from nerveseg.scans.identity import Identity
from nerveseg.scans.image_files import LESION_FILE, channel_files, write_channels, write_lesion
from nerveseg.scans.list_picture import ListPicture, write_list_picture
from nerveseg.scans.measuring import MeasuredScan
from nerveseg.scans.own_files import clear, mark, record, recorded
from nerveseg.scans.provenance import provenance_of
from nerveseg.scans.request import ScanRequest
from nerveseg.scans.results import ModelRecord, ResultOptions, ScanSummary, begin, finish, own_files, primary_mask
from nerveseg.scans.surface_files import write_surface
from nerveseg.scans.viewer_files import branch_map, write_label_names
from nerveseg.scans.workspace import WORKSPACE, write_workspace
from nerveseg.types import Mask, Probability

if TYPE_CHECKING:
    from nerveseg.scans.segmentation import Segmentation

OWN_FORMATS = (".mha", ".nrrd")  # suffixes of inputs whose mask is written in the same format; other masks are NIfTI

SURFACES = frozenset({"nerve.stl", "nerve.ply"})  # names of the files of surfaces
CORRECTED, DRAWN = "Corrected", "Drawn"  # names, on the page, of a mask with and without a known automatic one


@dataclass(frozen=True)
class _Origin:
    """Origin of a label map, in which the results of a model and of a person differ."""

    mask: str  # name of the mask on the page
    facts: list[tuple[str, str]]  # names and values that stand before the measurements
    fields: dict[str, Any]  # fields of the summary
    probability: Probability | None = None  # probability of nerve
    automatic: Mask | None = None  # mask that a person corrected


def write_segmentation(
    folder: Path, segmentation: Segmentation, identity: Identity, options: ResultOptions, started: float
) -> ScanSummary:
    """Write the mask, the tables and the pictures of a scan; `started` is in s of `time.perf_counter`."""
    prediction, model, scan = segmentation.prediction, segmentation.model, segmentation.scan
    channels = channel_files(segmentation) if options.write_channels else {}
    begin(folder, [*_class_files(segmentation, options.per_class).values(), *channels.values()])
    masks = _write_masks(folder, segmentation, options.per_class)
    if options.write_probability:
        notice = header_notice(segmentation.synthetic)
        write_probability(folder / "probability.nii.gz", prediction.probability, scan.grid, notice)
        record(folder, "probability.nii.gz")
    if channels:
        write_channels(folder, segmentation)
    if options.surface:
        _write_surface(folder, segmentation, options.surface)
    automatic = f"automatic{_suffix(segmentation)}"
    with atomic_write(folder / automatic) as temporary:
        shutil.copyfile(folder / primary_mask(masks), temporary)
    record(folder, automatic)
    identified, notes = export_dicom(folder, segmentation, options)
    segmentation = replace(segmentation, notes=(*segmentation.notes, *notes))
    model_record = ModelRecord(
        name=model.name,
        sha256=model.sha256,
        study=model.description.training.study,
        folds=list(segmentation.folds),
        synthetic=model.synthetic,
    )
    fields = {
        "automatic": automatic,
        "identified": identified,
        "model": model_record,
        "expected_dice": segmentation.expected_dice,
        "prediction": prediction.settings,
        "computation": prediction.computation,
    }
    expected = named_expectations(segmentation.expected_dice, segmentation.classes.names)
    facts = [(name, each.in_words()) for name, each in expected]
    origin = _Origin(AUTOMATIC, facts, fields, prediction.probability)
    return _write_measurements(folder, segmentation, origin, masks, identity, options.per_class, started)


def write_given(folder: Path, scan: GivenScan, identity: Identity, per_class: bool, started: float) -> ScanSummary:
    """Write the results of a mask that a person drew or corrected, as `write_segmentation` does.

    In the folder of an earlier result, the file that was corrected there is left as it is, and the summary stays until
    the new one replaces it.
    """
    earlier, classes, grid = scan.earlier, scan.classes, scan.scan.grid
    if earlier is None:
        begin(folder, list(_class_files(scan, per_class).values()))
    else:
        own = own_files(folder, earlier)
        mark(folder, own)
        surfaces = SURFACES.intersection(dict(own))
        clear(folder, [*earlier.identified, *surfaces, f"{LESION_FILE}{_suffix(scan)}", WORKSPACE], own)
        for name in surfaces:
            _write_surface(folder, scan, "ply" if name.endswith(".ply") else "stl")
        if names := ", ".join(earlier.identified):
            scan = replace(scan, notes=(*scan.notes, f"no {names}, made of the automatic mask only"))
    keep = {scan.given.source: scan.given.sha256} if scan.given.edited_there else {}
    masks = _write_masks(folder, scan, per_class, keep)
    automatic = earlier.automatic if earlier else None
    if earlier is None and scan.automatic is not None:
        automatic = f"automatic{_suffix(scan)}"
        write_labels(folder / automatic, classes.decode(scan.automatic), grid, header_notice(scan.synthetic))
        record(folder, automatic)
    fields = {
        "automatic": automatic,
        "given": scan.given,
        "model": earlier and earlier.model,
        "prediction": earlier and earlier.prediction,
        "computation": earlier and earlier.computation,
    }
    nerve = None if scan.automatic is None else classes.nerve(scan.automatic)
    origin = _Origin(DRAWN if nerve is None else CORRECTED, scan.facts, fields, None, nerve)
    return _write_measurements(folder, scan, origin, masks, identity, per_class, started)


def _suffix(scan: MeasuredScan) -> str:
    return next((end for end in OWN_FORMATS if scan.files.image.name.lower().endswith(end)), ".nii.gz")


def _class_files(scan: MeasuredScan, per_class: bool) -> dict[str, str]:
    """Return the name of the file of each class, if asked for."""
    return {name: f"mask-{name}{_suffix(scan)}" for name in scan.classes.names if per_class}


def _write_masks(
    folder: Path, scan: MeasuredScan, per_class: bool, keep: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Write the masks of a scan but for one to keep; return the SHA-256 of each file by its name, the mask's first.

    The hash of the file to keep is given, so that a later change of the file is noticed. A person's file in the place
    of another is moved aside.
    """
    classes, grid, notice, hashes = scan.classes, scan.scan.grid, header_notice(scan.synthetic), dict(keep or {})
    arrays = {f"mask{_suffix(scan)}": scan.ras_mask.astype(np.uint8)}
    if classes.count > 1:
        arrays[f"labels{_suffix(scan)}"] = classes.decode(scan.labels)
    arrays[f"branches{_suffix(scan)}"] = branch_map(scan.courses)
    for name, file in _class_files(scan, per_class).items():
        arrays[file] = classes.mask(scan.labels, name).astype(np.uint8)
    written = [file for file in arrays if file not in hashes]
    clear(folder, written, recorded(folder))
    for file in written:
        write_labels(folder / file, arrays[file], grid, notice)
        hashes |= record(folder, file)
    return {file: hashes[file] for file in arrays}


def _write_surface(folder: Path, scan: MeasuredScan, form: Literal["stl", "ply"]) -> None:
    nerve = np.any([course.mask for course in scan.courses], axis=0)
    write_surface(folder / f"nerve.{form}", nerve, scan.scan.grid.ras_affine, form)
    record(folder, f"nerve.{form}")


def _write_measurements(
    folder: Path,
    scan: MeasuredScan,
    origin: _Origin,
    masks: dict[str, str],
    identity: Identity,
    per_class: bool,
    started: float,
) -> ScanSummary:
    """Write table, pictures and page, and the summary last."""
    write_csv(folder / "profile.csv", scan.profile.assign(warning=scan.warning), float_format="%.6g")
    write_label_names(folder, scan.courses)
    write_lesion(folder, scan, _suffix(scan), header_notice(scan.synthetic))
    write_workspace(folder, scan, [primary_mask(masks), *(name for name in masks if name.startswith("branches."))])
    versions = package_versions()
    model, given = (origin.fields.get(name) for name in ("model", "given"))
    hashes = {
        "scan": identity.inputs.get("image", ""),
        "mask": masks[primary_mask(masks)],
        "model": model.sha256 if model else "",
    }
    picture = _draw(folder, scan, origin, provenance_of(scan.files, identity, model, given, versions), hashes)
    movement = ("translation_mm", "rotation_deg", "trusted", "note")
    summary = ScanSummary(
        warning=scan.warning,
        name=scan.files.name,
        shape=scan.scan.grid.shape,
        spacing_mm=scan.scan.grid.ras_spacing_mm,
        mask=next(iter(masks)),
        classes=scan.classes.written,
        class_masks=list(_class_files(scan, per_class).values()),
        masks=masks,
        written=_written(folder),
        request=ScanRequest.of(scan.files, scan.channel, scan.options, per_class),
        nerves=list(scan.nerves),
        grade=scan.grade,
        thumbnail=picture,
        flags=list(scan.flags),
        notes=list(scan.notes),
        registrations={
            name: {field: getattr(registration, field) for field in movement}
            for name, registration in scan.scan.registrations.items()
        },
        seconds=round(time.perf_counter() - started, 3),
        versions=versions,
        identity=identity,
        **origin.fields,
    )
    finish(folder, summary)
    return summary


def _written(folder: Path) -> dict[str, str]:
    """Return the hash of each volume that nerveseg wrote to a marked folder and that is as it was written."""
    own = recorded(folder)
    hashes = {name: file_sha256(folder / name) for name in sorted(dict(own)) if (folder / name).is_file()}
    return {name: sha256 for name, sha256 in hashes.items() if (name, sha256) in own}


def _draw(
    folder: Path,
    measured: MeasuredScan,
    origin: _Origin,
    provenance: list[tuple[str, str]],
    hashes: Mapping[str, str],
) -> ListPicture:
    scan = measured.scan
    nerve, strays = (
        np.any(masks, axis=0) for masks in zip(*((each.mask, each.strays) for each in measured.courses), strict=True)
    )
    sides: dict[str, slice] = {course.side: course.leg.columns for course in measured.courses}
    sheet = check_sheet(
        scan.image.array,
        nerve,
        measured.profile,
        title=f"{measured.files.name}: {measured.grade.level}",
        warning=measured.warning or None,
        slice_numbers=scan.grid.slice_numbers,
        flags=[f"{flag.side}: {flag.message}" if flag.side else flag.message for flag in measured.flags],
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
    masks = {origin.mask: nerve} | ({} if origin.automatic is None else {AUTOMATIC: origin.automatic})
    masks |= {STRAY: strays} if strays.any() else {}
    if measured.lesion is not None and measured.lesion.any():
        masks[LESION] = measured.lesion
    page = SubjectView(
        name=measured.files.name,
        title=f"Nerve segmentation of {measured.files.name}",
        warning=measured.warning,
        image=scan.image.array,
        spacing_mm=scan.grid.ras_spacing_mm,
        slice_numbers=scan.grid.slice_numbers,
        masks=masks,
        profiles={origin.mask: measured.profile},
        grade=measured.grade.in_words(),
        facts=[*origin.facts, *facts_of(measured.nerves)],
        flags=measured.flags,
        notes=measured.notes,
        sides=sides,
        registrations=pictures,
        probability=origin.probability,
        channel=measured.channel,
        channels=scan.channels | scan.maps,
        courses=measured.courses,
        norms=measured.norms,
        affine=scan.grid.ras_affine,
        provenance=provenance,
        scan_sha256=hashes["scan"],
        mask_sha256=hashes["mask"],
        model_sha256=hashes["model"],
    )
    write_subject_page(folder / "report.html", page)
    return write_list_picture(folder, measured, {origin.mask: nerve}, origin.probability)
