"""Provenance: the versions, the commit and the hardware that a run was made with."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from worldmodel.runs.version import __version__


def provenance() -> dict[str, Any]:
    """The keys `versions`, `commit` and `hardware` of a run's config.yaml."""
    return {"versions": _versions(), "commit": _commit(), "hardware": _hardware()}


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "gymnasium", "numpy")}
    return {"worldmodel": __version__, "python": platform.python_version(), **packages}


def _commit() -> str | None:
    """The commit of the checkout that runs, `-dirty` where files differ; None outside a checkout, or without git."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    words = ["status", "--porcelain=v2", "--branch", "--untracked-files=no"]  # describe --dirty would write the index
    words = ["git", "--no-optional-locks", "-C", str(root), *words]
    try:
        lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    commit, dirty = lines[0].removeprefix("# branch.oid "), any(not line.startswith("#") for line in lines)
    return None if commit == "(initial)" else commit + "-dirty" * dirty


def _hardware() -> dict[str, Any]:
    import torch

    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
