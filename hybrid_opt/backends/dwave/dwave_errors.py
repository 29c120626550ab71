"""What went wrong at D-Wave's, in our words."""

from hybrid_opt.backends.errors import Stage, doubtful, one_line
from hybrid_opt.errors import BackendError, Cancelled, ProblemError, TransientError

ACCOUNT = "set DWAVE_API_TOKEN, or run `dwave config create`"


def ours(error: Exception, name: str, stage: Stage) -> Exception:
    """What an error of the Ocean SDK is; see `VendorCalls`."""
    import requests
    from dimod.exceptions import BinaryQuadraticModelStructureError
    from dwave.cloud import exceptions as vendor
    from dwave.cloud.api import exceptions as api

    line = one_line(name, error)
    if stage == "opening" and isinstance(error, ValueError) and "token not defined" in str(error):
        return ProblemError(f"backend={name}: no D-Wave account; {ACCOUNT}")
    code = getattr(error, "error_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    code = code if isinstance(code, int) else None
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
    refused = (
        api.ResourceBadRequestError
        | vendor.InvalidProblemError
        | vendor.SolverFailureError
        | vendor.UnsupportedSolverError
        | vendor.UseAfterCloseError
        | BinaryQuadraticModelStructureError
    )
    if isinstance(error, refused) or (code is not None and 400 <= code < 500):
        return BackendError(line)
    return doubtful(error, line, stage, isinstance(error, requests.RequestException | vendor.PollingTimeout))
