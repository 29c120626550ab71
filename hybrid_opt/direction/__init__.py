"""`HybridOptimizer`: an optimiser of PyTorch whose update directions are chosen by a Qubo."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybrid_opt.direction.optimizer import HybridOptimizer

__all__ = ["HybridOptimizer"]


def __getattr__(name: str) -> Any:
    """HybridOptimizer is imported when it is asked for, since PyTorch is slow to import."""
    if name == "HybridOptimizer":
        from hybrid_opt.direction.optimizer import HybridOptimizer

        return HybridOptimizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
