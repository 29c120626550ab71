"""A backend with what is wrapped around it: a fallback and a ledger."""

from collections.abc import Callable
from typing import Any

from hybrid_opt.backends.backend import Backend
from hybrid_opt.backends.fallback import Fallback
from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.open import open_device
from hybrid_opt.errors import TransientError
from hybrid_opt.notices import notice


def open_backend(
    backend: Any,
    *,
    ledger: Any = None,
    budget: Any = None,
    fallback: Any = None,
    check: Callable[[Backend], None] | None = None,
    **options: Any,
) -> Backend:
    """The backend of a name. With a ledger, every program that it runs is recorded there; see `make_solver`.

    backend: a name, with options as in `aer?max_depth=99`; MODULE:CLASS, which is made of its `Config`; a mapping of
    `name` and options; a Backend, which is returned as it is; or a qiskit BackendV2.
    check: raises an error for a backend that is not accepted, before the file of the ledger is made.
    options: of the backend's config (max_depth, dollars_per_second, ...).

    Raises ProblemError for a name or option that is not known, and for an account or an extra that is missing. A vendor
    that cannot be reached is a TransientError, unless there is a fallback, which then takes over with a warning.
    """
    reason = ""
    try:
        opened = open_device(backend, **options)
    except TransientError as error:
        if fallback is None:
            raise
        fallback = opened = open_device(fallback)
        reason = str(error)
        notice(f"{reason}; fallback={opened.name} takes over", stacklevel=2)
    try:
        if check is not None:
            check(opened)
        if ledger is None and budget is None and fallback is None:
            return opened
        wrapped = opened if fallback is None else Fallback(opened, open_device(fallback), reason)
        recorded: Backend = Ledgered(wrapped, ledger, budget)
    except BaseException:
        if opened is not backend:
            opened.close()
        raise
    return recorded
