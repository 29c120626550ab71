"""Backends by name."""

import os
import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hybrid_opt.backends.backend import Backend
from hybrid_opt.backends.errors import told
from hybrid_opt.errors import ProblemError
from hybrid_opt.parts import Parts, nearest

BACKENDS = Parts("backend", "hybrid_opt.backends", "Backend", says="devices")
STAND_INS = {"ibm:fake_": "qiskit.fake_ibm:FakeIbm", "dwave:mock": "dwave.dwave_mock:DWaveMock"}  # by what they imitate
ADAPTERS = {"IBMBackend": "qiskit.ibm:Ibm", "FakeBackendV2": "qiskit.fake_ibm:FakeIbm"}  # by the base of a BackendV2


def open_device(backend: Any, **options: Any) -> Backend:
    """The backend of a name, without a ledger or a fallback; see `open_backend`."""
    if isinstance(backend, Mapping):
        options = {**{key: value for key, value in backend.items() if key != "name"}, **options}
        backend = backend.get("name", "")
    return _named(backend, options) if isinstance(backend, str) else _adapted(backend, options)


def without(backend: Any, options: dict[str, Any], key: str) -> tuple[Any, dict[str, Any], Any]:
    """A backend and its options without the one of this key, and the value of that, None where it is not given."""
    given = [options[key]] if key in options else []
    options = {other: value for other, value in options.items() if other != key}
    if isinstance(backend, Mapping) and key in backend:
        given.append(backend[key])
        backend = {other: value for other, value in backend.items() if other != key}
    elif isinstance(backend, str) and "?" in backend:
        name, _, query = backend.partition("?")
        parts = [part.partition("=") for part in query.split("&") if part]
        given += [value for other, _, value in parts if other == key]
        rest = "&".join("".join(part) for part in parts if part[0] != key)
        backend = name + ("?" + rest if rest else "")
    if len(given) > 1:
        raise ProblemError(f"backend.{key}: given {len(given)} times; once is accepted")
    return backend, options, given[0] if given else None


def check_name(name: str) -> tuple[str, str]:
    """The kind of a backend and what comes after the colon, without options. Nothing is opened. Raises ProblemError."""
    name = name.partition("?")[0]
    kind, colon, device = name.partition(":")
    if kind not in BACKENDS:
        _own(name)
        return kind, device
    devices = BACKENDS.find(kind, "backend").devices
    if (devices == "none" and colon) or (devices == "one" and not device) or (colon and not device):
        raise ProblemError(f"backend={name}: {' or '.join(_forms(kind))} is accepted")
    return kind, device


def _named(name: str, options: dict[str, Any]) -> Backend:
    kind, device = check_name(name)
    name, _, query = name.partition("?")
    options = {**dict(_option(part) for part in query.split("&") if part), **options}
    if kind not in BACKENDS:
        own = _own(name)
        return _adapted(own(_config(own.Config, name, options)), {})
    stand_in = STAND_INS.get(name) or STAND_INS.get(name[: name.find("_") + 1])
    backend = _class(stand_in) if stand_in else BACKENDS.find(kind, "backend")
    config = _config(backend.Config, name, options)
    nameless = not stand_in and backend.devices == "none"
    opened: Backend = backend(config) if nameless else backend(device or None, config)
    return opened


def _forms(kind: str) -> list[str]:
    """How a backend of this kind is written."""
    devices = BACKENDS.find(kind, "backend").devices
    return [kind] * (devices != "one") + [f"{kind}:NAME"] * (devices != "none")


def _own(name: str) -> Any:
    """A class of the user's, MODULE:CLASS. Raises ProblemError."""
    module, _, made = name.partition(":")
    if not (made.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ProblemError(f"backend={name}: no such backend{_hint(name)}")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # the module lies beside the run, also where a script was started elsewhere
    try:
        found = getattr(import_module(module), made, None)
    except Exception as error:
        raise ProblemError(f"backend={name}: no such backend ({told(error)}){_hint(name)}") from error
    if not is_dataclass(getattr(found, "Config", None)):
        raise ProblemError(f"backend={name}: {module} has no class {made} with a dataclass Config")
    return found


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
    adapter = _class(
        next((place for base, place in ADAPTERS.items() if _is_a(backend, base)), "qiskit.provider:Provider")
    )
    opened: Backend = adapter(backend, _config(adapter.Config, str(backend.name), options))
    return opened


def _class(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"hybrid_opt.backends.{module}"), name)


def _is_a(backend: Any, name: str) -> bool:
    """By the name of a base class: nothing has to be imported to know what something is not."""
    return any(base.__name__ == name for base in type(backend).__mro__)


def _config(kind: Any, name: str, options: dict[str, Any]) -> Any:
    for key in options:
        if key not in kind.__dataclass_fields__:
            raise ProblemError(f"backend.{key}: no such option of {name}{nearest(key, kind.__dataclass_fields__)}")
    try:
        return TypeAdapter(kind).validate_python(options)  # text behind the ? becomes what the fields say
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
    forms = [form for kind in BACKENDS for form in _forms(kind)]
    return hint if "did you mean" in hint else f"; {', '.join([*forms, 'MODULE:CLASS'])} are accepted"
