"""Provenance: the versions, the commit and the hardware that a run was made with."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil


def provenance() -> dict[str, Any]:
    """The keys `versions`, `commit` and `hardware` of a run's config.yaml."""
    return {"versions": _versions(), "commit": _commit(), "hardware": _hardware()}


def _versions() -> dict[str, str]:
    from worldmodel import __version__

    packages = {name: version(name) for name in ("torch", "gymnasium", "numpy")}
    return {"worldmodel": __version__, "python": platform.python_version(), **packages}


def _commit() -> str | None:
    """The commit of the checkout that runs, `-dirty` where files differ; None outside a checkout, or without git."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    words = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


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
