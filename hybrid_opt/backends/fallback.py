"""A fallback: a second backend takes over where the first one fails for good."""

from contextlib import ExitStack
from typing import Any

from hybrid_opt.backends.backend import Backend, Capabilities, Limits, Programs, Results
from hybrid_opt.backends.ledger.delivery import Delivery
from hybrid_opt.backends.ledger.job import LedgeredJob
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BackendError, BudgetExceeded, Cancelled, LedgerError
from hybrid_opt.job import Job


class Fallback:
    """A backend with a second one behind it, for a ledger: `Ledgered(Fallback(first, second), ledger)`.

    To the outside it is the first. The ledger lets the second take over, job by job, under the same key.

    reason: why `first` is the second already, where the first could not be opened.
    """

    def __init__(self, first: Backend, second: Backend, reason: str = "") -> None:
        self.first, self.second, self.reason, self.name = first, second, reason, first.name

    @property
    def capabilities(self) -> Capabilities:
        return self.first.capabilities

    @property
    def limits(self) -> Limits:
        return self.first.limits

    def estimate(self, programs: Programs) -> Cost:
        return self.first.estimate(programs)

    def submit(self, programs: Programs, key: str, seed: int = 0) -> Job[Any]:
        return self.first.submit(programs, key, seed)

    def find(self, key: str) -> Job[Any] | None:
        return self.first.find(key)

    def delivery(self, job: LedgeredJob) -> "FallbackDelivery":
        """Return the way of a ledger's job: over the first backend, and over the second where that fails."""
        return FallbackDelivery(job, self)

    def close(self) -> None:
        """Close both."""
        with ExitStack() as closing:
            if self.second is not self.first:  # it may have taken over at opening
                closing.callback(self.second.close)
            closing.callback(self.first.close)


class FallbackDelivery(Delivery):
    """Moves a job to the second backend where the first fails for good.

    It stays where the budget is exceeded, it was cancelled or the ledger failed: a second backend mends none of these.
    """

    def __init__(self, job: LedgeredJob, fallback: Fallback) -> None:
        first, second = fallback.first, fallback.second
        if first is second:
            super().__init__(job, second, "fallback", fallback.reason)
        elif job.claim.backend == second.name != first.name:  # it was under way there
            super().__init__(job, second, "fallback")
        else:
            super().__init__(job, first)
        self._second = second

    def carry(self) -> Results:
        try:
            return super().carry()
        except (BudgetExceeded, Cancelled, LedgerError):
            raise
        except BackendError as error:
            if self.backend is self._second:
                raise
            self.move(self._second, error)
            self.origin, self.fallback_reason = "fallback", str(error)
            return super().carry()
