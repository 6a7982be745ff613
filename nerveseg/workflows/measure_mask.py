"""Measure the mask that a configuration names: of a scan, or of the results of `segment` after a correction."""

import hashlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from nerveseg import __version__
from nerveseg.data.classes import Classes
from nerveseg.data.inputs import resolve_inputs
from nerveseg.errors import ConfigurationError, RunError, VolumeError
from nerveseg.files import check_writable_folder, file_sha256, writing_below
from nerveseg.scans.batch import Outcome, print_outcome
from nerveseg.scans.given import GivenFiles, classes_of_segment, measure_given
from nerveseg.scans.identity import Identity, options_sha256
from nerveseg.scans.reading import input_sha256
from nerveseg.scans.request import RENAME, ScanFiles, SegmentOptions, check_names
from nerveseg.scans.results import (
    SUMMARY,
    ScanSummary,
    changed_masks,
    check_free,
    is_result,
    primary_mask,
    read_summary,
)
from nerveseg.workflows.segment_config import MeasureConfig

IMAGE = "image"  # name of the image of a scan without a study
OF_RESULT = ("input", "mask", "output", "output_root", "review")  # options that stand beside a folder of results
USAGE = "python -m nerveseg.measure scan.nii.gz mask=corrected.nii.gz output=out"


@dataclass(frozen=True)
class Task:
    """Mask to measure, and where its results go."""

    files: ScanFiles
    mask: GivenFiles
    channel: str
    options: SegmentOptions
    per_class: bool
    folder: Path  # folder of the results
    identity: Identity
    earlier: ScanSummary | None = None  # result in that folder, of which the mask was corrected
    synthetic: bool = False
    done: ScanSummary | None = None  # summary, if the mask was measured before


def measure_configured_mask(config: MeasureConfig, overrides: Sequence[str]) -> None:
    """Measure the mask that the configuration names, and print the result.

    Args:
        config: Configuration of `measure`.
        overrides: Options as they were typed: beside a folder of results, only some are possible.

    Raises:
        NervesegError: An option is wrong, a file cannot be read, or a mask does not fit its scan.
    """
    started = time.perf_counter()
    if config.input is None:
        raise ConfigurationError("measure takes a scan, or a folder of results", found="neither", remedy=USAGE)
    source = Path(config.input).expanduser()
    if config.review is not None:
        raise ConfigurationError(
            "review= goes with a folder of the folders of results",
            found=config.input,
            remedy=f"python -m nerveseg.measure <that folder> review={config.review}",
        )
    task = task_of_result(source, config, overrides) if (source / SUMMARY).is_file() else _of_scan(config)
    outcome = measured_task(task, started)
    print_outcome(outcome, task.files.name, time.perf_counter() - started, task.folder)


def measured_task(task: Task, started: float) -> Outcome:
    """Measure the mask of a task, unless that was done before; `started` is in s of `time.perf_counter`."""
    if task.done is not None:
        return Outcome(task.files.name, "done before", task.done)
    from nerveseg.scans.writing import write_given  # imports matplotlib

    check_writable_folder(task.folder, "output")
    with writing_below(task.folder):
        measured = measure_given(
            task.files, task.mask, task.channel, task.options, task.earlier, synthetic=task.synthetic
        )
        summary = write_given(task.folder, measured, task.identity, task.per_class, started)
    return Outcome(task.files.name, "done", summary)


def _of_scan(config: MeasureConfig) -> Task:
    """Return the task of a scan and a mask."""
    assert config.input is not None
    scans = [scan for scan in resolve_inputs(config.input) if not is_result(scan.path)]
    if len(scans) != 1 or config.mask is None:
        found = f"{len(scans)} scans" if len(scans) != 1 else "no mask="
        raise ConfigurationError("measure takes one scan and its mask", found=found, remedy=USAGE)
    if config.study and config.segment is not None:
        raise ConfigurationError(
            "the nerve's labels are those of study= or of segment=", found="both", remedy="leave one of them out"
        )
    files = config.files(scans[0].name, scans[0].path, config.person)
    path = Path(config.mask)
    classes = Classes.of(config.study.classes if config.study else None)
    classes = classes if config.segment is None else classes_of_segment(path, config.segment)
    named = config.segment if isinstance(config.segment, str) else None
    mask = GivenFiles(path, Path(config.automatic) if config.automatic else None, classes, segment=named)
    channel = config.channel or (next(iter(config.study.images)) if config.study else IMAGE)
    folder = config.output or config.output_root / "measurements" / files.name
    return _new_task(files, mask, channel, config.options, config.per_class, folder)


def _new_task(
    files: ScanFiles,
    mask: GivenFiles,
    channel: str,
    options: SegmentOptions,
    per_class: bool,
    folder: Path,
    synthetic: bool = False,
) -> Task:
    """Return the task of a folder of its own."""
    check_names(channel, files, f"channel=<another name>, {RENAME}")
    further = {"mask": mask.mask, "automatic": mask.automatic, "norms": options.norms}
    hashes = {role: _sha256(path) for role, path in further.items() if path}
    rules = f"{options_sha256(options, files.person)} {channel} {per_class} {mask.classes}"
    identity = Identity(
        inputs=input_sha256(files) | hashes,
        model="",
        options=hashlib.sha256(rules.encode()).hexdigest(),
        version=__version__,
    )
    done = check_free(folder, identity, by_hand=True)
    return Task(files, mask, channel, options, per_class, folder, identity, None, synthetic, done)


def check_options(overrides: Sequence[str], possible: Collection[str], rule: str, path: Path, instead: str) -> None:
    """Raise `ConfigurationError` by the rule if options were typed that are not possible with the path."""
    names = [word.lstrip("+~").partition("=")[0] for word in overrides]
    if surplus := [name for name in names if name not in possible]:
        raise ConfigurationError(rule, found=", ".join(surplus), path=path, remedy=f"leave them out, or {instead}")


def task_of_result(source: Path, config: MeasureConfig, overrides: Sequence[str]) -> Task:
    """Return the task of a folder of results whose mask was corrected, there or in another file."""
    rule = "a folder of results is measured with the options of its summary"
    check_options(overrides, OF_RESULT, rule, source, f"give the scan: {USAGE}")
    summary = read_summary(source)
    request = summary.request if summary else None
    if summary is None or request is None:
        raise RunError(
            "the summary of a result names its scan",
            found="a summary that cannot be read" if summary is None else "an image in memory, or an earlier version",
            path=source / SUMMARY,
            remedy=f"give the scan: python -m nerveseg.measure <scan> mask={source}/<mask> output=<another folder>",
        )
    files = request.scan_files(summary.name)
    _check_unchanged(files, request.options.norms, summary)
    drawn, changed = primary_mask(summary.masks), changed_masks(source, summary)
    path = Path(config.mask) if config.mask else source / drawn
    elsewhere = None if config.output is None or config.output.resolve() == source.resolve() else config.output
    _check_correction(source, drawn, path, changed, summary, is_elsewhere=elsewhere is not None)
    automatic = source / summary.automatic if summary.automatic else None
    edited_there = elsewhere is None and path.resolve() == (source / drawn).resolve()
    mask = GivenFiles(path, automatic, Classes.of(summary.classes or None), edited_there)
    synthetic = bool(summary.warning)
    if elsewhere is not None:
        return _new_task(
            files, mask, request.channel, request.options, request.per_class, elsewhere, synthetic=synthetic
        )
    identity, sha256 = summary.identity, _sha256(path)
    if not identity.model:  # a result of a person's mask is that of the mask measured last
        identity = identity.model_copy(update={"inputs": identity.inputs | {"mask": sha256}})
    is_same = summary.given is not None and (config.mask is None or summary.given.sha256 == sha256)
    return Task(
        files, mask, request.channel, request.options, request.per_class, source, identity, summary, synthetic,
        done=summary if is_same and not changed else None,
    )  # fmt: skip


def _check_correction(
    source: Path, drawn: str, path: Path, changed: Sequence[str], summary: ScanSummary, is_elsewhere: bool
) -> None:
    """Raise `RunError` unless the mask to measure is a correction of the file `drawn`, there or elsewhere."""
    kind = f"{drawn.partition('.')[0]}."  # mask. or labels., in any format
    in_folder = path.resolve().parent == source.resolve()
    if in_folder and not path.name.startswith(kind) and path.name.startswith(("branches.", "mask.", "mask-")):
        raise RunError(
            f"of these results, {drawn} is corrected",
            found=f"mask={path}",
            path=source,
            remedy=f"correct {drawn}; the other masks are made of it",
        )
    others = [name for name in changed if (source / name).resolve() != path.resolve()]
    if others and not is_elsewhere:
        is_drawn = others[0].startswith(kind)
        raise RunError(
            f"of these results, {drawn} is corrected, or another file is given with mask=",
            found=f"changed: {', '.join(changed)}; mask={path}",
            path=source,
            remedy=f"mask={source / others[0]} if that is the corrected one; else move {others[0]} away"
            if is_drawn
            else f"move {others[0]} away, and correct {drawn}, of which it is made",
        )
    unedited = in_folder and path.name == drawn and not changed and summary.given is None
    if unedited:
        raise RunError(
            "a mask that is measured again was corrected",
            found=f"{drawn} as segment wrote it",
            path=source / drawn,
            remedy="correct and save it, or give the corrected one: mask=<file>",
        )


def _check_unchanged(files: ScanFiles, norms: Path | None, summary: ScanSummary) -> None:
    """Raise `VolumeError` if a file of the scan, or the table of norms, was changed since the result was made."""
    table = {"norms": norms} if norms else {}
    for role, sha256 in (input_sha256(files) | {role: _sha256(path) for role, path in table.items()}).items():
        if sha256 != summary.identity.inputs.get(role):
            raise VolumeError(
                "a result is measured again with the files that it was made from",
                found=f"{role}: another file" if sha256 else f"{role}: no such file",
                path=(files.paths | table)[role],
                remedy=f"put it back, or give the files: {USAGE}",
            )


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise VolumeError("a mask, or a table, is a file", found="no such file", path=path, remedy="correct the path")
    return file_sha256(path)
