"""A job at a vendor's."""

import threading
from collections.abc import Callable
from typing import Any

from hybrid_opt.backends.backend import Results
from hybrid_opt.errors import Cancelled, TransientError


class RemoteJob:
    """Waits for a vendor's job in a daemon thread: neither `done` nor the end of the program waits for a queue.

    vendor_id: the vendor's name for it. wait: blocks until the result is there, or raises what went wrong. stop: asks
    the vendor to cancel; whether it does.
    """

    def __init__(self, key: str, vendor_id: str, wait: Callable[[], Results], stop: Callable[[], bool]) -> None:
        self.key, self.vendor_id = key, vendor_id
        self._wait, self._stop = wait, stop
        self._finished, self._cancelled = threading.Event(), False
        self._result: Results | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._follow, name=f"job-{key[:8]}", daemon=True).start()

    def done(self) -> bool:
        return self._finished.is_set()

    def result(self, timeout: float | None = None) -> Any:
        if not self._finished.wait(timeout):
            raise TimeoutError(f"job {self.key} ({self.vendor_id}) has no result after {timeout} s")
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def cancel(self) -> bool:
        if self._finished.is_set() or not self._stop():
            return False
        self._cancelled = True
        return True

    def _follow(self) -> None:
        try:
            self._result = self._wait()
        except BaseException as error:
            if self._cancelled and not isinstance(error, Cancelled | TransientError):  # those say nothing of the job
                error = Cancelled(f"job {self.key} was cancelled")
            self._error = error
        self._finished.set()
