"""What was sent to backends: a row for each attempt, whose key is on disk before the program is sent."""

from hybrid_opt.backends.ledger.store import Ledger

__all__ = ["Ledger"]
