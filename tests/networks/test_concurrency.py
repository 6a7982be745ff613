import threading

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
