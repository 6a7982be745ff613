"""Run the jobs of `segment`: one, or one for each shard of an archive, with one table over all shards at the end."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from nerveseg.console import say
from nerveseg.errors import ConfigurationError, RunError
from nerveseg.files import wait_for_lock, write_csv
from nerveseg.scans.batch import TABLE
from nerveseg.workflows import segment_scans
from nerveseg.workflows.failures import is_worker_death, read_failure, record_failure, run_catching
from nerveseg.workflows.job import Job
from nerveseg.workflows.segment_config import SHARDS, SegmentConfig, Shard, chosen_shard

LOCK = ".collecting"


def segment_recorded(config: SegmentConfig) -> None:
    """Segment the scans that the configuration names; record the error with which a shard fails beside its table."""
    shard = chosen_shard(config)
    with record_failure(shard.failure(config.results_root)) if shard else nullcontext():
        segment_scans.segment_configured_scans(config)


def segment_and_collect(jobs: Sequence[Job[SegmentConfig]], run_jobs: Callable[[], None], is_sweep: bool) -> None:
    """Run the jobs of `segment`; check shards before, and collect their tables afterwards.

    In a sweep every shard has to end well for the command to end well.

    Raises:
        NervesegError: An option that concerns all shards is wrong, or shards failed.
    """
    configs = [job.config for job in jobs]
    shards = [shard for shard in map(chosen_shard, configs) if shard]
    if not shards:
        run_jobs()
        return
    root = configs[0].results_root
    if any(config.results_root != root for config in configs):
        raise ConfigurationError("the shards of one archive have one output", remedy="output=<folder>")
    segment_scans.planned(configs[0])
    for shard in shards:
        shard.table(root).unlink(missing_ok=True)
        shard.failure(root).unlink(missing_ok=True)
    crash = run_catching(run_jobs)
    collect_if_complete(configs[0])
    if crash is not None and not is_worker_death(crash):
        raise crash
    if is_sweep:
        _raise_failures(shards, root)


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
        table = pd.concat(parts, ignore_index=True).sort_values(["scan", "side"], kind="stable")
        write_csv(root / TABLE, table)
    failed = table[table["status"] == "failed"]
    counts = table.drop_duplicates("scan")["status"].value_counts(sort=False)
    text = ", ".join(f"{number} {status}" for status, number in counts.items()) or "no scans"
    say(f"{shard.of} shards: {text}")
    for scan, why in zip(failed["scan"], failed["error"], strict=True):
        say(f"  {scan}: {why}")
    say(f"table: {root / TABLE}")


def _raise_failures(shards: list[Shard], root: Path) -> None:
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
