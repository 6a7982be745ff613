"""The `segment` command: which scans the configuration names, the model for them, and the table at the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerveseg.biomarkers.norms import read_norms
from nerveseg.console import say
from nerveseg.data.inputs import resolve_inputs
from nerveseg.data.study import Subject, list_scans
from nerveseg.errors import ConfigurationError, NervesegError, StudyError
from nerveseg.files import check_writable_folder
from nerveseg.inference.ensemble import Ensemble, no_model_error, open_model
from nerveseg.scans.batch import TABLE, Outcome, segment_all, write_table
from nerveseg.scans.request import PatientInfo, ScanFiles, SegmentOptions
from nerveseg.scans.results import ResultOptions, is_result
from nerveseg.workflows.segment_config import SegmentConfig
from nerveseg.workflows.shards import chosen_shard


@dataclass(frozen=True)
class Plan:
    """What a job of `segment` does.

    Attributes:
        model: What is applied.
        scans: What it is applied to.
        folders: Where the results of each scan go, by its name.
        missing: Why subjects of a study cannot be segmented.
        table: One row per scan; None for a single scan.
        options: How scans are segmented.
        written: Which files.
    """

    model: Ensemble
    scans: list[ScanFiles]
    folders: dict[str, Path]
    missing: list[NervesegError]
    table: Path | None
    options: SegmentOptions
    written: ResultOptions


def segment_configured_scans(config: SegmentConfig) -> None:
    """Segment what the configuration names, one scan after the other.

    Raises:
        NervesegError: A mistake that concerns all scans, or the number of those that failed.
    """
    plan = planned(config)
    for line in plan.model.lines:
        say(line)
    outcomes = segment_all(plan.scans, plan.folders, plan.model, plan.options, plan.written)
    for fault in plan.missing:
        say(f"{fault.subject}: failed; {fault}")
        outcomes.append(Outcome(f"sub-{fault.subject}", "failed", error=fault))
    if plan.table:
        write_table(plan.table, outcomes, plan.model)
    _raise_failures(outcomes)


def planned(config: SegmentConfig) -> Plan:
    """What the configuration asks for, checked as far as that is possible before anything is computed.

    Raises:
        NervesegError: A mistake that concerns all scans.
    """
    if (config.input is None) == (config.study is None):
        raise ConfigurationError(
            "segment takes a scan, a pattern of scans, or study=",
            found="neither" if config.input is None else "both",
            remedy="python -m nerveseg.segment scan.nii.gz model=outputs/demo output=out",
        )
    if config.output == "":
        raise ConfigurationError("output names a folder", found="nothing", remedy="output=out")
    shard = chosen_shard(config)
    if config.model is None:
        raise no_model_error(config.output_root)
    options = config.options
    if options.norms:
        read_norms(options.norms)
    model = open_model(config.model, config.plugins)
    scans, missing = _scans(config, model)
    _check_names(scans, config)
    alone = len(scans) == 1 and config.input is not None and shard is None
    folders = _folders(scans, config, alone)
    for folder in {folder.parent for folder in folders.values()} | set(folders.values()):
        check_writable_folder(folder, "output")
    table = config.results_root / TABLE if len(scans) + len(missing) > 1 else None
    if shard:
        scans = [scan for scan in scans if shard.holds(scan.image.as_posix())]
        missing = [fault for fault in missing if shard.holds(str(fault.subject))]
        table = shard.table(config.results_root)
    return Plan(model, scans, folders, missing, table, options, config.written)


def _scans(config: SegmentConfig, model: Ensemble) -> tuple[list[ScanFiles], list[NervesegError]]:
    """What is to be segmented, and the subjects of a study that cannot be."""
    if config.input is not None:
        found = [scan for scan in resolve_inputs(config.input) if not is_result(scan.path)]
        if not found:
            raise ConfigurationError(
                "an input is a scan, not one of the results",
                found=config.input,
                remedy="give the scan that it was made of",
            )
        return [config.files(scan.name, scan.path, config.person) for scan in found], []
    assert config.study is not None
    subjects, faults = list_scans(config.study.layout)
    missing = [fault for fault in faults if fault.subject is not None]
    if len(missing) < len(faults) or not subjects:
        raise faults[0]
    return [_scan_of(subject, config, model) for subject in subjects], missing


def _scan_of(subject: Subject, config: SegmentConfig, model: Ensemble) -> ScanFiles:
    """A study's subject: what its table says of side and location counts, unless the command says otherwise."""
    known = {"side": subject.side, "location": subject.location}
    known = {key: value for key, value in known.items() if value in _VALUES[key]}
    given = config.person.model_dump(exclude_none=True)
    files = config.files(subject.id, subject.image, PatientInfo.model_validate(known | given))
    first = model.description.channels[0]
    image = subject.images.get(first, subject.image)
    further = {name: path for name, path in subject.images.items() if path != image}
    return ScanFiles(
        f"sub-{subject.id}", image, files.series, further | dict(files.channels), files.maps, files.muscle, files.person
    )


_VALUES: dict[str, tuple[str, ...]] = {"side": ("left", "right"), "location": ("proximal", "medial", "distal")}


def _check_names(scans: list[ScanFiles], config: SegmentConfig) -> None:
    """Several scans with one further file would be measured in another's image."""
    given: dict[str, str | None] = {f"images.{key}": value for key, value in config.images.items()}
    given |= {f"maps.{key}": value for key, value in config.maps.items()} | {"muscle": config.muscle}
    if len(scans) > 1:
        for key, value in given.items():
            if value is not None and "{id}" not in value:
                raise ConfigurationError(
                    "with several scans, the path of a further file holds {id}, the scan's name",
                    found=f"{key}={value}",
                    remedy=f"{key}='scans/{{id}}_{key.split('.')[-1]}.nii.gz'",
                )


def _folders(scans: list[ScanFiles], config: SegmentConfig, alone: bool) -> dict[str, Path]:
    """Where each scan's results go: one scan into output itself, several into folders below it."""
    if config.output is not None and alone:
        return {scans[0].name: Path(config.output)}
    return {scan.name: config.results_root / scan.name for scan in scans}


def _raise_failures(outcomes: list[Outcome]) -> None:
    failed = [outcome.name for outcome in outcomes if outcome.error]
    if failed and len(outcomes) > 1:
        raise StudyError(
            "every scan is segmented",
            found=f"{len(failed)} of {len(outcomes)} failed: {', '.join(failed[:10])}",
            remedy="see the lines above; the same command does only what is missing",
        )
    if failed and outcomes[0].error:
        raise outcomes[0].error
