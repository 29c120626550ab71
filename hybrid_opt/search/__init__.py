"""`QuboSampler`: Optuna's sampler whose proposals are minima of a Qubo."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybrid_opt.search.sampler import QuboSampler

__all__ = ["QuboSampler"]


def __getattr__(name: str) -> Any:
    """QuboSampler is imported when it is asked for, since Optuna is slow to import."""
    if name == "QuboSampler":
        from hybrid_opt.search.sampler import QuboSampler

        return QuboSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
