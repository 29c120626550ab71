"""How many threads are worth starting."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container


def processors() -> int:
    """The processors that this process may use, within the quota of its container; fewer by OMP_NUM_THREADS."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, _QUOTA.read_text().split())
        count = min(count, quota // period)
    except (OSError, ValueError):  # no control group, no quota ("max"), or another system
        pass
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(count, int(asked) if asked.isdigit() and int(asked) else count))
