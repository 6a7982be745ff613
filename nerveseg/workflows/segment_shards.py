"""Before and after the jobs of `segment`: mistakes are found once and early, and shards end in one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console

from nerveseg.errors import ConfigurationError
from nerveseg.launch.arguments import config_dir_override, is_multirun, overrides_only
from nerveseg.launch.compose import compose_config, overrides_of_jobs, to_plain_dict
from nerveseg.launch.launchers import is_worker_death, run_catching
from nerveseg.workflows.segment_scans import planned
from nerveseg.workflows.shards import chosen_shard, collect_if_complete, raise_failures, results_root


def segment_and_collect(arguments: list[str], run_jobs: Callable[[], None], console: Console) -> None:
    """Run the jobs of `segment`; those of shards are checked before, and their tables collected afterwards.

    Args:
        arguments: Rewritten for Hydra; the number of shards is added where it is known without.
        run_jobs: Runs Hydra, one job or several.
        console: Told what happens.

    Raises:
        NervesegError: A mistake that concerns all shards, or which of them failed.
    """
    jobs = overrides_of_jobs(arguments)
    if not any(word.startswith(("shard=", "shards=")) for word in jobs[0]):
        run_jobs()
        return
    if is_multirun(arguments) and not any(word.startswith("shards=") for word in overrides_only(arguments)):
        number = _count(jobs)
        arguments.append(f"shards={number}")
        jobs = [[*job, f"shards={number}"] for job in jobs]
    configs = [_config(job, arguments) for job in jobs]
    shards = [shard for shard in map(chosen_shard, configs) if shard]
    root = results_root(configs[0])
    if any(results_root(config) != root for config in configs):
        raise ConfigurationError("the shards of one archive have one output", remedy="output=<folder>")
    planned(configs[0])
    for shard in shards:
        shard.table(root).unlink(missing_ok=True)
        shard.failure(root).unlink(missing_ok=True)
    crash = run_catching(run_jobs)
    collect_if_complete(configs[0], console)
    if crash is not None and not is_worker_death(crash):
        raise crash
    if is_multirun(arguments):
        raise_failures(shards, root, console)


def _config(job: list[str], arguments: list[str]) -> dict[str, Any]:
    return to_plain_dict(compose_config("segment", [*job, *config_dir_override(arguments)]))


def _count(jobs: list[list[str]]) -> int:
    """How many shards `shard=0..15` means: all are named, from 0 up.

    Raises:
        ConfigurationError: They are not, so their number has to be given.
    """
    named = [word.partition("=")[2] for job in jobs for word in job if word.startswith("shard=")]
    numbers = {int(value) for value in named if value.isdecimal()}
    if not numbers or numbers != set(range(len(numbers))) or len(named) != len(jobs):
        raise ConfigurationError(
            "a sweep over some of the shards says how many there are",
            found=f"shard={','.join(named)}",
            remedy="shards=16",
        )
    return len(numbers)
