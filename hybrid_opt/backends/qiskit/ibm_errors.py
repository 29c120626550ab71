"""What went wrong at IBM's, in our words."""

from hybrid_opt.backends.errors import Stage, chain, doubtful, one_line, unanswered
from hybrid_opt.errors import BackendError, Cancelled, ProblemError, TransientError

ACCOUNT = "set QISKIT_IBM_TOKEN, or save an account with QiskitRuntimeService.save_account"


def ours(error: Exception, name: str, stage: Stage) -> Exception:
    """What an error of qiskit-ibm-runtime is; see `VendorCalls`."""
    from qiskit.exceptions import QiskitError
    from qiskit.providers.exceptions import QiskitBackendNotFoundError
    from qiskit_ibm_runtime import exceptions as vendor
    from qiskit_ibm_runtime.api.exceptions import ApiError

    line = one_line(name, error)
    status = _status(error)
    if stage == "opening" and status in (None, -1) and unanswered(error):
        # the vendor's client tells it as an account that is missing
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
    lost = status is not None or unanswered(error) or isinstance(error, vendor.IBMApiError | ApiError)
    if isinstance(error, QiskitError) and not lost:
        return BackendError(line)
    return doubtful(error, line, stage, lost)


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error, -1 where there was no answer, None where no request was behind it."""
    for seen in chain(error):
        code = getattr(seen, "status_code", None)
        if code is None:
            code = getattr(getattr(seen, "response", None), "status_code", None)
        if isinstance(code, int):
            return code
    return None
