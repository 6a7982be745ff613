"""Job of a command as it was composed; imports no torch, so that mistakes are reported at once."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

Config = TypeVar("Config", bound=BaseModel)


@dataclass(frozen=True)
class Job(Generic[Config]):
    """One job of a command."""

    config: Config  # parsed configuration
    values: dict[str, Any]  # same configuration resolved, in plain types, as `config.yaml` keeps it
    overrides: tuple[str, ...] = ()  # overrides that the job was composed with
    jobs_after: int = 0  # number of jobs that this process runs after this one
    is_search: bool = False  # flag: the job stands for the trials of a search, which share its options
