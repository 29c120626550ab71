"""World-model reinforcement learning; quantum solvers are a choice, never a fork."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # imports torch: only when asked for
        from worldmodel.evaluate.policy import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
