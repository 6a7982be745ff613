"""Trains one fold over and over in forked processes and sends them signals; imports are paid for once.

Run as a program: reads plans, a line of JSON each, and answers each with what became of its processes. A plan has
`arguments` of `train`, the `output_root` that they name, and `signals`: number, event ("start" of the process or its
first "checkpoint"), seconds after the event. When they are used up, a last process runs to its end.
"""

import contextlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

import wandb.apis.public

from nerveseg.launch.main import run_command
from nerveseg.workflows.train_fold import run_fold
from tests.helpers.composed import training_jobs

PRELOADED = wandb.apis.public
"""What W&B would import in every process."""


def started(arguments, job):
    """A process of its own that trains, and the end of the pipe that has its output.

    It does what `python -m nerveseg.train` does, but for Hydra.
    """
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.dup2(into, 1)
        os.dup2(into, 2)
        code = 1
        try:
            code = run_command("train", run_fold, arguments, wrap_jobs=lambda *_: run_fold(job))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(into)
    return child, out


def checkpoints(root):
    """The checkpoint files of the folds of one sweep; a new one is another file.

    A folder that the training removes while it is listed makes the listing start again.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            return {(str(path), path.stat().st_ino) for path in root.glob("*/*/fold-*/checkpoints/last.ckpt")}


def wait_for(child, happened, deadline=300.0):
    """Whether something happened before the process ended."""
    begun = time.monotonic()
    while time.monotonic() - begun < deadline:
        if happened(time.monotonic() - begun):
            return True
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
        time.sleep(0.001)
    return False


def ended(plan, job, number=0, event="start", after=0.0):
    """What became of a process that gets a signal some seconds after an event, if it lives so long."""
    root = Path(plan["output_root"])
    before, begun = checkpoints(root), time.monotonic()
    child, out = started(plan["arguments"], job)
    if (
        number
        and (event == "start" or wait_for(child, lambda _: checkpoints(root) - before))
        and wait_for(child, lambda seconds: seconds >= after)
    ):
        os.kill(child, number)
    with open(out, "rb") as stream:
        text = stream.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"signal": number, "code": code, "seconds": time.monotonic() - begun, "output": text}


def carried_out(plan):
    """What became of each process of a plan, up to the first that came to its end."""
    (job,) = training_jobs(*plan["arguments"])
    results = []
    for planned in [*plan["signals"], []]:
        results.append(ended(plan, job, *planned))
        if results[-1]["code"] == 0:
            break
    return results


if __name__ == "__main__":
    assert PRELOADED
    for line in sys.stdin:
        print(json.dumps(carried_out(json.loads(line))), flush=True)
