"""Where a circuit or an anneal runs, and the ledger of what was sent."""

from hybrid_opt.backends.open import check_name
from hybrid_opt.backends.wrapped import open_backend

__all__ = ["check_name", "open_backend"]
