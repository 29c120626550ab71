"""What went wrong at IBM's, in our words."""

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager

import requests

from hybrid_opt.backends.redaction import redact
from hybrid_opt.backends.vendor_errors import Stage, mapping
from hybrid_opt.errors import BackendError, Cancelled, LostReply, ProblemError, TransientError

ACCOUNT = "set QISKIT_IBM_TOKEN, or save an account with QiskitRuntimeService.save_account"
NEVER_ARRIVED = ("NewConnectionError", "ConnectTimeout", "NameResolutionError", "Connection refused")


def mapped(name: str, stage: Stage) -> AbstractContextManager[None]:
    """Raise errors of qiskit-ibm-runtime as ours; see `mapping`."""
    return mapping(_ours, name, stage)


def _ours(error: Exception, name: str, stage: Stage) -> Exception:
    from qiskit.providers.exceptions import QiskitBackendNotFoundError
    from qiskit_ibm_runtime import exceptions as vendor
    from qiskit_ibm_runtime.api.exceptions import RequestsApiError

    line = f"backend={name}: {redact(' '.join(str(error).split()))[:300]}"
    status = _status(error)
    if stage == "opening" and _unreachable(error):  # the vendor's client tells it as an account that is missing
        return TransientError(f"backend={name}: IBM's service cannot be reached: {line.partition(': ')[2]}")
    if isinstance(error, vendor.IBMAccountError) or (stage == "opening" and "Unable to find account" in str(error)):
        return ProblemError(f"backend={name}: no IBM account; {ACCOUNT}")
    if isinstance(error, vendor.IBMNotAuthorizedError) or status in (401, 403):
        return ProblemError(f"{line}; {ACCOUNT}")
    if isinstance(error, QiskitBackendNotFoundError | vendor.IBMInputValueError):
        return ProblemError(line)
    if isinstance(error, vendor.RuntimeInvalidStateError) and "cancelled" in str(error).lower():
        return Cancelled(line)
    if isinstance(error, vendor.RuntimeJobFailureError | vendor.RuntimeJobMaxTimeoutError):
        return BackendError(line)
    if status == 429:
        return TransientError(line)
    if status is not None and 400 <= status < 500:
        return BackendError(line)
    network = status is not None or isinstance(error, vendor.IBMApiError | RequestsApiError | OSError)
    if not network:
        return BackendError(line)
    if stage == "opening" or (stage == "sending" and any(word in str(error) for word in NEVER_ARRIVED)):
        return TransientError(line)
    return LostReply(line)


def _unreachable(error: BaseException) -> bool:
    """Whether a connection that was not made, or broke, is behind an error."""
    return any(
        isinstance(each, ConnectionError | TimeoutError | socket.gaierror | requests.RequestException)
        and getattr(each, "response", None) is None
        for each in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error, -1 where there was no answer, None where no request was behind it."""
    for seen in _chain(error):
        code = getattr(seen, "status_code", None)
        if code is None:
            code = getattr(getattr(seen, "response", None), "status_code", None)
        if isinstance(code, int):
            return code
    return None
