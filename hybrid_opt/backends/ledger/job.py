"""A job of a ledger, as the program that asked for it sees it."""

import threading
from concurrent.futures import CancelledError, Future
from typing import Any

from hybrid_opt.backends.backend import Programs
from hybrid_opt.backends.ledger.store import Claim, Ledger
from hybrid_opt.errors import Cancelled


class LedgeredJob:
    """A job of a ledger, which a worker carries through. Ctrl-C while waiting for it cancels it."""

    def __init__(self, claim: Claim, programs: Programs, seed: int, ledger: Ledger) -> None:
        self.claim, self.programs, self.seed = claim, programs, seed
        self.stop, self.leave = threading.Event(), threading.Event()
        self.future: Future[Any] = Future()
        self.ledger = ledger

    @property
    def key(self) -> str:
        return self.claim.key

    def done(self) -> bool:
        return self.future.done()

    def result(self, timeout: float | None = None) -> Any:
        try:
            result = self.future.result(timeout)
        except CancelledError as error:
            raise Cancelled(f"job {self.key} was cancelled") from error
        except KeyboardInterrupt:
            self.cancel()
            raise
        self.ledger.collect(self.key)
        return result

    def cancel(self) -> bool:
        """Ask for it to be stopped: one that was not sent is, one that waits at the vendor is too where he agrees.

        One that runs there is left to, and is found by the next identical request. Either way `result` raises.
        """
        self.stop.set()
        return not self.future.done()
