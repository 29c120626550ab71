"""How many threads are worth starting."""

import os
from pathlib import Path

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
