"""What went wrong at D-Wave's, in our words."""

from contextlib import AbstractContextManager

from hybrid_opt.backends.redaction import redact
from hybrid_opt.backends.vendor_errors import Stage, mapping
from hybrid_opt.errors import BackendError, Cancelled, LostReply, ProblemError, TransientError

ACCOUNT = "set DWAVE_API_TOKEN, or run `dwave config create`"


def mapped(name: str, stage: Stage) -> AbstractContextManager[None]:
    """Raise errors of the Ocean SDK as ours; see `mapping`."""
    return mapping(_ours, name, stage)


def _ours(error: Exception, name: str, stage: Stage) -> Exception:
    import requests
    from dwave.cloud import exceptions as vendor
    from dwave.cloud.api import exceptions as api

    line = f"backend={name}: {redact(' '.join(f'{type(error).__name__}: {error}'.split()))[:300]}"
    if stage == "opening" and isinstance(error, ValueError) and "token not defined" in str(error):
        return ProblemError(f"backend={name}: no D-Wave account; {ACCOUNT}")
    code = getattr(error, "error_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    bad_account = vendor.SolverAuthenticationError | api.ResourceAuthenticationError | vendor.ConfigFileError
    if isinstance(error, bad_account) or code == 401:
        return ProblemError(f"{line}; {ACCOUNT}")
    if isinstance(error, api.ResourceAccessForbiddenError) or code == 403:
        return ProblemError(line)
    if isinstance(error, vendor.SolverNotFoundError | api.ResourceNotFoundError) and stage == "opening":
        return ProblemError(f"backend={name}: this account has no such processor online")
    if isinstance(error, vendor.CanceledFutureError):
        return Cancelled(f"backend={name}: the problem was cancelled")
    busy = vendor.SolverOfflineError | api.ResourceLimitsExceededError | vendor.ProblemUploadError
    if isinstance(error, busy) or code == 429:
        return TransientError(line)
    refused = vendor.SolverFailureError | api.ResourceBadRequestError | vendor.InvalidProblemError
    if isinstance(error, refused) or (code is not None and 400 <= int(code) < 500):
        return BackendError(line)
    network = requests.exceptions.RequestException | vendor.PollingTimeout | OSError
    if isinstance(error, network):
        never = isinstance(error, requests.exceptions.ConnectTimeout) or "NewConnectionError" in str(error)
        if stage == "opening" or (stage == "sending" and never):
            return TransientError(line)
        return LostReply(line)
    return BackendError(line)
