"""Results of scans of a BIDS dataset as BIDS derivatives, and the table of all of them.

The folder of derivatives holds, by the names of BIDS 1.10 (the entities of the image stand first):

    dataset_description.json, README.md, .bidsignore
    sub-01/[ses-1/]anat/sub-01_space-orig_label-nerve_mask      mask of the nerve, .nii.gz and .json
                        ..._space-orig_label-lesion_mask        lesion, where one was looked for, likewise
                        ..._space-orig_seg-branches_dseg        sides and branches, likewise and .tsv with names
                        ..._space-orig_seg-classes_dseg         of a model of several classes its label map, likewise
    nerveseg/sub-01[_ses-1]/                                    results as of `segment`, no part of BIDS
    segmentations.csv, segmentations.html                       by the group level: table and page of all scans

`nerveseg/.derivatives/` holds the hashes of the files of each scan as nerveseg wrote them. A file with another hash is
a person's: it is moved to `replaced-<number>` beside the results of its scan before another takes its place.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nerveseg.console import say
from nerveseg.data.template_fields import PARTICIPANT, matching_files, scan_id
from nerveseg.errors import RunError
from nerveseg.files import atomic_write, check_below_output, file_sha256, write_text, writing_below
from nerveseg.notices import NOTICE
from nerveseg.scans.batch import Outcome
from nerveseg.scans.batch_page import write_batch
from nerveseg.scans.batch_table import TABLE, print_table, recorded_failures
from nerveseg.scans.dated_result import measured_summary
from nerveseg.scans.own_files import UNFINISHED, move_aside
from nerveseg.scans.results import SUMMARY, ScanSummary, primary_mask, read_summary
from nerveseg.scans.verdicts import collect_verdicts
from nerveseg.workflows.bids_dataset import RESULTS, describe_derivatives
from nerveseg.workflows.segment_scans import raise_failures

RECORDS = ".derivatives"  # folder, beside the results, of the hashes of each scan's derivatives
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


def export_derivatives(
    bids_dir: Path, output_dir: Path, template: str, participants: Sequence[str] = (), sessions: Sequence[str] = ()
) -> list[Outcome]:
    """Write the results of a dataset's images as derivatives; return the outcome of each scan.

    A scan without a result has failed before. One whose result is unfinished, or whose mask was corrected and not yet
    measured, fails: its derivatives stay as they are.

    Args:
        bids_dir: Folder of the dataset.
        output_dir: Folder of the derivatives.
        template: Path template of the images that were segmented.
        participants: Participants whose results are written; none given stands for all.
        sessions: Sessions likewise.

    Raises:
        RunError: A folder of derivatives leads outside the folder of all.
    """
    failed = {each.name: each for each in recorded_failures(output_dir / RESULTS)}
    images, warnings = {}, set()
    for image, values in matching_files(bids_dir, template)[0].items():
        participant, fields = values[PARTICIPANT], {name: each for name, each in values.items() if name != PARTICIPANT}
        name = f"sub-{scan_id(participant, fields)}"
        summary = read_summary(output_dir / RESULTS / name)
        warnings |= {summary.warning} - {""} if summary else set()
        if not ((participants and participant not in participants) or (sessions and fields.get("ses") not in sessions)):
            images[name] = image
    with writing_below(output_dir):
        if any((output_dir / RESULTS / name).is_dir() for name in images):
            describe_derivatives(bids_dir, output_dir, sorted(warnings))
        outcomes = [_export(name, image, output_dir, failed.get(name)) for name, image in images.items()]
    of_no_image = [] if participants or sessions else [each for name, each in failed.items() if name not in images]
    return [*outcomes, *of_no_image]


def _export(name: str, image: str, output_dir: Path, failed: Outcome | None) -> Outcome:
    """Write the derivatives of one scan, if it has a result; return its outcome."""
    folder = output_dir / RESULTS / name
    if not any((folder / each).is_file() for each in (SUMMARY, UNFINISHED)):
        return failed or Outcome(name, "failed", failed_before="no result; run the participant level")
    try:
        summary = measured_summary(folder)
    except RunError as error:
        say(f"{name}: its derivatives are not brought up to date; {error}")
        return Outcome(name, "failed", error=error)
    start = output_dir / image.rpartition("_")[0]
    _publish(start, _derivatives(folder, summary, image), output_dir / RESULTS / RECORDS / f"{name}.txt", folder)
    return Outcome(name, "done before", summary)


def _derivatives(folder: Path, summary: ScanSummary, image: str) -> dict[str, Path | str]:
    """Return what the derivatives of a scan hold, a file or a text, by the end of their names."""
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
    names = summary.masks or [*(path.name for path in sorted(folder.glob("labels.*"))), nerve]
    labels, branches, lesion = primary_mask(names), *(nerve.replace("mask", kind, 1) for kind in KINDS)
    smallest: dict[int, str] = {}  # name of the smallest class that holds each value; larger ones come first
    for name, values in sorted(summary.classes.items(), key=lambda each: -len(each[1])):
        smallest |= dict.fromkeys(values, name)
    types = {NERVE_MASK: {"Type": "ROI"}, LESION_MASK: {"Type": "Lesion"}}
    rows = {
        BRANCH_MAP: _branch_rows(folder / "branches.ctbl"),
        CLASS_MAP: [(value, smallest[value], "") for value in sorted(smallest)],
    }
    found: dict[str, Path | str] = {}
    for kind, source in {NERVE_MASK: nerve, LESION_MASK: lesion, BRANCH_MAP: branches, CLASS_MAP: labels}.items():
        if not (folder / source).is_file() or (kind == CLASS_MAP and labels == nerve):
            continue
        found[f"{kind}.nii.gz"] = folder / source
        found[f"{kind}.json"] = _json(origin | {"Description": DESCRIBED[kind]} | types.get(kind, {}))
        if rows.get(kind):
            found[f"{kind}.tsv"] = _table(rows[kind])
    return found


def _publish(start: Path, contents: Mapping[str, Path | str], record: Path, folder: Path) -> None:
    """Write the derivatives of one scan, and delete those of an earlier result that it has no more.

    Args:
        start: Path of the derivatives without `_space-orig_<kind>`.
        contents: Contents by the end of the files' names.
        record: File of the hashes of what was written.
        folder: Folder of the results, to which a person's files are moved aside.
    """
    ends = [f"{kind}{end}" for kind in DESCRIBED for end in (".nii.gz", ".json", ".tsv")]
    paths = {start.with_name(f"{start.name}_space-orig_{end}"): contents.get(end) for end in ends}
    hashes = {path: _sha256(content) for path, content in paths.items() if content is not None}
    check_below_output(start)
    lines = {f"{sha256}  {path.name}" for path, sha256 in hashes.items()}
    own = {*record.read_text(encoding="utf-8").splitlines()} if record.is_file() else set()
    write_text(record, "\n".join([*sorted(own | lines), ""]))  # whatever ends this process, each file is known
    there = {path: file_sha256(path) for path in paths if path.is_file()}
    changed = {path for path, sha256 in there.items() if sha256 != hashes.get(path)}
    move_aside([path for path in paths if path in changed and f"{there[path]}  {path.name}" not in own], folder)
    for path, content in paths.items():
        if content is None:
            path.unlink(missing_ok=True)
        elif there.get(path) == hashes[path]:
            continue
        elif isinstance(content, str):
            write_text(path, content)
        else:
            with atomic_write(path) as temporary:
                shutil.copyfile(content, temporary)
    write_text(record, "\n".join([*sorted(lines), ""]))


def _sha256(content: Path | str) -> str:
    return hashlib.sha256(content.encode()).hexdigest() if isinstance(content, str) else file_sha256(content)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _table(rows: Iterable[tuple[int, str, str]]) -> str:
    """Return the table of the names and colours of a label map."""
    lines = ["\t".join((str(value), name, colour or "n/a")) for value, name, colour in rows]
    return "\n".join(["index\tname\tcolor", *lines, ""])


def _branch_rows(table: Path) -> list[tuple[int, str, str]]:
    """Return value, name and colour of the labels in a colour table of 3D Slicer; none without a table."""
    if not table.is_file():  # of earlier versions
        return []
    rows = [line.split() for line in table.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [
        (int(value), name, "#{:02x}{:02x}{:02x}".format(*map(int, colour[:3])))
        for value, name, *colour in rows
        if value != "0"
    ]


def join_results(output_dir: Path, outcomes: Sequence[Outcome], review: Path | None = None) -> None:
    """Write the table and the page of all scans, with the verdicts that the folder of the results keeps.

    Args:
        output_dir: Folder of the derivatives.
        outcomes: Outcome of each scan.
        review: Table of further verdicts to read and keep.

    Raises:
        NervesegError: There are no results, the verdicts cannot be read, or the result of a scan is unfinished or not
            measured.
    """
    if not any(outcome.summary or outcome.error for outcome in outcomes):
        remedy = "run the participant level first, with the same output_dir and --image"
        raise RunError("the group level joins results", found="none", path=output_dir / RESULTS, remedy=remedy)
    warning = next((each.summary.warning for each in outcomes if each.summary and each.summary.warning), "")
    folders = {outcome.name: output_dir / RESULTS / outcome.name for outcome in outcomes}
    summaries = {outcome.name: outcome.summary for outcome in outcomes if outcome.summary}
    verdicts = collect_verdicts(output_dir / RESULTS, review, set(folders), summaries)
    with writing_below(output_dir):
        write_batch(output_dir, outcomes, folders, verdicts, warning, keep=output_dir / RESULTS)
    print_table(output_dir / TABLE, outcomes, warning)
    raise_failures(list(outcomes), "joined")
