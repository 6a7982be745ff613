"""Running an entry point: arguments rewritten, Hydra started, errors turned into one line and an exit code.

Exit codes: 0 done, 1 a fault of ours (with its traceback), 2 a mistake in the input, 130 interrupted (143 by
SIGTERM, 138 by SIGUSR1).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from rich.console import Console

from nerveseg.errors import NervesegError, StoppedBySignal
from nerveseg.launch.arguments import (
    config_dir_override,
    is_info_request,
    is_multirun,
    overrides_only,
    to_hydra_overrides,
)
from nerveseg.launch.launchers import (
    is_cluster_job,
    launcher_of,
    limit_threads,
    submitit_results_patched,
    with_launcher_settings,
)
from nerveseg.launch.stopping import stop_on_signals
from nerveseg.training.distributed import training_processes

INPUT_MISTAKE = 2
INTERRUPTED = 130

Job = Callable[[Any], None]
console = Console(quiet=not training_processes().is_first, width=None if sys.stdout.isatty() else 100)


def run_command(
    verb: str,
    job: Job,
    argv: Sequence[str] | None = None,
    wrap_jobs: Callable[[list[str], Callable[[], None]], None] | None = None,
) -> int:
    """Run one entry point.

    Args:
        verb: Names the configuration, `conf/<verb>.yaml`.
        job: Called with the configuration of each job.
        argv: What was typed after the verb; by default that of this process.
        wrap_jobs: Gets the rewritten arguments, to which it may add, and a function that runs Hydra; does what comes
            before and after the jobs.

    Returns:
        The exit code.
    """
    typed = list(sys.argv[1:] if argv is None else argv)
    configure_libraries()
    try:
        with stop_on_signals():
            return _run(verb, job, typed, wrap_jobs)
    except NervesegError as error:
        print_error(error)
        return INPUT_MISTAKE
    except KeyboardInterrupt as stop:
        return exit_code_of(stop)


def exit_code_of(stop: KeyboardInterrupt) -> int:
    """Say that a process was stopped; its exit code."""
    if isinstance(stop, StoppedBySignal):
        console.print(f"stopped by {signal.Signals(stop.number).name}; the same command continues", highlight=False)
        return INTERRUPTED - signal.SIGINT + stop.number
    console.print("interrupted; the same command continues")
    return INTERRUPTED


def _run(
    verb: str, job: Job, typed: list[str], wrap_jobs: Callable[[list[str], Callable[[], None]], None] | None
) -> int:
    arguments = with_launcher_settings(to_hydra_overrides(verb, typed))
    jobs = JobRunner(job, [f"nerveseg {verb}", *arguments])
    if is_info_request(arguments):
        with _listing_without_copies():
            _run_hydra(verb, jobs, arguments)
    elif wrap_jobs:
        _check_first_job(verb, arguments)
        wrap_jobs(arguments, lambda: _run_hydra(verb, jobs, arguments))
    else:
        _check_composes(verb, arguments)
        _run_hydra(verb, jobs, arguments)
    return INPUT_MISTAKE if jobs.failed else 0


def print_error(error: NervesegError) -> None:
    """Print an error as one line on the error stream."""
    print(f"error: {error}", file=sys.stderr, flush=True)


class JobRunner:
    """A job for Hydra's launchers that keeps a user's mistake from becoming a traceback, and other jobs going.

    Launchers may call it in another process or on another machine, where it first settles what is settled here.

    Args:
        job: Called with the configuration of each job.
        command: The command line, as Hydra sees it.
    """

    def __init__(self, job: Job, command: list[str]) -> None:
        self.job = job
        self.command = command
        self.failed = 0
        self.planned = 1
        self.has_threads = "OMP_NUM_THREADS" in os.environ
        self.home = (socket.gethostname(), os.getpid())

    def __call__(self, config: Any) -> None:
        """Run the job of one configuration; print a user's mistake as one line."""
        try:
            if self.home == (socket.gethostname(), os.getpid()):
                self.job(config)
            else:
                self._elsewhere(config)
        except NervesegError as error:
            self.failed += 1
            print_error(error)

    def _elsewhere(self, config: Any) -> None:
        sys.argv = self.command
        configure_libraries()
        if not self.has_threads:
            limit_threads(self.planned)
        try:
            with stop_on_signals():
                self.job(config)
        except KeyboardInterrupt as stop:
            if not is_cluster_job():
                raise
            sys.exit(exit_code_of(stop))  # requeued or cancelled: nobody waits for an answer


def _check_composes(verb: str, arguments: Sequence[str]) -> None:
    """Some slips Hydra's command line answers with a traceback; composing by ourselves names them."""
    from nerveseg.launch.compose import compose_config

    if not is_multirun(arguments):
        compose_config(verb, [*overrides_only(arguments), *config_dir_override(arguments)])


def _check_first_job(verb: str, arguments: Sequence[str]) -> None:
    """What wraps the jobs takes seconds to import torch; a slip of the finger is told before that."""
    from nerveseg.launch.compose import compose_config, overrides_of_jobs, to_plain_dict

    to_plain_dict(compose_config(verb, [*overrides_of_jobs(arguments)[0], *config_dir_override(arguments)]))


def _run_hydra(verb: str, jobs: JobRunner, arguments: Sequence[str]) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from nerveseg.launch.compose import config_folder, configuration_error, overrides_of_jobs

    def task(config: Any) -> None:
        jobs(config)

    launcher = launcher_of(arguments)
    if is_multirun(arguments) and launcher != "basic":
        jobs.planned = len(overrides_of_jobs(arguments))

    os.environ["HYDRA_FULL_ERROR"] = "1"
    program, sys.argv = sys.argv, [f"nerveseg {verb}", *arguments]
    try:
        with submitit_results_patched(launcher):
            hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=verb)(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise configuration_error(error) from error
    finally:
        sys.argv = program


@contextmanager
def _listing_without_copies() -> Iterator[None]:
    """For every group that `--help` lists, Hydra 1.3 copies all configurations it has read: half of its whole time."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.object_type import ObjectType

    def listed(loader: Any, group_name: str, results_filter: Any = ObjectType.CONFIG, **composed: Any) -> Any:
        if composed:
            return copying(loader, group_name, results_filter, **composed)
        return loader.repository.get_group_options(group_name, results_filter)

    loaders: Any = ConfigLoaderImpl
    copying, loaders.get_group_options = loaders.get_group_options, listed
    try:
        yield
    finally:
        loaders.get_group_options = copying


def configure_libraries() -> None:
    """Silence what libraries say to developers, and let OpenMP's threads sleep while they wait.

    Threads that spin instead take the cores from the processes that augment: measured, ten times slower and more where
    another program computes too. Nothing of this concerns the user's data.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("WANDB_SILENT", "true")
    for logger in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.distributed"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*number of training batches.*",
        "Total length of `list` across ranks is zero.*",  # no validation subjects
        ".*Couldn't infer the batch indices.*",
        ".*LeafSpec.*",
        "Checkpoint directory .* exists and is not empty.*",
        "The `srun` command is available.*",
    ):
        warnings.filterwarnings("ignore", message=message)


VERBS = {
    "simulate": "write a synthetic study",
    "check": "is a study fit to use?",
    "train": "train folds of a cross-validation and compare them",
    "evaluate": "Table 1 of a finished sweep, or of the raters alone",
    "segment": "masks and numbers of new scans, with a trained model",
}


def run_verb(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = arguments[0] if arguments else "--help"
    if verb in VERBS:
        code: int = import_module(f"nerveseg.{verb}").main(arguments[1:])
        return code
    asked = verb in ("--help", "-h")
    if not asked:
        print(f"error: the first word is one of {', '.join(VERBS)}; found: {verb}", file=sys.stderr)
    print("usage: nerveseg <verb> [option=value ...]\n", file=sys.stdout if asked else sys.stderr)
    for name, purpose in VERBS.items():
        print(f"  {name:10}{purpose}", file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2
