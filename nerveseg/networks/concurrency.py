"""Work on many strips at once: each thread takes whole strips, and every operation within one runs on one thread.

PyTorch would share every small operation among all threads and wait for the last of them each time, thousands of times
a step; where a core is busy with something else, each of these waits is long. Here threads wait for each other once for
all strips, and what a strip needs stays in one core's cache. Which thread takes which strip depends on their number
alone, and results are put together in the strips' order, so that a run can be repeated bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from typing import TypeVar

import torch

T = TypeVar("T")
Item = TypeVar("Item")


def share_out(work: Callable[[Sequence[Item]], T], items: Sequence[Item]) -> list[T]:
    """Apply work to as many consecutive parts of the items as PyTorch may use threads, all at once.

    Args:
        work: Takes some of the items; writes nothing that another part reads or writes.
        items: At least one.

    Returns:
        What each part gave, in order.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads == 1:
        return [work(items)]
    bounds = [len(items) * number // threads for number in range(threads + 1)]
    parts = [items[first:last] for first, last in pairwise(bounds)]
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # for the whole process, MKL included
    try:
        others = [_pool(before - 1).submit(_alone, work, part) for part in parts[1:]]
        try:
            mine = work(parts[0])
        finally:
            wait(others)
        return [mine, *(other.result() for other in others)]
    finally:
        torch.set_num_threads(before)


def _alone(work: Callable[[Sequence[Item]], T], part: Sequence[Item]) -> T:
    with torch.no_grad():  # which each thread has to say for itself
        return work(part)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that compute alone: OpenMP counts for each thread apart, and would give every one of them a team."""
    return ThreadPoolExecutor(threads, thread_name_prefix="strips", initializer=torch.set_num_threads, initargs=(1,))
