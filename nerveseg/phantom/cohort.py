"""Write a synthetic study in BIDS layout, complete or not at all, with SYNTHETIC in all metadata.

sub-V01/anat/sub-V01_T2w.nii.gz                                 and its .json
sub-V01/anat/sub-V01_acq-fatsat_T2w.nii.gz                      the second channel on its own grid
derivatives/resampled/../sub-V01_acq-fatsat_space-T2w_T2w.nii.gz  second channel on the first one's grid
derivatives/rater-OS/../sub-V01_label-nerve_mask.nii.gz         one folder per rater
derivatives/rater-OS/../sub-V01_desc-nerves_dseg.nii.gz         the same voxels: tibial, peroneal, sciatic
derivatives/truth/../sub-V01_label-nerve_mask.nii.gz            and nerves, structures, lesion, coverage, slices
derivatives/truth/desc-structures_dseg.tsv                      names of the labels; one for each kind of label map
"""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nerveseg import __version__
from nerveseg.data.volumes.volume import write_volume
from nerveseg.errors import StudyError
from nerveseg.phantom import structures
from nerveseg.phantom.outline import PERONEAL, SCIATIC, TIBIAL, SliceTruth
from nerveseg.phantom.raters import RATERS
from nerveseg.phantom.specification import CohortSpec, Participant, participants
from nerveseg.phantom.subject import SimulatedSubject, simulate_subject

__all__ = ["CohortSpec", "Participant", "SimulatedSubject", "participants", "simulate_subject", "write_cohort"]

DESCRIPTION = "SYNTHETIC phantom, nerveseg"

README = """# SYNTHETIC study {name}

Simulated T2-weighted thigh MR neurography, no data of a person. derivatives/rater-* hold the nerve as simulated raters
draw it, derivatives/truth the simulated nerve itself. code/cohort.json has the options of the simulation.
"""

COLUMNS = {
    "cohort": {"Description": "Volunteer or patient"},
    "group": {"Description": "Person; scans of one person are dependent"},
    "side": {"Description": "Side of the thigh"},
    "location": {"Description": "Part of the thigh that the stack shows"},
    "lesion": {"Description": "Simulated lesion of the nerve"},
    "repeat_of": {"Description": "Earlier scan of the same leg"},
}
"""Descriptions of the columns of participants.tsv."""

BRANCHES = {TIBIAL: "tibial", PERONEAL: "peroneal"}
NERVES = BRANCHES | {SCIATIC: "sciatic"}
STRUCTURES = {
    structures.NERVE: "nerve", structures.ARTERY: "artery", structures.VEIN: "vein", structures.BONE: "bone",
    structures.MUSCLE: "muscle", structures.FAT: "fat",
}  # fmt: skip
"""Names of the labels of a label map, as its table `desc-<kind>_dseg.tsv` has them."""


def write_cohort(
    spec: CohortSpec, root: Path, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> None:
    """Simulate a cohort and write it as a study folder.

    The study is written beside `root` and renamed at the end, so that a folder named `root` is always complete. The
    result does not depend on the number of processes (`workers`). `progress` gets the subjects done and in all.

    Raises:
        StudyError: `root` exists already, or cannot be created.
    """
    root = Path(root)
    if root.exists():
        rule, remedy = "a new folder for a synthetic study", "remove the folder, or give another one"
        raise StudyError(rule, found="it exists already", path=root, remedy=remedy)
    partial_root = root.with_name(f".{root.name}.{os.getpid()}.partial")
    try:
        partial_root.mkdir(parents=True)
        rows = participants(spec)
        for done, _ in enumerate(_written(spec, partial_root, rows, workers), start=1):
            if progress is not None:
                progress(done, len(rows))
        _write_tables(spec, partial_root, rows)
        os.rename(partial_root, root)
    except OSError as error:
        rule, remedy = "a folder that can be written", "choose a folder on a disk with room where you may write"
        found = f"{type(error).__name__}: {error.strerror}"
        raise StudyError(rule, found=found, path=root, remedy=remedy) from error
    finally:
        shutil.rmtree(partial_root, ignore_errors=True)


def _written(spec: CohortSpec, root: Path, rows: list[Participant], workers: int) -> Iterator[None]:
    write = partial(write_subject, spec, root)
    if workers <= 1:
        yield from map(write, rows)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(write, rows)


def write_subject(spec: CohortSpec, root: Path, participant: Participant) -> None:
    """Simulate one scan and write its files below the study's folder."""
    subject, name = simulate_subject(spec, participant), f"sub-{participant.id}"

    def volume(folder: str, suffix: str, array: NDArray[Any], content: str, affine: Any = subject.affine) -> None:
        write_volume(root / folder / f"{name}_{suffix}.nii.gz", array, affine, f"{DESCRIPTION}, {content}")

    for rater, mask in subject.raters.items():
        volume(f"derivatives/rater-{rater}/{name}/anat", "label-nerve_mask", mask.astype(np.uint8), f"rater-{rater}")
    truth, known = f"derivatives/truth/{name}/anat", subject.known
    volume(truth, "label-nerve_mask", known.nerve.astype(np.uint8), "truth")
    if subject.images is None:
        return
    volume(truth, "desc-branches_dseg", known.branches, _named(BRANCHES))
    volume(truth, "desc-nerves_dseg", known.nerves, _named(NERVES))
    volume(truth, "desc-structures_dseg", subject.images.structures, _named(STRUCTURES))
    for rater, labels in subject.named.items():
        volume(f"derivatives/rater-{rater}/{name}/anat", "desc-nerves_dseg", labels, f"rater-{rater}: {_named(NERVES)}")
    volume(truth, "label-nerve_probseg", known.coverage, "share of the voxel")
    volume(truth, "label-lesion_mask", known.lesion.astype(np.uint8), "lesion")
    volume(truth, "label-vastus_mask", subject.images.vastus.astype(np.uint8), "vastus")
    _write_slices(root / truth / f"{name}_slices.tsv", known.slices)
    volume(f"{name}/anat", "T2w", subject.images.t2.astype(np.uint16), "T2w")
    _write_json(root / name / "anat" / f"{name}_T2w.json", {"EchoTime": 0.082, "RepetitionTime": 4.69})
    second = subject.images.fat_suppressed
    if second is not None:
        volume(f"{name}/anat", "acq-fatsat_T2w", second.image.astype(np.uint16), "fat-suppressed", second.affine)
        metadata = {
            "EchoTime": 0.032, "RepetitionTime": 4.5, "InversionTime": 0.21,
            "MisregistrationShiftMm": [round(value, 3) for value in second.shift_mm],
            "MisregistrationTurnDegrees": round(second.turn_deg, 3),
        }  # fmt: skip
        _write_json(root / name / "anat" / f"{name}_acq-fatsat_T2w.json", metadata)
        folder, content = f"derivatives/resampled/{name}/anat", "fat-suppressed on the T2 grid"
        volume(folder, "acq-fatsat_space-T2w_T2w", second.on_t2.astype(np.uint16), content)


def _write_tables(spec: CohortSpec, root: Path, rows: list[Participant]) -> None:
    _write_description(root, f"SYNTHETIC thigh MR neurography phantom: {spec.name}", "raw")
    for source in ("truth", *(f"rater-{rater.name}" for rater in RATERS)):
        _write_description(root / "derivatives" / source, f"SYNTHETIC nerve masks: {source}", "derivative")
    (root / "derivatives" / "truth" / ".bidsignore").write_text("*_slices.*\n", encoding="utf-8")  # no name of BIDS
    if spec.fat_suppressed_mm is not None and not spec.raters_only:
        name = "SYNTHETIC fat-suppressed images on the T2 grid"
        _write_description(root / "derivatives" / "resampled", name, "derivative")
        about = {"SpatialReference": "T2w image of the subject", "SkullStripped": False}
        _write_json(root / "derivatives" / "resampled" / "acq-fatsat_space-T2w_T2w.json", about)
    if not spec.raters_only:
        for rater in RATERS:
            _write_labels(root / "derivatives" / f"rater-{rater.name}", "nerves", NERVES)
        for kind, labels in (("branches", BRANCHES), ("nerves", NERVES), ("structures", STRUCTURES)):
            _write_labels(root / "derivatives" / "truth", kind, labels)
    columns = ["cohort", "group", "side", "location", "lesion"]
    table = [
        {"participant_id": f"sub-{row.id}"}
        | {column: getattr(row, column) for column in columns}
        | {"repeat_of": f"sub-{row.repeat_of}" if row.repeat_of else "n/a"}
        | {f"minutes_{rater}": minutes for rater, minutes in row.minutes.items()}
        for row in rows
    ]
    pd.DataFrame(table).to_csv(root / "participants.tsv", sep="\t", index=False, float_format="%.1f")
    minutes = {"Description": "Simulated drawing time", "Units": "min"}
    _write_json(root / "participants.json", COLUMNS | {f"minutes_{rater.name}": minutes for rater in RATERS})
    (root / "README.md").write_text(README.format(name=spec.name), encoding="utf-8")


def _named(labels: dict[int, str]) -> str:
    return ", ".join(f"{value} {label}" for value, label in labels.items())


def _write_labels(folder: Path, kind: str, labels: dict[int, str]) -> None:
    """Write the table of the names of labels that BIDS asks for, for all subjects."""
    path = folder / f"desc-{kind}_dseg.tsv"
    pd.DataFrame(labels.items(), columns=["index", "name"]).to_csv(path, sep="\t", index=False)
    _write_json(path.with_suffix(".json"), {"SpatialReference": "T2w image of the subject"})


def _write_slices(path: Path, slices: tuple[SliceTruth, ...]) -> None:
    pd.DataFrame(slices).astype({"split": int}).to_csv(path, sep="\t", index=False, float_format="%.3f")
    columns = {"x, y": "voxel indices in the T2 grid", "level_mm": "above the popliteal crease", "areas": "mm2"}
    _write_json(path.with_suffix(".json"), {"Columns": columns})


def _write_description(folder: Path, name: str, kind: str) -> None:
    generated = [{"Name": "nerveseg", "Version": __version__}]
    content = {"Name": name, "BIDSVersion": "1.8.0", "DatasetType": kind, "GeneratedBy": generated}
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "dataset_description.json", content)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps({"Synthetic": True} | content, indent=2) + "\n", encoding="utf-8")
