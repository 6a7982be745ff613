"""Segment the scans that a configuration names, in one job or one for each shard, with a table of all results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from nerveseg.biomarkers.norms import read_norms
from nerveseg.console import say
from nerveseg.data.inputs import resolve_inputs
from nerveseg.data.participants import BOTH, WORDS
from nerveseg.data.study import Subject
from nerveseg.data.volumes.guard import check_regular_file
from nerveseg.data.volumes.volume import is_dicom_scan
from nerveseg.errors import ConfigurationError, NervesegError, RunError, StudyError
from nerveseg.files import check_writable_folder, wait_for_lock, writing_below
from nerveseg.inference.model_folder import check_model_folder, default_model, packaged_models
from nerveseg.scans.batch import Outcome, segment_all
from nerveseg.scans.batch_page import write_batch
from nerveseg.scans.batch_table import TABLE, print_table, write_table
from nerveseg.scans.request import PatientInfo, ScanFiles
from nerveseg.scans.results import SUMMARY, is_result, read_summary
from nerveseg.scans.verdicts import Verdicts, collect_verdicts
from nerveseg.workflows.failures import is_worker_death, read_failure, record_failure, run_catching
from nerveseg.workflows.job import Job
from nerveseg.workflows.scans_of_study import StudyScans, scans_of_study, with_earlier
from nerveseg.workflows.segment_config import SHARDS, SegmentConfig, Shard, chosen_shard

if TYPE_CHECKING:
    from nerveseg.inference.ensemble import Ensemble

LOCK = ".collecting"  # name of the lock file in the folder of the shards' tables


@dataclass(frozen=True)
class Plan:
    """Work of one job of `segment`."""

    model: Ensemble  # model to apply
    scans: list[ScanFiles]  # scans to segment
    folders: dict[str, Path]  # folder of the results of each scan, by its name
    missing: list[NervesegError]  # errors of the study's subjects that cannot be segmented
    names: list[str]  # names of all scans, also of those of a study that are not chosen
    verdicts: Verdicts  # verdicts of a reviewer
    is_batch: bool  # flag: true of several scans, of which table and page are written


def segment_configured_scans(config: SegmentConfig) -> None:
    """Segment the scans that the configuration names; raise `NervesegError` if an option is wrong or scans failed."""
    plan = planned(config)
    for line in plan.model.lines:
        say(line)
    with writing_below(config.results_root):
        segmented = segment_all(plan.scans, plan.folders, plan.model, config.options, config.written)
    outcomes = [_still_there(outcome, plan.folders[outcome.name]) for outcome in segmented]
    for fault in plan.missing:
        say(f"{fault.subject}: failed; {fault}")
        outcomes.append(Outcome(f"sub-{fault.subject}", "failed", error=fault))
    shard, root = chosen_shard(config), config.results_root
    with writing_below(root):
        if shard:
            write_table(shard.table(root), outcomes, plan.verdicts, plan.model.warning)
            print_table(shard.table(root), outcomes, plan.model.warning)
        elif plan.is_batch:
            everyone = with_earlier(root, outcomes, plan.names, config)
            folders = {name: root / name for name in plan.names} | plan.folders
            write_batch(root, everyone, folders, plan.verdicts, plan.model.warning)
            print_table(root / TABLE, outcomes, plan.model.warning)
    raise_failures(outcomes, "segmented")


def _still_there(outcome: Outcome, folder: Path) -> Outcome:
    """Return a failure for results that were removed while other scans were segmented."""
    if outcome.summary is None or all((folder / name).is_file() for name in (SUMMARY, outcome.summary.mask)):
        return outcome
    fault = RunError(
        "results stay while a command runs", found="no mask or summary", path=folder, remedy="run it again"
    )
    return Outcome(outcome.name, "failed", error=fault)


def planned(config: SegmentConfig) -> Plan:
    """Return the work of a configuration; raise `NervesegError` for a wrong option, before anything is computed."""
    if (config.input is None) == (config.study is None):
        raise ConfigurationError(
            "segment takes a scan, a pattern of scans, or study=",
            found="neither" if config.input is None else "both",
            remedy="python -m nerveseg.segment scan.nii.gz output=out",
        )
    shard = chosen_shard(config)
    path = config.model or default_model(config.output_root)
    if config.norms:
        read_norms(config.norms)
    check_model_folder(path)
    scans = _scans_of_input(config) if config.input is not None else []
    for file in scans[0].paths.values() if len(scans) == 1 else ():  # of several, a missing file stops only its scan
        if not is_dicom_scan(file):
            check_regular_file(file)
    study = scans_of_study(config) if config.study is not None else StudyScans()
    from nerveseg.inference.ensemble import open_model  # imports torch, which takes seconds
    from nerveseg.inference.predict import check_settings

    model = open_model(path, config.plugins)
    if path in packaged_models().values():  # also by its name, which a folder beside it may have, too
        synthetic = f", {model.warning}" if model.warning else ""
        chosen = f"the model {path.name} of nerveseg is taken{synthetic}; a first mask, to correct"
        model = replace(model, lines=(chosen, *model.lines))
    check_settings(model.description, config.options.settings(model.description.prediction))
    scans += [_scan_of(subject, config, model.description.channels[0]) for subject in study.subjects]
    _check_names(scans, config)
    folders = {scan.name: config.results_root / scan.name for scan in scans}
    if len(scans) == 1 and config.input is not None and shard is None and config.output is not None:
        folders = {scans[0].name: config.output}
    for folder in {folder.parent for folder in folders.values()} | set(folders.values()):
        check_writable_folder(folder, "output")
    names, missing = list(study.names or folders), list(study.missing)
    is_batch = len(names) > 1
    if config.review and not is_batch:
        raise ConfigurationError(
            "review= goes with several scans",
            found="one scan",
            remedy=f"python -m nerveseg.measure <folder of the folders of results> review={config.review}",
        )
    verdicts = collect_verdicts(config.results_root, config.review, names)
    if shard:
        scans = [scan for scan in scans if shard.holds(scan.image.as_posix())]
        missing = [fault for fault in missing if shard.holds(str(fault.subject))]
    return Plan(model, scans, folders, missing, names, verdicts, is_batch)


def _scans_of_input(config: SegmentConfig) -> list[ScanFiles]:
    """Return the scans that `input=` names."""
    assert config.input is not None
    if config.participants or config.sessions:
        rule, remedy = "participants= and sessions= choose among the scans of a study", "leave them out"
        raise ConfigurationError(rule, found=f"input={config.input}", remedy=remedy)
    found = [scan for scan in resolve_inputs(config.input) if not is_result(scan.path)]
    if not found:
        rule, remedy = "an input is a scan, not one of the results", "give the scan from which the result was made"
        raise ConfigurationError(rule, found=config.input, remedy=remedy)
    return [config.files(scan.name, scan.path, config.person) for scan in found]


def _scan_of(subject: Subject, config: SegmentConfig, channel: str) -> ScanFiles:
    """Return the files of a study's subject; side and location are those of its table unless the command gives them."""
    listed = {"side": subject.side, "location": subject.location}
    listed = {key: value for key, value in listed.items() if value in WORDS[key] and value != BOTH}
    given = config.person.model_dump(exclude_none=True)
    image = subject.images.get(channel, subject.image)
    further = {name: path for name, path in subject.images.items() if path != image}
    person = PatientInfo.model_validate(listed | given)
    files = config.files(subject.participant, image, person, subject.fields)
    return replace(files, name=f"sub-{subject.id}", channels=further | dict(files.channels))


def _check_names(scans: list[ScanFiles], config: SegmentConfig) -> None:
    """Raise `ConfigurationError` if several scans would share one further file, which belongs to one of them."""
    given: dict[str, str | None] = {f"images.{key}": value for key, value in config.images.items()}
    given |= {f"maps.{key}": value for key, value in config.maps.items()} | {"muscle": config.muscle}
    if len(scans) > 1:
        for key, value in given.items():
            if value is not None and len({scan.paths[key] for scan in scans}) < len(scans):
                raise ConfigurationError(
                    "with several scans, the path of a further file holds {id}, the scan's name"
                    + (", and further fields of the study's templates" if config.study else ""),
                    found=f"{key}={value}",
                    remedy=f"{key}='scans/{{id}}_{key.split('.')[-1]}.nii.gz'",
                )


def raise_failures(outcomes: list[Outcome], done: str) -> None:
    """Raise the error of a single scan, or `StudyError` if some of several failed; `done` is what every scan is."""
    failed = [outcome.name for outcome in outcomes if outcome.error]
    if failed and len(outcomes) > 1:
        raise StudyError(
            f"every scan is {done}",
            found=f"{len(failed)} of {len(outcomes)} failed: {', '.join(failed[:10])}",
            remedy="see the lines above; the same command does only the missing scans",
        )
    if failed and outcomes[0].error:
        raise outcomes[0].error


def segment_recorded(config: SegmentConfig) -> None:
    """Segment the scans that the configuration names; record the error with which a shard fails beside its table."""
    shard = chosen_shard(config)
    with record_failure(shard.failure(config.results_root)) if shard else nullcontext():
        segment_configured_scans(config)


def segment_and_collect(jobs: Sequence[Job[SegmentConfig]], run_jobs: Callable[[], None], is_sweep: bool) -> None:
    """Run the jobs of `segment`; check shards before, and collect their tables afterwards.

    Raises:
        NervesegError: An option that concerns all shards is wrong, or in a sweep a shard did not end well.
    """
    configs = [job.config for job in jobs]
    shards = [shard for shard in map(chosen_shard, configs) if shard]
    if not shards:
        run_jobs()
        return
    root = configs[0].results_root
    if any(config.results_root != root for config in configs):
        raise ConfigurationError("the shards of one archive have one output", remedy="output=<folder>")
    planned(configs[0])
    for shard in shards:
        shard.table(root).unlink(missing_ok=True)
        shard.failure(root).unlink(missing_ok=True)
    crash = run_catching(run_jobs)
    collect_if_complete(configs[0])
    if crash is not None and not is_worker_death(crash):
        raise crash
    if is_sweep:
        _raise_failed_shards(shards, root)


def collect_if_complete(config: SegmentConfig) -> None:
    """Concatenate the tables of the shards once all exist; the job that finishes last does it."""
    shard, root = chosen_shard(config), config.results_root
    if shard is None:
        return
    with wait_for_lock(root / SHARDS / LOCK):
        shards = [Shard(number, shard.of) for number in range(shard.of)]
        missing = [str(each.number) for each in shards if not each.table(root).is_file()]
        if missing:
            say(f"the table of all shards is written once shard {', '.join(missing)} is done")
            return
        parts = [pd.read_csv(each.table(root), dtype="string", keep_default_na=False) for each in shards]
        table = pd.concat(parts, ignore_index=True).drop_duplicates("scan").sort_values("scan", kind="stable")
        rows = table[["scan", "status", "error"]].to_dict("records")
        outcomes = [_of_row(root, **{str(key): str(value) for key, value in row.items()}) for row in rows]
        names = scans_of_study(config).names if config.study is not None else table["scan"].unique().tolist()
        everyone, folders = with_earlier(root, outcomes, names, config), {name: root / name for name in names}
        verdicts = collect_verdicts(root, config.review, names)
        with writing_below(root):
            write_batch(root, everyone, folders, verdicts, next(filter(None, table["warning"]), ""))
    counts = table["status"].value_counts(sort=False)
    text = ", ".join(f"{number} {status}" for status, number in counts.items()) or "no scans"
    say(f"{shard.of} shards: {text}")
    for outcome in outcomes:
        if outcome.fault:
            say(f"  {outcome.name}: {outcome.fault}")
    say(f"table: {root / TABLE}")


def _of_row(root: Path, scan: str, status: str, error: str) -> Outcome:
    """Return the outcome of a scan that a shard's table names."""
    if error:
        return Outcome(scan, "failed", failed_before=error)
    return Outcome(scan, "done" if status == "done" else "done before", read_summary(root / scan))


def _raise_failed_shards(shards: list[Shard], root: Path) -> None:
    """Print the errors of the shards that failed, and raise `RunError` if any did."""
    failed = [shard for shard in shards if not shard.table(root).is_file() or shard.failure(root).is_file()]
    for shard in failed:
        say(f"failed: shard {shard.number}: {read_failure(shard.failure(root))}")
    if failed:
        raise RunError(
            "every shard of an archive ends well",
            found=f"{len(failed)} of {len(shards)} failed: {', '.join(str(shard.number) for shard in failed)}",
            path=root,
            remedy="correct the errors in the lines above; the same command does only the missing shards",
        )
