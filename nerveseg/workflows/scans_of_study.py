"""Scans of a study that `segment` names: all, or those of some participants and sessions.

A table of some scans keeps the rows that earlier commands wrote of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nerveseg.data.participants import participant_rows, row_id
from nerveseg.data.study import Subject, list_scans
from nerveseg.data.study_layout import StudyLayout
from nerveseg.errors import ConfigurationError, NervesegError
from nerveseg.scans.batch import Outcome
from nerveseg.scans.batch_table import recorded_failures
from nerveseg.scans.results import read_summary
from nerveseg.workflows.prepare_study import checked_layout
from nerveseg.workflows.segment_config import SegmentConfig

SESSION = "ses"  # field of sessions in the templates of a study


@dataclass(frozen=True)
class StudyScans:
    """Scans of a study."""

    subjects: Sequence[Subject] = ()  # subjects to segment
    missing: Sequence[NervesegError] = ()  # errors of subjects that cannot be segmented
    names: Sequence[str] = ()  # names of all scans of the study, also of those that are not chosen


def scans_of_study(config: SegmentConfig) -> StudyScans:
    """Return the scans that `study=`, `participants=` and `sessions=` name.

    Raises:
        StudyError: The study cannot be read.
        ConfigurationError: A participant or a session is not in the study.
    """
    assert config.study is not None
    layout = checked_layout(config.study, masks=False)
    subjects, faults = list_scans(layout)
    missing = [fault for fault in faults if fault.subject is not None]
    if len(missing) < len(faults) or not subjects:
        raise faults[0]
    parts = _participants_and_sessions(layout)
    for fault in missing:  # of a participant instead of a scan, if a cell is wrong
        parts.setdefault(str(fault.subject), (str(fault.subject), None))
    chosen = _chosen(config, parts)
    return StudyScans(
        [each for each in subjects if each.id in chosen],
        [each for each in missing if str(each.subject) in chosen],
        [f"sub-{name}" for name in parts],
    )


def with_earlier(root: Path, outcomes: Sequence[Outcome], names: Sequence[str], config: SegmentConfig) -> list[Outcome]:
    """Return outcomes, and where scans of a study were chosen, those of the others as earlier commands left them.

    Args:
        root: Folder of the folders of results.
        outcomes: Outcomes of the chosen scans.
        names: Names of all scans of the study, in the order of the table.
        config: Configuration of `segment`.
    """
    if not (config.participants or config.sessions):
        return list(outcomes)
    failed = {each.name: each for each in recorded_failures(root)}
    found = list(outcomes)
    for name in set(names) - {each.name for each in outcomes}:
        if summary := read_summary(root / name):
            found.append(Outcome(name, "done before", summary))
        elif name in failed:
            found.append(failed[name])
    places = {name: place for place, name in enumerate(names)}
    return sorted(found, key=lambda each: places.get(each.name, len(places)))


def _participants_and_sessions(layout: StudyLayout) -> dict[str, tuple[str, str | None]]:
    """Return participant and session of each scan of a study, by its id."""
    template = next(iter(layout.images.values()))
    rows, _ = participant_rows(layout.root / layout.participants, layout.root, template, layout.name)
    has_sessions = SESSION in layout.fields
    return {row_id(row, layout.fields): (row["participant_id"], row[SESSION] if has_sessions else None) for row in rows}


def _chosen(config: SegmentConfig, parts: dict[str, tuple[str, str | None]]) -> dict[str, tuple[str, str | None]]:
    """Return the participants and sessions of the chosen scans; raise `ConfigurationError` for an unknown one."""
    for place, (option, wanted) in enumerate((("participants", config.participants), ("sessions", config.sessions))):
        known = {values[place] for values in parts.values()}
        if unknown := [name for name in wanted if name not in known]:
            raise ConfigurationError(
                f"{option}= names {option} of the study",
                found=", ".join(unknown),
                remedy=f"one of {', '.join(sorted(filter(None, known))) or 'none'}",
            )
        if wanted:
            parts = {name: values for name, values in parts.items() if values[place] in wanted}
    return parts
