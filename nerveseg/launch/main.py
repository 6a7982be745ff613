"""Run a command: rewrite its arguments, compose every job once, start Hydra for sweeps, print errors as one line.

Exit codes: 0 done, 1 a fault of ours (with its traceback), 2 a mistake in the input; as in a shell, 128 plus the number
of the signal that stopped the process: 130 Ctrl-C, 143 SIGTERM of a cluster or a shutdown, 138 SIGUSR1 of Slurm before
a time limit. Each of them raises a KeyboardInterrupt at once; the same command goes on from the last checkpoint.
"""

import io
import logging
import math
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from types import FrameType
from typing import Any

from nerveseg.console import print_error, say
from nerveseg.errors import NervesegError, StoppedBySignal
from nerveseg.files import check_working_directory, explain_system_error
from nerveseg.launch.arguments import to_hydra_overrides
from nerveseg.launch.hydra_flags import is_completion, is_info_request, is_multirun
from nerveseg.launch.launchers import (
    is_cluster_job,
    limit_threads,
    plugin_of,
    submitit_results_patched,
    with_plugin_settings,
)

INPUT_MISTAKE = 2
INTERRUPTED = 130
STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Signals that would end the process without an exception."""

VERBS = {
    "simulate": "write a synthetic study",
    "check": "find every fault of a study",
    "train": "train folds of a cross-validation and compare them",
    "evaluate": "Table 1 of a finished sweep, or of the raters alone",
    "segment": "masks and numbers of new scans, with a trained model",
    "measure": "numbers of a mask that a person drew or corrected",
    "compare": "change of a nerve between two dates",
}

RunJob = Callable[[Any], float | None]
"""Function that runs one `Job` of a command; returns the job's objective, if it has one."""

FAILED_TRIAL = -math.inf
"""Objective of a job that fails: Optuna's plugin ends the whole study at None, NaN or an exception."""

WrapJobs = Callable[[Sequence[Any], Callable[[], None], bool], None]
"""Function that wraps the jobs of a command. Its arguments: the jobs, a function that runs them, a flag of a sweep."""


def run_verb(argv: Sequence[str] | None = None) -> int:
    """Run `nerveseg <verb> ...`; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = arguments[0] if arguments else "--help"
    if verb in VERBS:
        code: int = import_module(f"nerveseg.{verb}").main(arguments[1:])
        return code
    is_help = verb in ("--help", "-h")
    stream = sys.stdout if is_help else sys.stderr
    if not is_help:
        print(f"error: expected one of {', '.join(VERBS)} as the first word; found: {verb}", file=stream)
    print("usage: nerveseg <verb> [option=value ...]\n", file=stream)
    for name, purpose in VERBS.items():
        print(f"  {name:10}{purpose}", file=stream)
    return 0 if is_help else INPUT_MISTAKE


def run_command(
    verb: str, run_job: RunJob, argv: Sequence[str] | None = None, wrap_jobs: WrapJobs | None = None
) -> int:
    """Run the command `verb` on the words `argv`, by default those of this process; return the exit code."""
    typed = list(sys.argv[1:] if argv is None else argv)
    configure_libraries()
    try:
        with stop_on_signals():
            check_working_directory()
            return _run(verb, run_job, typed, wrap_jobs)
    except NervesegError as error:
        print_error(error)
        return INPUT_MISTAKE
    except OSError as error:
        print_error(explain_system_error(error))
        return INPUT_MISTAKE
    except KeyboardInterrupt as stop:
        return _exit_code(stop)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise `StoppedBySignal` on the signals in `STOPPING`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedBySignal(number)

    before = {number: signal.signal(number, stop) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_code(stop: KeyboardInterrupt) -> int:
    """Print that a process was stopped; return its exit code."""
    if isinstance(stop, StoppedBySignal):
        say(f"stopped by {signal.Signals(stop.number).name}; the same command continues")
        return INTERRUPTED - signal.SIGINT + stop.number
    say("interrupted; the same command continues")
    return INTERRUPTED


def _run(verb: str, run_job: RunJob, typed: list[str], wrap_jobs: WrapJobs | None) -> int:
    arguments = with_plugin_settings(to_hydra_overrides(verb, typed))
    from nerveseg.launch.compose import check_composition, compose_jobs

    if is_info_request(arguments):
        if not is_completion(arguments):
            check_composition(verb, arguments)
        _run_hydra(verb, lambda config: None, arguments)
        return 0
    jobs = compose_jobs(verb, arguments)
    runner = JobRunner(verb, run_job, [f"nerveseg {verb}", *arguments], jobs)
    is_sweep = is_multirun(arguments)

    def run_jobs() -> None:
        if not is_sweep:
            runner.run(jobs[0])
            return
        if plugin_of("sweeper", arguments) == "optuna":
            import optuna

            optuna.logging.set_verbosity(logging.WARNING)  # or it prints that it begins a study
        with submitit_results_patched(plugin_of("launcher", arguments)):
            _run_hydra(verb, runner, arguments)

    if wrap_jobs:
        wrap_jobs(jobs, run_jobs, is_sweep)
    else:
        run_jobs()
    return INPUT_MISTAKE if runner.failed else 0


class JobRunner:
    """Task function for Hydra's launchers, which prints a user's mistake as one line, so that the other jobs go on.

    A launcher may call it in another process or on another machine, where it first configures the libraries. The
    command line is as Hydra sees it; of `jobs`, composed before the first starts, a search has one for all its trials.
    """

    def __init__(self, verb: str, run_job: RunJob, command: list[str], jobs: Sequence[Any]) -> None:
        self.verb, self.run_job, self.command, self.count = verb, run_job, command, len(jobs)
        self.failed = 0
        self.has_threads = "OMP_NUM_THREADS" in os.environ
        self.home = (socket.gethostname(), os.getpid())

    def __call__(self, config: Any) -> float | None:
        """Parse and run the job that Hydra has composed; a trial of a search may have values that are refused here."""
        from hydra.core.hydra_config import HydraConfig

        from nerveseg.launch.compose import make_job

        hydra = HydraConfig.get()
        try:
            job = make_job(self.verb, config, hydra.overrides.task)
        except NervesegError as error:
            return self._fail(error)
        return self.run(replace(job, jobs_after=max(0, self.count - 1 - hydra.job.num)))

    def run(self, job: Any) -> float | None:
        """Run a job and return its objective; print a user's mistake as one line."""
        try:
            is_home = self.home == (socket.gethostname(), os.getpid())
            objective = self.run_job(job) if is_home else self._run_elsewhere(job)
        except NervesegError as error:
            return self._fail(error)
        except OSError as error:
            return self._fail(explain_system_error(error))
        return FAILED_TRIAL if objective is not None and math.isnan(objective) else objective

    def _fail(self, error: NervesegError) -> float:
        self.failed += 1
        print_error(error)
        return FAILED_TRIAL

    def _run_elsewhere(self, job: Any) -> float | None:
        sys.argv = self.command
        configure_libraries()
        if not self.has_threads:
            limit_threads(self.count)
        try:
            with stop_on_signals():
                return self.run_job(job)
        except KeyboardInterrupt as stop:
            if not is_cluster_job():
                raise
            sys.exit(_exit_code(stop))  # requeued or cancelled: no process waits for the exception


def _run_hydra(verb: str, task: Callable[[Any], float | None], arguments: Sequence[str]) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from nerveseg.launch.compose import config_folder, configuration_error

    def run_task(config: Any) -> float | None:  # Hydra needs a function
        return task(config)

    os.environ["HYDRA_FULL_ERROR"] = "1"
    program, sys.argv = sys.argv, [f"nerveseg {verb}", *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=verb)(run_task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise configuration_error(error, verb) from error
    finally:
        sys.argv = program


def configure_libraries() -> None:
    """Silence warnings of libraries that address developers, and let OpenMP's threads sleep while they wait.

    Threads that spin instead take the cores from the processes that augment: measured, ten times slower and more where
    another program computes too.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's products are of a slice each: a second thread spins
    os.environ.setdefault("WANDB_SILENT", "true")
    for logger in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.distributed"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # a stream that was replaced by a pipe since it was opened
                stream.reconfigure(errors="backslashreplace")  # any byte of a file's name can be printed
    for message in (
        "Glyph .* missing from .*",  # of a name in a figure
        ".*does not have many workers.*",
        ".*number of training batches.*",
        "Total length of `list` across ranks is zero.*",  # no validation subjects
        ".*Couldn't infer the batch indices.*",
        ".*LeafSpec.*",
        ".*declarative_base.*",  # of Optuna 2, on SQLAlchemy 2
        "Checkpoint directory .* exists and is not empty.*",
        "The `srun` command is available.*",
    ):
        warnings.filterwarnings("ignore", message=message)
