"""Work under way: what `submit` returns."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from hybrid_opt.errors import Cancelled

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Job(Protocol[T_co]):
    """A piece of work that may still be running."""

    @property
    def key(self) -> str:
        """Its name, unique, known before anything was sent."""
        ...

    def done(self) -> bool:
        """Whether `result` would return or raise at once. Never blocks."""
        ...

    def result(self, timeout: float | None = None) -> T_co:
        """Wait for the result. Raises TimeoutError after `timeout` seconds, Cancelled, and what went wrong."""
        ...

    def cancel(self) -> bool:
        """Ask for it to be stopped; whether it will be."""
        ...


class ThreadJob(Generic[T]):
    """A function in a thread of its own. It is given an event that is set when the job is cancelled.

    on_cancel: called when it is. Ctrl-C while waiting for the result cancels the job.
    """

    def __init__(
        self, key: str, work: Callable[[threading.Event], T], on_cancel: Callable[[], None] | None = None
    ) -> None:
        self._key, self._stop, self._on_cancel = key, threading.Event(), on_cancel
        pool = ThreadPoolExecutor(1, thread_name_prefix=f"job-{key[:8]}")
        self._future: Future[T] = pool.submit(work, self._stop)
        pool.shutdown(wait=False)

    @property
    def key(self) -> str:
        return self._key

    def done(self) -> bool:
        return self._future.done()

    def result(self, timeout: float | None = None) -> T:
        try:
            return self._future.result(timeout)
        except CancelledError as error:
            raise Cancelled(f"job {self._key} was cancelled") from error
        except KeyboardInterrupt:
            self.cancel()
            raise

    def cancel(self) -> bool:
        self._stop.set()
        if self._on_cancel is not None:
            self._on_cancel()
        return self._future.cancel() or not self._future.done()


class FinishedJob(Generic[T]):
    """A result that is already there."""

    def __init__(self, key: str, value: T) -> None:
        self._key, self._value = key, value

    @property
    def key(self) -> str:
        return self._key

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> T:
        return self._value

    def cancel(self) -> bool:
        return False
