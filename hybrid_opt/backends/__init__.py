"""Where a circuit or an anneal runs, and the ledger of what was sent."""

from hybrid_opt.backends.open import check_name, open_backend

__all__ = ["check_name", "open_backend"]
