"""Where a circuit or an anneal runs, and the ledger of what was sent."""

from hybrid_opt.backends.registry import open_backend

__all__ = ["open_backend"]
