"""Calls in child processes with limits of time and memory; a process that dies is an outcome like any other."""

import contextlib
import json
import os
import resource
import signal
import sys
import traceback

from nerveseg.errors import NervesegError

GIB = 1 << 30
SECONDS = 20


def outcomes(cases, call, memory=6 * GIB):
    """What became of `call(case)` for each case: "ok", "error", or "broken: ..." with the reason.

    Cases run in one child process after another; a child goes on until a case ends it.
    """
    found = []
    while len(found) < len(cases):
        start = len(found)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _run(cases[start:], call, memory, os.fdopen(write, "w"))
        os.close(write)
        with os.fdopen(read) as lines:
            found += [json.loads(line) for line in lines if line.endswith("\n")]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if len(found) < len(cases) and status != 0:
            found.append(f"broken: the process ended with {status}")
    return found


def _run(cases, call, memory, answers):
    """Answer each case with a line, in a process of its own."""
    code = 0
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        for case in cases:
            answers.write(json.dumps(_outcome(case, call)) + "\n")
            answers.flush()
    except BaseException:
        code = 1
    finally:
        os._exit(code)


def _outcome(case, call):
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(sys.stderr):
            call(case)
    except NervesegError as error:
        return "error" if "\n" not in str(error) else "broken: an error of several lines"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"broken: {type(error).__name__}: {str(error)[:120]} ({last.filename.rpartition('/')[2]}:{last.lineno})"
    finally:
        signal.alarm(0)
    return "ok"


def _too_long(number, frame):
    raise TimeoutError(f"longer than {SECONDS} s")
