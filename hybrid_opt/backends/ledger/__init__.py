"""What was sent to backends: a row for each attempt, whose key is on disk before the program is sent."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hybrid_opt.backends.ledger.store import Ledger

__all__ = ["Ledger"]


def __getattr__(name: str) -> Any:
    """Ledger is imported when it is asked for: modules of this room import each other."""
    if name == "Ledger":
        from hybrid_opt.backends.ledger.store import Ledger

        return Ledger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
