"""Hydra's launchers: the jobs of a sweep in turn (basic), side by side (joblib, submitit_local), or on Slurm.

In another process a job starts from nothing: the libraries are settled again, signals end it, and it takes its share of
the cores, since each job alone would take all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from nerveseg.errors import ConfigurationError

PLUGINS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
}
SETTINGS = {
    "submitit_local": {"timeout_min": 1440, "stderr_to_stdout": "true"},
    "submitit_slurm": {
        "timeout_min": 1440,
        "signal_delay_s": 60,
        "max_num_timeout": 20,
        "cpus_per_task": 4,
        "stderr_to_stdout": "true",
    },
}
"""Where we differ from the plugins: a job may take long, goes on after its time limit, and prints into
one file. No YAML, since Hydra 1.3 warns of files that bear the name of a plugin's configuration."""

THREAD_COUNTS = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


def launcher_of(arguments: Sequence[str]) -> str:
    """The launcher that arguments name; the last one counts.

    Raises:
        ConfigurationError: It is not installed.
    """
    named = [word.partition("=")[2] for word in arguments if word.startswith("hydra/launcher=")]
    launcher = named[-1] if named else "basic"
    if launcher in PLUGINS and not _is_installed(PLUGINS[launcher]):
        raise ConfigurationError(
            f"hydra/launcher={launcher} is a plugin of Hydra",
            found="not installed",
            remedy="pip install 'nerveseg[cluster]'",
        )
    return launcher


def with_launcher_settings(arguments: Sequence[str]) -> list[str]:
    """Arguments with our settings of the launcher that they name, behind all others, where they say nothing of them.

    Raises:
        ConfigurationError: The launcher is not installed.
    """
    settings = SETTINGS.get(launcher_of(arguments), {})
    said = {word.partition("=")[0].lstrip("+") for word in arguments}
    ours = {f"hydra.launcher.{key}": value for key, value in settings.items()}
    return [*arguments, *(f"{key}={value}" for key, value in ours.items() if key not in said)]


def is_cluster_job(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process was submitted, so that nobody may be waiting for it."""
    return "SUBMITIT_EXECUTOR" in environment


@contextmanager
def submitit_results_patched(launcher: str) -> Iterator[None]:
    """Let Hydra's submitit launcher wait for all jobs: it asks one by one, and leaves at the first that was killed."""
    if not launcher.startswith("submitit"):
        yield
        return
    from hydra.core.utils import JobReturn, JobStatus
    from submitit.core.core import Job
    from submitit.core.utils import FailedJobError, UncompletedJobError

    kind: Any = Job
    asked = kind.results

    def results(job: Any) -> list[Any]:
        try:
            return list(asked(job))
        except (FailedJobError, UncompletedJobError) as error:
            return [JobReturn(status=JobStatus.FAILED, _return_value=error)]

    kind.results = results
    try:
        yield
    finally:
        kind.results = asked


def limit_threads(jobs: int) -> None:
    """Limit the threads of this process, which runs one of several jobs.

    Args:
        jobs: Of the whole sweep.
    """
    import torch
    from hydra.core.hydra_config import HydraConfig

    from nerveseg.data.slice_store_build import available_cores

    at_once = HydraConfig.get().launcher.get("n_jobs")
    threads = threads_of_job(jobs, at_once, available_cores(), os.environ)
    for name in THREAD_COUNTS:
        os.environ[name] = str(threads)
    torch.set_num_threads(threads)


def threads_of_job(jobs: int, at_once: int | None, cores: int, environment: Mapping[str, str]) -> int:
    """Threads for one job: the cores that Slurm gave it, or its share of the machine's.

    Args:
        jobs: Of the whole sweep.
        at_once: How many of them run side by side, as joblib counts them (negative: all cores but so many); None: all.
        cores: Of this machine, as far as this process may use them.
        environment: Of this process.
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
