"""What glibc does with freed memory, seen from outside: by the pages that the system has to clear."""

import platform
import subprocess
import sys

import pytest

from nerveseg.training import allocation

FAULTS = """
import resource, sys, torch
from nerveseg.training.allocation import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
BLOCK_PAGES = 10_000_000 * 4 / 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's allocator")
def test_a_large_block_is_used_again():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True).stdout)
        for how in ("kept", "given-back")
    }
    assert faults["kept"] < BLOCK_PAGES / 10
    assert faults["given-back"] > BLOCK_PAGES / 2, "or there is nothing left to mend"


def test_another_allocator_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocation.platform, "libc_ver", lambda: ("", ""))
    assert not allocation.keep_freed_memory()
