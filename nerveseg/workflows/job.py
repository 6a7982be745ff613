"""One job of a command, as it was composed; light to import, so that mistakes are found before torch is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

Config = TypeVar("Config", bound=BaseModel)


@dataclass(frozen=True)
class Job(Generic[Config]):
    """One job of a command.

    Attributes:
        config: The parsed configuration.
        values: The same configuration resolved, in plain types, as `config.yaml` keeps it.
        overrides: Overrides that the job was composed with.
        jobs_after: Number of jobs that this process runs after this one.
    """

    config: Config
    values: dict[str, Any]
    overrides: tuple[str, ...] = ()
    jobs_after: int = 0
