"""Check a study: faults of its table and files; `check.csv` and `check.html` describe every rater's mask."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from nerveseg.console import print_error, say, track_progress
from nerveseg.data.participants import BOTH
from nerveseg.data.slice_store import copied_images, study_hashes
from nerveseg.data.slice_store_build import available_cores
from nerveseg.data.study import Study, list_subjects
from nerveseg.data.study_layout import with_synthetic
from nerveseg.data.volumes.volume import read_image
from nerveseg.errors import NervesegError, StudyError
from nerveseg.evaluation.comparisons import CLASS
from nerveseg.evaluation.mask_faults import Doubt, judge_masks
from nerveseg.evaluation.mask_measures import MaskMeasures
from nerveseg.evaluation.study_check import check_subject
from nerveseg.files import write_csv, writing_below
from nerveseg.notices import SYNTHETIC_STUDY
from nerveseg.workflows.config import CheckConfig
from nerveseg.workflows.prepare_study import STORES, checked_layout
from nerveseg.workflows.score_legs import both_legs


def check_configured_study(config: CheckConfig) -> None:
    """Check a study, print and write its faults and doubts, and raise `StudyError` if it has faults."""
    layout, preprocessing = with_synthetic(checked_layout(config.study)), config.preprocessing
    subjects, faults = list_subjects(layout)
    study = Study(layout, subjects)
    try:
        preprocessing = preprocessing.settle(study.median_spacing_mm)
    except NervesegError:  # the file is named below, with all other faults
        preprocessing = preprocessing.model_copy(update={"spacing_mm": None})
    hashes, remember = study_hashes(study, config.output_root / STORES, available_cores(), images_only=True)
    channel = next(iter(layout.images))
    faults += copied_images(subjects, {subject_id: files[channel] for subject_id, files in hashes.items()})
    voxels: dict[str, str] = {}
    rows: list[MaskMeasures] = []
    doubts: list[Doubt] = []
    for subject in track_progress(subjects, "checking"):
        found = check_subject(study, subject, preprocessing)
        faults += found.faults
        doubts += [Doubt(subject.id, "", warning) for warning in found.warnings]
        if subject.side == BOTH and not found.faults and not both_legs(study, subject):
            doubts.append(Doubt(subject.id, "", "side is both, but the image does not tell two legs apart"))
        rows += found.masks
        voxels |= {subject.id: found.voxels} if found.voxels else {}
    copies = copied_images([subject for subject in subjects if subject.id in voxels], voxels)
    faults += [copy for copy in copies if str(copy) not in map(str, faults)]
    classes = layout.class_table
    certain, likely = judge_masks(rows, [*filter(classes.is_nerve, classes.names)], classes.values)
    faults, doubts = [*faults, *certain], [*doubts, *likely]
    with writing_below(config.output_root):
        page = _write(config.output_root / "checks" / layout.name, study, rows, faults, doubts) if rows else None
    for doubt in doubts:
        say(f"warning: {doubt}")
    for fault in faults:
        print_error(fault)
    if page:
        say(f"every mask: {page}")
    if faults:
        raise StudyError(
            "a study has no faults",
            found=f"{len(faults)}, listed above",
            path=layout.root,
            remedy="correct them and run check again",
        )
    remember()
    cohorts = sorted({subject.cohort for subject in subjects})
    say(f"{layout.name}: {len(subjects)} subjects ({', '.join(cohorts)}) are fit to use")


def _write(
    folder: Path,
    study: Study,
    rows: Sequence[MaskMeasures],
    faults: Sequence[NervesegError],
    doubts: Sequence[Doubt],
) -> Path:
    """Write table and page, with a picture of each subject or class that has a fault or a doubt; return its path."""
    from nerveseg.reporting.check_page import MOST_PICTURES, checked_case, write_check_page

    table = pd.DataFrame([asdict(row) for row in rows]).rename(columns={"structure": CLASS})
    for name, found in (("faults", faults), ("doubts", doubts)):
        table[name] = [_about(row, found) for row in rows]
    write_csv(folder / "check.csv", table)
    flagged = {(str(fault.subject), "") for fault in faults} | {(doubt.subject, doubt.structure) for doubt in doubts}
    pictured = [(row.subject, name) for row in rows for name in ("", row.structure) if (row.subject, name) in flagged]
    cases = []
    for subject_id, structure in [*dict.fromkeys(pictured)][:MOST_PICTURES]:
        subject, classes = study.subject(subject_id), study.description.class_table
        image = read_image(subject.image, subject.id, study.description.geometry)
        drawn = study.read_masks(subject, image.grid).raters
        masks = {rater: classes.mask(own, structure) if structure else own > 0 for rater, own in drawn.items()}
        cases.append(checked_case(subject_id, image.array, masks, structure))
    page = folder / "check.html"
    warning = SYNTHETIC_STUDY if study.description.synthetic else ""
    write_check_page(page, study.description.name, warning, rows, faults, doubts, cases)
    return page


def _about(row: MaskMeasures, found: Sequence[NervesegError | Doubt]) -> str:
    """Return the texts of the faults or doubts about one mask, or about all masks of its subject."""
    texts = []
    for one in found:
        if isinstance(one, Doubt):
            of_mask = one.rater in ("", row.rater) and one.structure in ("", row.structure)
            meant, text = one.subject == row.subject and of_mask, one.text
        else:
            meant, text = str(one.path) == row.path, f"{one.rule}; found: {one.found}"
        texts += [text] if meant else []
    return "; ".join(texts)
