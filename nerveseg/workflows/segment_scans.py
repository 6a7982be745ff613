"""The `segment` command: which scans the configuration names, the model for them, and the table at the end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console

from nerveseg.biomarkers.norms import read_norms
from nerveseg.data.inputs import resolve_inputs
from nerveseg.data.study import Subject, list_scans
from nerveseg.errors import ConfigurationError, NervesegError, StudyError
from nerveseg.inference.ensemble import Ensemble, no_model_error, open_model
from nerveseg.launch.compose import parse_section
from nerveseg.scans.batch import TABLE, Outcome, segment_all, write_table
from nerveseg.scans.request import PatientInfo, ScanFiles, SegmentOptions
from nerveseg.scans.results import ResultOptions, is_result
from nerveseg.workflows.prepare_study import study_description
from nerveseg.workflows.shards import chosen_shard, results_root


class ScanTemplates(BaseModel):
    """The files that belong to each scan; `{id}` stands for the scan's name.

    Attributes:
        images: Further channels.
        maps: Quantitative maps.
        muscle: Mask of a muscle that the nerve does not supply.
        series: Number or UID of a DICOM series.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: dict[str, str] = Field(default_factory=dict)
    maps: dict[str, str] = Field(default_factory=dict)
    muscle: str | None = None
    series: int | str | None = None

    def files(self, name: str, image: Path, person: PatientInfo) -> ScanFiles:
        """The files of one scan."""
        return ScanFiles(
            name=name,
            image=image,
            series=None if self.series is None else str(self.series),
            channels=_named(self.images, name),
            maps=_named(self.maps, name),
            muscle=Path(self.muscle.replace("{id}", name)) if self.muscle else None,
            person=person,
        )


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


def segment_configured_scans(config: dict[str, Any], console: Console) -> None:
    """Segment what the configuration names, one scan after the other.

    Raises:
        NervesegError: A mistake that concerns all scans, or the number of those that failed.
    """
    plan = planned(config)
    for line in plan.model.lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    outcomes = segment_all(plan.scans, plan.folders, plan.model, plan.options, plan.written, console)
    for fault in plan.missing:
        console.print(f"{fault.subject}: failed; {fault}", highlight=False, soft_wrap=True, markup=False)
        outcomes.append(Outcome(f"sub-{fault.subject}", "failed", error=fault))
    if plan.table:
        write_table(plan.table, outcomes, plan.model, console)
    _raise_failures(outcomes)


def planned(config: dict[str, Any]) -> Plan:
    """What the configuration asks for, checked as far as that is possible before anything is computed.

    Raises:
        NervesegError: A mistake that concerns all scans.
    """
    if (config["input"] is None) == (config.get("study") is None):
        raise ConfigurationError(
            "segment takes a scan, a pattern of scans, or study=",
            found="neither" if config["input"] is None else "both",
            remedy="python -m nerveseg.segment scan.nii.gz model=outputs/demo output=out",
        )
    if config["output"] == "":
        raise ConfigurationError("output names a folder", found="nothing", remedy="output=out")
    shard = chosen_shard(config)
    if config["model"] is None:
        raise no_model_error(Path(config["output_root"]))
    options = parse_section(SegmentOptions, {key: config[key] for key in SegmentOptions.model_fields}, "")
    written = parse_section(ResultOptions, {key: config[key] for key in ResultOptions.model_fields}, "")
    if options.norms:
        read_norms(options.norms)
    model = open_model(Path(config["model"]))
    scans, missing = _scans(config, model)
    _check_names(scans, config)
    alone = len(scans) == 1 and config["input"] is not None and shard is None
    folders = _folders(scans, config, alone)
    for folder in {folder.parent for folder in folders.values()} | set(folders.values()):
        _check_output(folder)
    table = results_root(config) / TABLE if len(scans) + len(missing) > 1 else None
    if shard:
        scans = [scan for scan in scans if shard.holds(scan.image.as_posix())]
        missing = [fault for fault in missing if shard.holds(str(fault.subject))]
        table = shard.table(results_root(config))
    return Plan(model, scans, folders, missing, table, options, written)


def _scans(config: Mapping[str, Any], model: Ensemble) -> tuple[list[ScanFiles], list[NervesegError]]:
    """What is to be segmented, and the subjects of a study that cannot be."""
    templates = parse_section(ScanTemplates, {key: config[key] for key in ScanTemplates.model_fields}, "")
    person = parse_section(PatientInfo, {key: config[key] for key in PatientInfo.model_fields}, "")
    if config["input"] is not None:
        found = [scan for scan in resolve_inputs(config["input"]) if not is_result(scan.path)]
        if not found:
            raise ConfigurationError(
                "an input is a scan, not one of the results",
                found=config["input"],
                remedy="give the scan that it was made of",
            )
        return [templates.files(scan.name, scan.path, person) for scan in found], []
    subjects, faults = list_scans(study_description(config["study"]))
    missing = [fault for fault in faults if fault.subject is not None]
    if len(missing) < len(faults) or not subjects:
        raise faults[0]
    return [_scan_of(subject, templates, person, model) for subject in subjects], missing


def _scan_of(subject: Subject, templates: ScanTemplates, person: PatientInfo, model: Ensemble) -> ScanFiles:
    """A study's subject: what its table says of side and location counts, unless the command says otherwise."""
    known = {"side": subject.side, "location": subject.location}
    known = {key: value for key, value in known.items() if value in _VALUES[key]}
    said = person.model_dump(exclude_none=True)
    files = templates.files(subject.id, subject.image, PatientInfo.model_validate(known | said))
    first = model.description.channels[0]
    image = subject.images.get(first, subject.image)
    further = {name: path for name, path in subject.images.items() if path != image}
    return ScanFiles(
        f"sub-{subject.id}", image, files.series, further | dict(files.channels), files.maps, files.muscle, files.person
    )


_VALUES: dict[str, tuple[str, ...]] = {"side": ("left", "right"), "location": ("proximal", "medial", "distal")}


def _named(templates: Mapping[str, str], name: str) -> dict[str, Path]:
    return {key: Path(template.replace("{id}", name)) for key, template in templates.items()}


def _check_names(scans: list[ScanFiles], config: Mapping[str, Any]) -> None:
    """Several scans with one further file would be measured in another's image."""
    given = {f"images.{key}": value for key, value in config["images"].items()}
    given |= {f"maps.{key}": value for key, value in config["maps"].items()} | {"muscle": config["muscle"]}
    if len(scans) > 1:
        for key, value in given.items():
            if value is not None and "{id}" not in value:
                raise ConfigurationError(
                    "with several scans, the path of a further file holds {id}, the scan's name",
                    found=f"{key}={value}",
                    remedy=f"{key}='scans/{{id}}_{key.split('.')[-1]}.nii.gz'",
                )


def _folders(scans: list[ScanFiles], config: Mapping[str, Any], alone: bool) -> dict[str, Path]:
    """Where each scan's results go: one scan into output itself, several into folders below it."""
    if config["output"] is not None and alone:
        return {scans[0].name: Path(config["output"])}
    return {scan.name: results_root(config) / scan.name for scan in scans}


def _check_output(folder: Path) -> None:
    """Raise `ConfigurationError` where a folder cannot be made, before any work is done."""
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigurationError(
            "output names a folder that can be written to",
            found="a file" if there.is_file() else "no permission to write",
            path=there,
            remedy="output=<another folder>",
        )


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
