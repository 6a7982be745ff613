import errno
import os
import signal

import pytest

from nerveseg.errors import RunError
from nerveseg.launch.command import run_command
from nerveseg.launch.interruption import cluster, full_disk_is_told, stopped_by_signals


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGUSR1", 138)])
def test_a_signal_that_asks_for_the_end_is_told_and_leaves_its_code(name, code, capsys):
    number = getattr(signal, name)
    before = signal.getsignal(number)

    def job(config):
        os.kill(os.getpid(), number)

    assert run_command("simulate", job, []) == code
    assert f"stopped by {name}; the same command continues" in capsys.readouterr().out
    assert signal.getsignal(number) is before


def test_handlers_are_put_back_when_nothing_happened():
    before = signal.getsignal(signal.SIGTERM)
    with stopped_by_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_is_an_error_of_the_run(tmp_path):
    with pytest.raises(RunError, match="No space left on device") as caught, full_disk_is_told(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.path == tmp_path
    assert "goes on from the last checkpoint" in caught.value.remedy


def test_another_fault_of_the_system_stays_what_it_is(tmp_path):
    with pytest.raises(PermissionError), full_disk_is_told(tmp_path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_lightning_leaves_requeueing_to_slurm(monkeypatch):
    for name in ("SLURM_NTASKS", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert cluster() == []
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    (plugin,) = cluster()
    assert not plugin.auto_requeue
