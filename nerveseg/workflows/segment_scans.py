"""Segment the scans that a configuration names with its model, and write the table of all results."""

from dataclasses import dataclass, replace
from pathlib import Path

from nerveseg.biomarkers.norms import read_norms
from nerveseg.console import say
from nerveseg.data.inputs import resolve_inputs
from nerveseg.data.study import Subject, list_scans
from nerveseg.errors import ConfigurationError, NervesegError, RunError, StudyError
from nerveseg.files import check_writable_folder
from nerveseg.inference.ensemble import Ensemble, no_model_error, open_model
from nerveseg.scans.batch import TABLE, Outcome, segment_all, write_table
from nerveseg.scans.request import PatientInfo, ScanFiles
from nerveseg.scans.results import SUMMARY, is_result
from nerveseg.workflows.segment_config import SegmentConfig, chosen_shard


@dataclass(frozen=True)
class Plan:
    """Work of one job of `segment`."""

    model: Ensemble  # model to apply
    scans: list[ScanFiles]  # scans to segment
    folders: dict[str, Path]  # folder of the results of each scan, by its name
    missing: list[NervesegError]  # errors of the study's subjects that cannot be segmented
    table: Path | None  # file of the table with one row per scan; None for a single scan


def segment_configured_scans(config: SegmentConfig) -> None:
    """Segment the scans that the configuration names, one after the other.

    Raises:
        NervesegError: An option concerns all scans and is wrong, or scans failed.
    """
    plan = planned(config)
    for line in plan.model.lines:
        say(line)
    segmented = segment_all(plan.scans, plan.folders, plan.model, config.options, config.written)
    outcomes = [_still_there(outcome, plan.folders[outcome.name]) for outcome in segmented]
    for fault in plan.missing:
        say(f"{fault.subject}: failed; {fault}")
        outcomes.append(Outcome(f"sub-{fault.subject}", "failed", error=fault))
    if plan.table:
        write_table(plan.table, outcomes, plan.model)
    _raise_failures(outcomes)


def _still_there(outcome: Outcome, folder: Path) -> Outcome:
    """Return a failure for results that were removed while other scans were segmented."""
    if outcome.summary is None or all((folder / name).is_file() for name in (SUMMARY, outcome.summary.mask)):
        return outcome
    fault = RunError(
        "results stay while a command runs", found="no mask or summary", path=folder, remedy="run it again"
    )
    return Outcome(outcome.name, "failed", error=fault)


def planned(config: SegmentConfig) -> Plan:
    """Return the work that a configuration describes, checked as far as possible before anything is computed.

    Raises:
        NervesegError: An option that concerns all scans is wrong.
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
    if config.norms:
        read_norms(config.norms)
    model = open_model(config.model, config.plugins)
    scans, missing = _scans(config, model)
    _check_names(scans, config)
    folders = {scan.name: config.results_root / scan.name for scan in scans}
    if len(scans) == 1 and config.input is not None and shard is None and config.output is not None:
        folders = {scans[0].name: Path(config.output)}
    for folder in {folder.parent for folder in folders.values()} | set(folders.values()):
        check_writable_folder(folder, "output")
    table = config.results_root / TABLE if len(scans) + len(missing) > 1 else None
    if shard:
        scans = [scan for scan in scans if shard.holds(scan.image.as_posix())]
        missing = [fault for fault in missing if shard.holds(str(fault.subject))]
        table = shard.table(config.results_root)
    return Plan(model, scans, folders, missing, table)


def _scans(config: SegmentConfig, model: Ensemble) -> tuple[list[ScanFiles], list[NervesegError]]:
    """Return the scans to segment, and the errors of a study's subjects that cannot be segmented."""
    if config.input is not None:
        found = [scan for scan in resolve_inputs(config.input) if not is_result(scan.path)]
        if not found:
            raise ConfigurationError(
                "an input is a scan, not one of the results",
                found=config.input,
                remedy="give the scan from which the result was made",
            )
        return [config.files(scan.name, scan.path, config.person) for scan in found], []
    assert config.study is not None
    subjects, faults = list_scans(config.study.layout)
    missing = [fault for fault in faults if fault.subject is not None]
    if len(missing) < len(faults) or not subjects:
        raise faults[0]
    return [_scan_of(subject, config, model) for subject in subjects], missing


def _scan_of(subject: Subject, config: SegmentConfig, model: Ensemble) -> ScanFiles:
    """Return the files of a study's subject; side and location are those of its table unless the command gives them."""
    listed = {"side": subject.side, "location": subject.location}
    listed = {key: value for key, value in listed.items() if value in _VALUES[key]}
    given = config.person.model_dump(exclude_none=True)
    image = subject.images.get(model.description.channels[0], subject.image)
    further = {name: path for name, path in subject.images.items() if path != image}
    files = config.files(subject.id, image, PatientInfo.model_validate(listed | given))
    return replace(files, name=f"sub-{subject.id}", channels=further | dict(files.channels))


_VALUES: dict[str, tuple[str, ...]] = {"side": ("left", "right"), "location": ("proximal", "medial", "distal")}


def _check_names(scans: list[ScanFiles], config: SegmentConfig) -> None:
    """Raise `ConfigurationError` if several scans would share one further file, which belongs to one of them."""
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


def _raise_failures(outcomes: list[Outcome]) -> None:
    failed = [outcome.name for outcome in outcomes if outcome.error]
    if failed and len(outcomes) > 1:
        raise StudyError(
            "every scan is segmented",
            found=f"{len(failed)} of {len(outcomes)} failed: {', '.join(failed[:10])}",
            remedy="see the lines above; the same command segments only the missing scans",
        )
    if failed and outcomes[0].error:
        raise outcomes[0].error
