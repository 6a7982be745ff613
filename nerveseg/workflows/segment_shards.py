"""Run the jobs of `segment`: one, or one for each shard of an archive, with one table at the end."""

from collections.abc import Callable, Sequence

from nerveseg.errors import ConfigurationError
from nerveseg.workflows.failures import is_worker_death, run_catching
from nerveseg.workflows.job import Job
from nerveseg.workflows.segment_config import SegmentConfig
from nerveseg.workflows.segment_scans import planned
from nerveseg.workflows.shards import chosen_shard, collect_if_complete, raise_failures


def segment_and_collect(jobs: Sequence[Job[SegmentConfig]], run_jobs: Callable[[], None], is_sweep: bool) -> None:
    """Run the jobs of `segment`; check shards before, and collect their tables afterwards.

    Args:
        jobs: Jobs of the command.
        run_jobs: Function that runs them.
        is_sweep: Flag: every shard has to end well for the command to end well.

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
    planned(configs[0])
    for shard in shards:
        shard.table(root).unlink(missing_ok=True)
        shard.failure(root).unlink(missing_ok=True)
    crash = run_catching(run_jobs)
    collect_if_complete(configs[0])
    if crash is not None and not is_worker_death(crash):
        raise crash
    if is_sweep:
        raise_failures(shards, root)
