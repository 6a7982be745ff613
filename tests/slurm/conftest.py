"""A Slurm for all tests of this folder."""

import shutil
import tempfile

import pytest

from tests.helpers.loopback import LoopbackSlurm, lacking


@pytest.fixture(scope="session")
def slurm():
    if lacking():
        pytest.skip(f"no Slurm can be started without {', '.join(lacking())}")
    folder = tempfile.mkdtemp(prefix="slurm-")  # not pytest's: munge wants a short path that others may enter
    try:
        with LoopbackSlurm(folder, cpus=2) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
