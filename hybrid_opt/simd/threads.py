"""How many threads are worth starting, and work that is shared among some."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container


def asked() -> int | None:
    """What OMP_NUM_THREADS asks for, at the outermost level; None where it is no number."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdigit() and int(first) else None


def processors() -> int:
    """The processors that this process may use, within the quota of its container; fewer by OMP_NUM_THREADS."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, _QUOTA.read_text().split())
        count = min(count, quota // period)
    except (OSError, ValueError):  # no control group, no quota ("max"), or another system
        pass
    return max(1, min(count, asked() or count))


def in_threads(work: Callable[[int], None], parts: int) -> None:
    """work(part) of every part, the first here and each other in a thread of its own."""
    others = [_pool(_of_torch()).submit(work, part) for part in range(1, parts)]
    work(0)
    for other in others:
        other.result()


def aside(work: Callable[[], T], threads: int) -> Future[T]:
    """What work gives: done in a thread of its own where PyTorch's operators leave one of them idle, else here."""
    if threads > _of_torch():
        return _pool(_of_torch()).submit(work)
    done: Future[T] = Future()
    done.set_result(work())
    return done


def _of_torch() -> int:
    import torch  # the solvers that ask for `processors` do without

    return torch.get_num_threads()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """For each number of PyTorch's threads: a thread keeps the number that it finds at its first operator."""
    return ThreadPoolExecutor(thread_name_prefix="kernels")
