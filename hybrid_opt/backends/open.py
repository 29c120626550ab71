"""Backends by name."""

import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from hybrid_opt.backends.backend import Backend
from hybrid_opt.errors import ProblemError, TransientError
from hybrid_opt.parts import nearest

BACKENDS = {  # name -> module, class, and whether it takes a name after the colon
    "statevector": ("local.statevector", "Statevector", "no"),
    "lightning": ("local.pennylane", "PennyLane", "no"),
    "pennylane": ("local.pennylane", "PennyLane", "yes"),
    "aer": ("qiskit.aer", "Aer", "no"),
    "ibm": ("qiskit.ibm", "Ibm", "yes"),
    "dwave": ("dwave.dwave", "DWave", "maybe"),
    "flaky": ("flaky", "Flaky", "yes"),
}
NAMES = ("statevector", "lightning", "aer", "ibm:NAME", "dwave", "dwave:NAME", "pennylane:NAME", "flaky:NAME")


def open_backend(
    backend: Any, *, ledger: Any = None, budget: Any = None, fallback: Any = None, **options: Any
) -> Backend:
    """The backend of a name. With a ledger, every program that it runs is recorded there; see `make_solver`.

    backend: a name, with options as in `aer?max_depth=99`; a mapping of `name` and options; a Backend, which is
    returned as it is; or a qiskit BackendV2.
    options: of the backend's config (max_depth, dollars_per_second, ...).

    Raises ProblemError for a name or option that is not known, and for an account or an extra that is missing. A vendor
    that cannot be reached is a TransientError, unless there is a fallback, which then takes over with a warning.
    """
    if isinstance(backend, Mapping):
        options = {**{key: value for key, value in backend.items() if key != "name"}, **options}
        backend = backend.get("name", "")
    given = not isinstance(backend, str)
    reason = ""
    try:
        opened: Backend = _adapted(backend, options) if given else _named(backend, options)
    except TransientError as error:
        if fallback is None:
            raise
        fallback = opened = open_backend(fallback)
        reason = str(error)
        warnings.warn(f"{reason}; fallback={opened.name} takes over", RuntimeWarning, stacklevel=2)
    if ledger is None and budget is None and fallback is None:
        return opened
    from hybrid_opt.backends.ledger.backend import Ledgered

    try:
        recorded: Backend = Ledgered(opened, ledger, budget, fallback, reason)
    except BaseException:
        if opened is not backend:
            opened.close()
        raise
    return recorded


def check_name(name: str) -> tuple[str, str]:
    """The kind of a backend and what comes after the colon, without options. Nothing is opened. Raises ProblemError."""
    name = name.partition("?")[0]
    kind, colon, rest = name.partition(":")
    if kind not in BACKENDS:
        raise ProblemError(f"backend={name}: no such backend{_hint(name)}")
    takes = BACKENDS[kind][2]
    if (takes == "no" and colon) or (takes == "yes" and not rest) or (takes == "maybe" and colon and not rest):
        accepted = {"no": kind, "yes": f"{kind}:NAME", "maybe": f"{kind} or {kind}:NAME"}[takes]
        raise ProblemError(f"backend={name}: {accepted} is accepted")
    if kind == "flaky":
        check_name(rest)
    return kind, rest


def _named(name: str, options: dict[str, Any]) -> Backend:
    kind, rest = check_name(name)
    takes = BACKENDS[kind][2]
    if kind != "flaky":  # whose own options come after its name, and those of what it wraps
        name, _, query = name.partition("?")
        options = {**dict(_option(part) for part in query.split("&") if part), **options}
    if kind == "flaky":
        from hybrid_opt.backends.flaky import Flaky

        flaky: Backend = Flaky(name.removeprefix("flaky:"), **options)
        return flaky
    module, made = BACKENDS[kind][:2]
    if kind == "ibm" and rest.startswith("fake_"):
        module, made = "qiskit.fake_ibm", "FakeIbm"
    if name == "dwave:mock":
        module, made = "dwave.dwave_mock", "DWaveMock"
    backend: Any = getattr(import_module(f"hybrid_opt.backends.{module}"), made)
    config = _config(backend.Config, name, options)
    if kind == "lightning":
        opened = backend("lightning.qubit", config, name)
    elif name == "dwave:mock" or takes == "no":
        opened = backend(config) if kind != "statevector" else backend(name, config)
    else:
        opened = backend(rest or None, config)
    result: Backend = opened
    return result


def _adapted(backend: Any, options: dict[str, Any]) -> Backend:
    """A Backend as it is; a qiskit BackendV2 behind its adapter."""
    if all(hasattr(backend, method) for method in ("submit", "find", "estimate", "capabilities")):
        if options:
            raise ProblemError(f"backend={backend.name}: it is open; options are accepted with a name")
        same: Backend = backend
        return same
    if not _is_a(backend, "BackendV2"):
        kind = type(backend).__name__
        raise ProblemError(f"backend: a {kind}; a name, a Backend or a qiskit BackendV2 is accepted")
    if _is_a(backend, "IBMBackend"):
        module, made = "qiskit.ibm", "Ibm"
    elif _is_a(backend, "FakeBackendV2"):
        module, made = "qiskit.fake_ibm", "FakeIbm"
    else:
        module, made = "qiskit.provider", "Provider"
    adapter: Any = getattr(import_module(f"hybrid_opt.backends.{module}"), made)
    opened: Backend = adapter(backend, _config(adapter.Config, str(backend.name), options))
    return opened


def _is_a(backend: Any, name: str) -> bool:
    """By the name of a base class: nothing has to be imported to know what something is not."""
    return any(base.__name__ == name for base in type(backend).__mro__)


def _config(kind: Any, name: str, options: dict[str, Any]) -> Any:
    for key in options:
        if key not in kind.__dataclass_fields__:
            raise ProblemError(f"backend.{key}: no such option of {name}{nearest(key, kind.__dataclass_fields__)}")
    try:
        return kind(**options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ProblemError(f"backend.{key}={first['input']!r}: {first['msg']}") from error


def _option(part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals:
        raise ProblemError(f"backend: ?{part}: options as in NAME?key=value&key=value are accepted")
    return key, value


def _hint(name: str) -> str:
    hint = nearest(name.partition(":")[0], BACKENDS)
    return hint if "did you mean" in hint else f"; {', '.join(NAMES)} are accepted"
