"""Results of scans of a BIDS dataset as BIDS derivatives, and the table of all of them.

The folder of derivatives holds, by the names of BIDS 1.10 (the entities of the image stand first):

    dataset_description.json, README.md, .bidsignore
    sub-01/[ses-1/]anat/sub-01_space-orig_label-nerve_mask      mask of the nerve, .nii.gz and .json
                        ..._space-orig_label-lesion_mask        lesion, where one was looked for, likewise
                        ..._space-orig_seg-branches_dseg        sides and branches, likewise and .tsv with names
                        ..._space-orig_seg-classes_dseg         of a model of several classes its label map, likewise
    nerveseg/sub-01[_ses-1]/                                    results as of `segment`, no part of BIDS
    segmentations.csv, segmentations.html                       by the group level: table and page of all scans
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nerveseg import __version__
from nerveseg.data.template_fields import PARTICIPANT, matching_files, scan_id
from nerveseg.errors import ConfigurationError, RunError, StudyError
from nerveseg.files import atomic_write, check_writable_folder, write_text
from nerveseg.notices import NOTICE
from nerveseg.scans.batch import Outcome
from nerveseg.scans.batch_page import PAGE, write_batch
from nerveseg.scans.batch_table import TABLE, print_table
from nerveseg.scans.results import ScanSummary, primary_mask, read_summary
from nerveseg.scans.verdicts import FILE, collect_verdicts

RESULTS = "nerveseg"  # folder of the results, as `segment` writes them
BIDS_VERSION = "1.10.0"
DESCRIPTION = "dataset_description.json"
IGNORED = "\n".join([RESULTS, TABLE, PAGE, FILE, ""])  # content of `.bidsignore`
NERVE_MASK, LESION_MASK = "label-nerve_mask", "label-lesion_mask"
BRANCH_MAP, CLASS_MAP = "seg-branches_dseg", "seg-classes_dseg"
DESCRIBED = {
    NERVE_MASK: "Mask of the peripheral nerve",
    LESION_MASK: "Mask of the part of the nerve that is brighter than healthy nerves in a fat-suppressed image",
    BRANCH_MAP: "Sciatic, tibial and peroneal nerve of each side, without pieces away from the nerve",
    CLASS_MAP: "Classes of the model",
}
"""Description of each kind of file."""

KINDS = ("branches", "lesion")  # names of the files of results that have that of the mask otherwise
ANY_IMAGE = re.compile(
    r"(?:(?P<ses>ses)-[^_/]+/)?anat/sub-[^_/]+(?P<entities>(?:_[a-z]+-[^_/]+)*)_T2w(?P<end>\.nii(?:\.gz)?)"
)


def check_dataset(bids_dir: Path, skip: bool) -> None:
    """Raise `StudyError` unless a folder is a BIDS dataset; `skip` accepts one without a description."""
    if not bids_dir.is_dir():
        raise StudyError("the BIDS dataset is a folder", found="no such folder", path=bids_dir, remedy="correct it")
    if skip:
        return
    try:
        content = json.loads((bids_dir / DESCRIPTION).read_text(encoding="utf-8"))
        missing = [name for name in ("Name", "BIDSVersion") if not (isinstance(content, dict) and content.get(name))]
        found = f"no {', '.join(missing)} in it" if missing else ""
    except (OSError, ValueError) as error:
        found = type(error).__name__
    if found:
        raise StudyError(
            f"a BIDS dataset has {DESCRIPTION} with Name and BIDSVersion",
            found=found,
            path=bids_dir / DESCRIPTION,
            remedy="mend it, or --skip-bids-validation",
        )


def image_templates(bids_dir: Path, given: Sequence[str]) -> dict[str, str]:
    """Return the path template of each image: those that are given as NAME=TEMPLATE, else that of the T2w images.

    Raises:
        ConfigurationError: What is given is no template.
        StudyError: The dataset has no T2w images without other entities than session and run, or with and without.
    """
    if given:
        templates = dict(each.partition("=")[::2] for each in given)
        wrong = [name or template for name, template in templates.items() if not name.isidentifier() or not template]
        if wrong:
            rule, remedy = "--image is NAME=TEMPLATE", "--image T2='sub-{id}/anat/sub-{id}_T2w.nii.gz'"
            raise ConfigurationError(rule, found=wrong[0], remedy=remedy)
        return templates
    found: dict[str, int] = {}
    for path in sorted(bids_dir.glob("sub-*/**/anat/*_T2w.nii*")):
        match = ANY_IMAGE.fullmatch(path.relative_to(bids_dir).as_posix().split("/", 1)[1])
        if match:
            template = _template(match["ses"], match["entities"], match["end"])
            found[template] = found.get(template, 0) + 1
    plain = [template for template in found if not re.search(r"_(?!ses-|run-)[a-z]+-", template)]
    if len(plain) == 1:
        return {"T2": plain[0]}
    raise StudyError(
        "the images of a dataset have one name, but for participant, session and run",
        found="; ".join(f"{count} of {template}" for template, count in found.items()) or "no sub-*/anat/*_T2w.nii.gz",
        path=bids_dir,
        remedy="choose with --image T2=<template>",
    )


def _template(session: str | None, entities: str, end: str) -> str:
    named = re.sub(r"_(ses|run)-[^_/]+", r"_\1-{\1}", entities)
    folder = "sub-{id}/ses-{ses}/anat" if session else "sub-{id}/anat"
    return f"{folder}/sub-{{id}}{named}_T2w{end}"


def check_output(bids_dir: Path, output_dir: Path) -> None:
    """Check that a folder can be one of derivatives of nerveseg.

    Raises:
        ConfigurationError: The folder cannot be written to.
        RunError: The folder is the dataset itself, or another one.
    """
    check_writable_folder(output_dir, "output_dir")
    description = output_dir / DESCRIPTION
    is_raw = output_dir.resolve() == bids_dir.resolve()
    if is_raw or (description.is_file() and not _is_ours(description)):
        raise RunError(
            "derivatives of nerveseg have a folder of their own",
            found="the dataset itself" if is_raw else "another dataset",
            path=output_dir,
            remedy="give another output_dir, such as <bids_dir>/derivatives/nerveseg",
        )


def _is_ours(description: Path) -> bool:
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        return bool(content["GeneratedBy"][0]["Name"] == "nerveseg")
    except (OSError, ValueError, LookupError, TypeError):
        return False


def export_derivatives(
    bids_dir: Path, output_dir: Path, template: str, participants: Sequence[str] = (), sessions: Sequence[str] = ()
) -> list[Outcome]:
    """Write the finished results of a dataset's images as derivatives; return them as outcomes.

    Args:
        bids_dir: Folder of the dataset.
        output_dir: Folder of the derivatives.
        template: Path template of the images that were segmented.
        participants: Participants whose results are written; none given stands for all.
        sessions: Sessions likewise.
    """
    outcomes, warnings = [], set()
    for image, values in matching_files(bids_dir, template)[0].items():
        participant, fields = values[PARTICIPANT], {name: each for name, each in values.items() if name != PARTICIPANT}
        name = f"sub-{scan_id(participant, fields)}"
        summary = read_summary(output_dir / RESULTS / name)
        if summary is None:
            continue
        warnings |= {summary.warning} - {""}
        if (participants and participant not in participants) or (sessions and fields.get("ses") not in sessions):
            continue
        _export(output_dir / RESULTS / name, summary, image, output_dir)
        outcomes.append(Outcome(name, "done before", summary))
    if outcomes:
        _write_description(bids_dir, output_dir, sorted(warnings))
    return outcomes


def _write_description(bids_dir: Path, output_dir: Path, warnings: Sequence[str]) -> None:
    link = quote(os.path.relpath(bids_dir, output_dir).replace(os.sep, "/"))
    content = {
        "Name": ": ".join(["nerveseg", *warnings, "masks of peripheral nerves"]),
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "nerveseg", "Version": __version__, "Description": NOTICE}],
        "DatasetLinks": {"raw": link},
    }
    _write_json(output_dir / DESCRIPTION, content)
    lines = ["# Masks of peripheral nerves by nerveseg", *warnings, NOTICE, f"Results of each scan: {RESULTS}/"]
    write_text(output_dir / "README.md", "\n\n".join(lines) + "\n")
    write_text(output_dir / ".bidsignore", IGNORED)


def _export(folder: Path, summary: ScanSummary, image: str, output_dir: Path) -> None:
    """Write the files of one scan; what an earlier result had and this one has not goes."""
    start = output_dir / image.rpartition("_")[0]
    nerve, is_person = summary.mask, summary.given is not None
    origin = {
        "Sources": [f"bids:raw:{image}"],
        "SpatialReference": "orig",
        "Manual": is_person,
        "Model": summary.model.name if summary.model else "n/a",
        "ModelSHA256": summary.model.sha256 if summary.model else "n/a",
        "Grade": summary.grade.in_words() if summary.grade else "n/a",
        "Notice": f"{summary.warning}. {NOTICE}" if summary.warning else NOTICE,
    }
    labels, branches, lesion = primary_mask(summary.masks), *(nerve.replace("mask", kind, 1) for kind in KINDS)
    described = {name: origin | {"Description": words} for name, words in DESCRIBED.items()}
    _write_mask(folder / nerve, start, NERVE_MASK, described[NERVE_MASK] | {"Type": "ROI"})
    _write_mask(folder / lesion, start, LESION_MASK, described[LESION_MASK] | {"Type": "Lesion"})
    _write_mask(folder / branches, start, BRANCH_MAP, described[BRANCH_MAP])
    _write_labels(start, BRANCH_MAP, _branch_rows(folder / "branches.ctbl"))
    _write_mask(folder / labels if labels != nerve else None, start, CLASS_MAP, described[CLASS_MAP])
    smallest: dict[int, str] = {}  # name of the smallest class that holds each value; larger ones come first
    for name, values in sorted(summary.classes.items(), key=lambda each: -len(each[1])):
        smallest |= dict.fromkeys(values, name)
    _write_labels(start, CLASS_MAP, [(value, smallest[value], "") for value in sorted(smallest)])


def _write_mask(source: Path | None, start: Path, kind: str, sidecar: Mapping[str, Any]) -> None:
    target = start.with_name(f"{start.name}_space-orig_{kind}.nii.gz")
    described = target.with_name(target.name.removesuffix(".nii.gz") + ".json")
    if source is None or not source.is_file():
        target.unlink(missing_ok=True)
        described.unlink(missing_ok=True)
        return
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
    _write_json(described, sidecar)


def _write_labels(start: Path, kind: str, rows: Iterable[tuple[int, str, str]]) -> None:
    """Write the table of the names and colours of a label map; none without rows."""
    path = start.with_name(f"{start.name}_space-orig_{kind}.tsv")
    lines = ["\t".join((str(value), name, colour or "n/a")) for value, name, colour in rows]
    if lines:
        write_text(path, "\n".join(["index\tname\tcolor", *lines, ""]))
    else:
        path.unlink(missing_ok=True)


def _branch_rows(table: Path) -> list[tuple[int, str, str]]:
    """Return value, name and colour of the labels in a colour table of 3D Slicer."""
    rows = [line.split() for line in table.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [
        (int(value), name, "#{:02x}{:02x}{:02x}".format(*map(int, colour[:3])))
        for value, name, *colour in rows
        if value != "0"
    ]


def join_results(output_dir: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the table and the page of all results; raise `RunError` if there are none."""
    if not outcomes:
        remedy = "run the participant level first, with the same output_dir and --image"
        raise RunError("the group level joins results", found="none", path=output_dir / RESULTS, remedy=remedy)
    warning = next((each.summary.warning for each in outcomes if each.summary and each.summary.warning), "")
    folders = {outcome.name: output_dir / RESULTS / outcome.name for outcome in outcomes}
    write_batch(output_dir, outcomes, folders, collect_verdicts(output_dir, None, set(folders)), warning)
    print_table(output_dir / TABLE, outcomes, warning)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
