"""A backend with what is wrapped around it: a fallback, a ledger and error mitigation."""

from collections.abc import Callable
from typing import Any

from hybrid_opt.backends.backend import Backend
from hybrid_opt.backends.fallback import Fallback
from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.mitigation.chain import parsed
from hybrid_opt.backends.mitigation.mitigated import Mitigated
from hybrid_opt.backends.open import open_device, without
from hybrid_opt.errors import ProblemError, TransientError
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
    options: of the backend's config (max_depth, dollars_per_second, ...). `mitigation` applies techniques in order, the
    innermost first, to whatever runs there: `ibm:fake_torino?mitigation=readout+zne(scales=1/3/5,fit=exponential)`.

    Raises ProblemError for a name or option that is not known, and for an account or an extra that is missing. A vendor
    that cannot be reached is a TransientError, unless there is a fallback, which then takes over with a warning.
    """
    backend, options, mitigation = without(backend, options, "mitigation")
    if mitigation is not None:
        _check_mitigation(backend, options, mitigation)
        if fallback is not None and without(fallback, {}, "mitigation")[2] is not None:
            raise ProblemError(f"fallback={fallback}: takes over what mitigation={mitigation} made; give it there only")
        return _mitigated(backend, mitigation, ledger=ledger, budget=budget, fallback=fallback, check=check, **options)
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


def _mitigated(backend: Any, mitigation: str, **options: Any) -> Backend:
    """The backend with a ledger and a fallback, and around it the techniques."""
    opened = open_backend(backend, **options)
    try:
        return Mitigated(opened, mitigation)
    except BaseException:
        if opened is not backend:
            opened.close()
        raise


def _check_mitigation(backend: Any, options: dict[str, Any], mitigation: Any) -> None:
    """Raise ProblemError for techniques that cannot be, before anything is opened, and for two mitigations at once."""
    parsed(mitigation)
    vendors = without(backend, options, "resilience_level")[2]
    if vendors is not None and str(vendors) != "0":
        both = f"mitigation={mitigation}: would come on top of the vendor's own"
        raise ProblemError(f"backend.resilience_level={vendors}: {both}; one of both is accepted")
