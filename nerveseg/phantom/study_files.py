"""Files of one synthetic scan, in BIDS layout; the metadata of each states that it is SYNTHETIC.

sub-V01/anat/sub-V01_T2w.nii.gz                                 and its .json
sub-V01/anat/sub-V01_acq-fatsat_T2w.nii.gz                      the second channel on its own grid
derivatives/resampled/../sub-V01_acq-fatsat_space-T2w.nii.gz    second channel on the first one's grid
derivatives/rater-OS/../sub-V01_label-nerve_mask.nii.gz         one folder per rater
derivatives/truth/../sub-V01_label-nerve_mask.nii.gz            and branches, coverage, lesion, vastus, slices
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerveseg import __version__
from nerveseg.data.volumes.volume import write_volume
from nerveseg.phantom.fat_suppressed import FatSuppressed
from nerveseg.phantom.raters import RATERS
from nerveseg.phantom.specification import CohortSpec, Participant
from nerveseg.phantom.subject import SimulatedSubject
from nerveseg.phantom.truth import SliceTruth

DESCRIPTION = "SYNTHETIC phantom, nerveseg"


def write_subject(root: Path, subject: SimulatedSubject) -> None:
    """Write images, masks and truth of one scan below a study's root."""
    name = f"sub-{subject.participant.id}"

    def volume(folder: str, suffix: str, array: NDArray[Any], content: str, affine: Any = subject.affine) -> None:
        write_volume(root / folder / f"{name}_{suffix}.nii.gz", array, affine, f"{DESCRIPTION}, {content}")

    for rater, mask in subject.raters.items():
        volume(f"derivatives/rater-{rater}/{name}/anat", "label-nerve_mask", mask.astype(np.uint8), f"rater-{rater}")
    truth, known = f"derivatives/truth/{name}/anat", subject.known
    volume(truth, "label-nerve_mask", known.nerve.astype(np.uint8), "truth")
    if subject.images is None:
        return
    volume(truth, "label-branches_dseg", known.branches, "1 tibial, 2 peroneal")
    volume(truth, "label-nerve_probseg", known.coverage, "share of the voxel")
    volume(truth, "label-lesion_mask", known.lesion.astype(np.uint8), "lesion")
    volume(truth, "label-vastus_mask", subject.images.vastus.astype(np.uint8), "vastus")
    _write_slices(root / truth / f"{name}_slices.tsv", known.slices)
    volume(f"{name}/anat", "T2w", subject.images.t2.astype(np.uint16), "T2w")
    _write_json(root / name / "anat" / f"{name}_T2w.json", {"EchoTime": 0.082, "RepetitionTime": 4.69})
    second = subject.images.fat_suppressed
    if second is not None:
        volume(f"{name}/anat", "acq-fatsat_T2w", second.image.astype(np.uint16), "fat-suppressed", second.affine)
        _write_json(root / name / "anat" / f"{name}_acq-fatsat_T2w.json", _misregistration(second))
        volume(
            f"derivatives/resampled/{name}/anat",
            "acq-fatsat_space-T2w",
            second.on_t2.astype(np.uint16),
            "fat-suppressed on the T2 grid",
        )


def write_tables(spec: CohortSpec, root: Path, rows: list[Participant]) -> None:
    """Write participants.tsv and the descriptions of all data sets."""
    _write_description(root, f"SYNTHETIC thigh MR neurography phantom: {spec.name}", "raw")
    for source in ("truth", *(f"rater-{rater.name}" for rater in RATERS)):
        _write_description(root / "derivatives" / source, f"SYNTHETIC nerve masks: {source}", "derivative")
    if spec.fat_suppressed_mm is not None and not spec.raters_only:
        name = "SYNTHETIC fat-suppressed images on the T2 grid"
        _write_description(root / "derivatives" / "resampled", name, "derivative")
    raters = [rater.name for rater in RATERS]
    header = ["participant_id", "cohort", "group", "side", "location", "lesion", "repeat_of"]
    lines = [header + [f"minutes_{rater}" for rater in raters]]
    for row in rows:
        repeated = f"sub-{row.repeat_of}" if row.repeat_of else "n/a"
        facts = [f"sub-{row.id}", row.cohort, row.group, row.side, row.location, row.lesion, repeated]
        lines.append(facts + [f"{row.minutes[rater]:.1f}" for rater in raters])
    _write_tsv(root / "participants.tsv", lines)
    minutes = {f"minutes_{rater}": {"Description": "Simulated drawing time", "Units": "min"} for rater in raters}
    _write_json(root / "participants.json", minutes)


def _write_slices(path: Path, slices: tuple[SliceTruth, ...]) -> None:
    names = [field.name for field in fields(SliceTruth)]
    rows = [[_text(value) for value in asdict(row).values()] for row in slices]
    _write_tsv(path, [names, *rows])
    columns = {"x, y": "voxel indices in the T2 grid", "level_mm": "above the popliteal crease", "areas": "mm2"}
    _write_json(path.with_suffix(".json"), {"Columns": columns})


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(int(value)) if isinstance(value, int) else str(value)


def _misregistration(second: FatSuppressed) -> dict[str, Any]:
    shift = [round(value, 3) for value in second.shift_mm]
    return {
        "EchoTime": 0.032, "RepetitionTime": 4.5, "InversionTime": 0.21, "MisregistrationShiftMm": shift,
        "MisregistrationTurnDegrees": round(second.turn_deg, 3),
    }  # fmt: skip


def _write_description(folder: Path, name: str, kind: str) -> None:
    generated = [{"Name": "nerveseg", "Version": __version__}]
    content = {"Name": name, "BIDSVersion": "1.8.0", "DatasetType": kind, "GeneratedBy": generated}
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "dataset_description.json", content)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps({"Synthetic": True} | content, indent=2) + "\n", encoding="utf-8")


def _write_tsv(path: Path, lines: list[list[str]]) -> None:
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
