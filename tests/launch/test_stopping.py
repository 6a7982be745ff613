import errno
import os
import signal

import pytest
import pytorch_lightning as pl
from lightning_fabric.plugins.environments import SLURMEnvironment

from nerveseg.errors import RunError
from nerveseg.launch.main import run_command, stop_on_signals
from nerveseg.training.distributed import ALONE
from nerveseg.workflows.failures import explain_full_disk


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
    with stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_is_an_error_of_the_run(tmp_path):
    with pytest.raises(RunError) as caught, explain_full_disk(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.found == os.strerror(errno.ENOSPC)
    assert caught.value.path == tmp_path
    assert "goes on from the last checkpoint" in caught.value.remedy


def test_another_fault_of_the_system_stays_what_it_is(tmp_path):
    with pytest.raises(PermissionError), explain_full_disk(tmp_path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_inside_a_slurm_job_lightning_neither_requeues_nor_ignores_signals(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, plugins=[ALONE.environment()], logger=False, default_root_dir=tmp_path
    )
    assert not isinstance(trainer._accelerator_connector.cluster_environment, SLURMEnvironment)
    assert trainer.world_size == 1
