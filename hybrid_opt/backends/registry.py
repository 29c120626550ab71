"""Backends by name."""

from typing import Any

from hybrid_opt.backends.backend import Backend
from hybrid_opt.errors import ProblemError


def open_backend(backend: str | Backend, *, ledger: Any = None, budget: Any = None, fallback: Any = None) -> Backend:
    """The backend of a name. With a ledger, every program that it runs is recorded there; see `make_solver`.

    Raises ProblemError for a name that is not known, and for an account or an extra that is missing.
    """
    raise ProblemError(f"backend={backend}: no such backend")
