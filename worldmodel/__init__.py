"""World-model reinforcement learning; quantum solvers are a choice, never a fork."""

from typing import Any

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from worldmodel.runs.version import __version__

        return __version__
    if name == "load":  # imports torch: only when asked for
        from worldmodel.evaluate.policy import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
