import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerveseg.networks.concurrency import share_out


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@given(st.integers(1, 20), st.integers(1, 5))
def test_every_item_is_worked_on_once_and_in_order(items, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        parts = share_out(list, range(items))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert [item for part in parts for item in part] == list(range(items))
    assert len(parts) == min(items, threads)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.usefixtures("two_threads")
def test_parts_are_worked_on_at_once_by_one_thread_each():
    meeting = threading.Barrier(2, timeout=30)

    def work(part):
        meeting.wait()
        return torch.get_num_threads()

    assert share_out(work, [0, 1]) == [1, 1]


@pytest.mark.usefixtures("two_threads")
def test_no_part_records_gradients():
    weight = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        assert share_out(lambda part: (weight * 2).requires_grad, [0, 1]) == [False, False]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_any_part_comes_through(failing):
    def work(part):
        if failing in part:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        share_out(work, [0, 1])
    assert torch.get_num_threads() == 2


COUNTS = """
import os, torch
from nerveseg.networks.concurrency import share_out
torch.set_num_threads(2)
a = torch.rand(2000, 200)
image = torch.rand(1, 64, 64, 64)
weight = torch.rand(64, 64, 3, 3)
def work(part):
    for _ in part:
        a @ a.t()
        torch.nn.functional.conv2d(image, weight)
        (a * 2).sum()
work([0])
threads = len(os.listdir("/proc/self/task"))
share_out(work, [0, 1])
print(len(os.listdir("/proc/self/task")) - threads)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts its threads in /proc")
def test_a_thread_of_ours_starts_none_of_its_own():
    done = subprocess.run([sys.executable, "-c", COUNTS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"], "the one that takes the second part"
