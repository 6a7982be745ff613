"""Plugins of Hydra: launchers run the jobs of a sweep in turn, side by side or on Slurm; sweepers say which jobs.

A job in another process configures the libraries and the signal handlers again, and limits its threads to its share of
the cores.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal

from nerveseg.errors import ConfigurationError

BASIC = "basic"  # hydra's own launcher and sweeper: every combination of the values, one job after the other

PLUGINS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
    "optuna": "hydra_plugins.hydra_optuna_sweeper",
}
EXTRAS: dict[Literal["launcher", "sweeper"], str] = {"launcher": "cluster", "sweeper": "sweep"}
"""Extras of our package by the kind of plugin that they install."""

SETTINGS = {
    "submitit_local": {"timeout_min": 1440, "stderr_to_stdout": "true"},
    "submitit_slurm": {
        "timeout_min": 1440, "signal_delay_s": 60, "max_num_timeout": 20, "cpus_per_task": 4,
        "stderr_to_stdout": "true",
    },
    "optuna": {"direction": "maximize", "n_jobs": 1, "sampler.seed": 1},
}  # fmt: skip
"""Settings that replace the plugins' defaults: long jobs, requeueing after a time limit, one output file; trials that
can be repeated. They are not in conf/: Hydra 1.3 warns of files that have the name of a plugin's configuration."""

THREAD_COUNTS = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


def plugin_of(kind: Literal["launcher", "sweeper"], arguments: Sequence[str]) -> str:
    """Return the last launcher or sweeper that arguments name; raise `ConfigurationError` if it is not installed."""
    named = [word.partition("=")[2] for word in arguments if word.startswith(f"hydra/{kind}=")]
    plugin = named[-1] if named else BASIC
    if plugin in PLUGINS and not _is_installed(PLUGINS[plugin]):
        raise ConfigurationError(
            f"hydra/{kind}={plugin} is a plugin of Hydra",
            found="not installed",
            remedy=f"pip install 'nerveseg[{EXTRAS[kind]}]'",
        )
    return plugin


def with_plugin_settings(arguments: Sequence[str]) -> list[str]:
    """Return the arguments followed by our settings of their plugins, without those that the arguments give."""
    given = {word.partition("=")[0].lstrip("+") for word in arguments}
    if "hydra/sweeper/sampler" in given:
        given.add("hydra.sweeper.sampler.seed")  # not every sampler has one
    ours = {
        f"hydra.{kind}.{key}": value
        for kind in EXTRAS
        for key, value in SETTINGS.get(plugin_of(kind, arguments), {}).items()
    }
    return [*arguments, *(f"{key}={value}" for key, value in ours.items() if key not in given)]


def is_cluster_job(environment: Mapping[str, str] = os.environ) -> bool:
    """Return true if this process was submitted to a cluster, where no other process may wait for it."""
    return "SUBMITIT_EXECUTOR" in environment


@contextmanager
def submitit_results_patched(launcher: str) -> Iterator[None]:
    """Patch submitit so that a killed job counts as FAILED; otherwise Hydra stops waiting for the remaining jobs."""
    if not launcher.startswith("submitit"):
        yield
        return
    from hydra.core.utils import JobReturn, JobStatus
    from submitit.core.core import Job
    from submitit.core.utils import FailedJobError, UncompletedJobError

    cls: Any = Job
    original = cls.results

    def results(job: Any) -> list[Any]:
        try:
            return list(original(job))
        except (FailedJobError, UncompletedJobError) as error:
            return [JobReturn(status=JobStatus.FAILED, _return_value=error)]

    cls.results = results
    try:
        yield
    finally:
        cls.results = original


def limit_threads(jobs: int) -> None:
    """Limit the threads of this process, which runs one of the sweep's jobs."""
    import torch
    from hydra.core.hydra_config import HydraConfig

    from nerveseg.data.slice_store_build import available_cores

    at_once = HydraConfig.get().launcher.get("n_jobs")
    threads = threads_of_job(jobs, at_once, available_cores(), os.environ)
    for name in THREAD_COUNTS:
        os.environ[name] = str(threads)
    torch.set_num_threads(threads)


def threads_of_job(jobs: int, at_once: int | None, cores: int, environment: Mapping[str, str]) -> int:
    """Return the number of threads of one job: the cores that Slurm gave it, or its share of the machine's.

    Of all `jobs`, `at_once` run side by side, as joblib counts them (-1: one per core); None stands for all.
    """
    given = environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE")
    if given and environment.get("SUBMITIT_EXECUTOR") != "local":
        return max(1, min(cores, int(given)))
    if at_once is None:
        at_once = jobs
    elif at_once < 0:
        at_once = max(1, cores + 1 + at_once)
    return max(1, cores // min(jobs, at_once))


def _is_installed(plugin: str) -> bool:
    try:
        return find_spec(plugin) is not None
    except ModuleNotFoundError:
        return False
