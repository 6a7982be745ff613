import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from nerveseg.errors import RunError
from nerveseg.files import exclusive_lock, wait_for_lock


def enter_and_leave(file, log, rounds):
    for _ in range(rounds):
        with wait_for_lock(file):
            with log.open("a") as stream:
                stream.write("in\n")
            time.sleep(0.002)
            with log.open("a") as stream:
                stream.write("out\n")


def test_one_process_at_a_time_and_nothing_is_left(tmp_path):
    file, log = tmp_path / "deep" / ".comparing", tmp_path / "log"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=enter_and_leave, args=(file, log, 25)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert log.read_text().split() == ["in", "out"] * 100
    assert not file.exists()


def test_a_file_that_a_killed_process_left_is_taken_over(tmp_path):
    (tmp_path / ".comparing").touch()
    with wait_for_lock(tmp_path / ".comparing"):
        assert (tmp_path / ".comparing").is_file()
    assert not (tmp_path / ".comparing").exists()


HOLDER = """
import os, sys, time
from pathlib import Path
from nerveseg.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "one at a time"):
    if os.fork() == 0:
        time.sleep(60)  # as a process that loads data, whose parent is killed
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_killed_though_its_children_live_on(tmp_path):
    file = tmp_path / "fold-0" / ".training"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError) as refused, exclusive_lock(file, "one at a time"):
            pass
        assert refused.value.path == file.parent
        assert file.is_file(), "the refused one took nothing away"
        holder.kill()
        holder.wait()
        with exclusive_lock(file, "one at a time"):
            assert file.is_file()
        assert not file.exists()
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.stdout.close()
        holder.wait()


def test_the_lock_ends_with_an_error_within(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), exclusive_lock(tmp_path / ".training", "one at a time"):
            raise KeyError
    assert not list(tmp_path.iterdir())
