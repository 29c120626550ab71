"""The way of one job from its row in the ledger to its end."""

import time
from contextlib import suppress
from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np

from hybrid_opt.backends.backend import Backend, Programs, Results
from hybrid_opt.backends.ledger.config import LedgerConfig
from hybrid_opt.backends.ledger.job import LedgeredJob
from hybrid_opt.backends.ledger.serialization import check_result, pack_result
from hybrid_opt.backends.ledger.store import Claim, Ledger
from hybrid_opt.backends.programs import each, total
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BackendError, Cancelled, CorruptResult, ProblemError, TransientError
from hybrid_opt.job import Job

SLICE = 0.2  # seconds between two looks at whether the job was cancelled
STEADY = 10  # longest pauses: a wait that long without a failure ends a row of failures


class Delivery:
    """Sends a job, waits for it, looks for it where something failed, and sends it again only where it is not there.

    clear: whether it is certain that the vendor has nothing under the job's key, that could still run and be billed.
    origin, fallback_reason: what the result says of where it comes from; see Fallback.
    """

    def __init__(self, job: LedgeredJob, backend: Backend, origin: str = "run", fallback_reason: str = "") -> None:
        claim: Claim = job.claim
        self.job, self.backend, self.origin, self.fallback_reason = job, backend, origin, fallback_reason
        self.ledger: Ledger = job.ledger
        self.config = self.ledger.config
        self.programs: Programs = job.programs
        self.stop: Event = job.stop
        self.key, self.number = claim.key, claim.number
        self.handle: Job[Any] | None = None
        self.result: Results | None = None
        self.clear = claim.new
        self.failures = 0  # of calls, in a row; finding the job again ends no row, as its result may never come
        self.looks = 0  # in vain, since it was sent
        self.faults = 0  # corrupt results, and times that it was not there
        self.error, self.charged = "", Cost()  # of the last failure
        self._rng = np.random.default_rng()  # of the jitter only, which jobs and processes must not share

    def run(self) -> Results:
        """Bring the job to its end, also in the ledger. Raises what it failed of."""
        try:
            return self._finish(self.carry())
        except BaseException as error:
            self._fail(error)
            raise

    def move(self, backend: Backend, error: BackendError) -> None:
        """Begin an attempt on another backend. What this one may still bill is booked."""
        cost = _charged(error) if self.clear else self.backend.estimate(self.programs)
        status, estimate = "failed" if self.clear else "unknown", backend.estimate(self.programs)
        self.number = self.ledger.again(self.key, self.number, status, str(error), backend.name, estimate, cost)
        self.backend, self.handle, self.clear, self.failures, self.faults = backend, None, True, 0, 0

    def carry(self) -> Results:
        """Return what fits the programs. Raises BackendError where this backend fails for good."""
        deadline = float("inf") if self.config.timeout is None else time.monotonic() + self.config.timeout
        while True:
            try:
                if self.result is None:
                    if self.handle is None and not self.clear:
                        self._look()
                    if self.handle is None:
                        self._obey()
                        self._send()
                    self.result = self._wait(deadline)
                self._settle()
                return self.result
            except TransientError as error:
                self.error, self.charged = str(error), _charged(error)
                self.failures += 1
                if max(self.failures, self.faults) >= self.config.tries:
                    self._withdraw()
                    raise self._given_up() from error
                if time.monotonic() > deadline:
                    self._time_out(error)
                self._pause(self._jitter(self.failures + self.faults))

    def _look(self) -> None:
        """Find the job by its key; where it is not there, end the attempt at its known cost, and begin another."""
        while self.looks < (self.config.looks if self.backend.capabilities.remote else 1):
            if self.looks:
                self._pause(self._jitter(self.looks))
            self.handle = self.backend.find(self.key)
            if self.handle is not None:
                self.looks = 0
                self.ledger.accepted(self.key, self.number, _vendor_id(self.handle))
                return
            self.looks += 1
        self.clear = True
        self.faults += 1
        if self.faults >= self.config.tries:
            raise self._given_up()
        estimate = self.backend.estimate(self.programs)
        error = self.error or "it was not there"
        self.number = self.ledger.again(self.key, self.number, "lost", error, self.backend.name, estimate, self.charged)
        self.charged = Cost()

    def _given_up(self) -> BackendError:
        error = BackendError(f"{self.backend.name}: given up; the last of many failures: {self.error}")
        error.cost = self.charged
        return error

    def _send(self) -> None:
        self.clear, self.looks = False, 0
        try:
            self.handle = self.backend.submit(self.programs, self.key, self.job.seed)
        except TransientError:  # also where it may have arrived
            raise
        except (BackendError, ProblemError):
            self.clear = True
            raise
        self.failures = 0
        self.ledger.accepted(self.key, self.number, _vendor_id(self.handle))

    def _wait(self, deadline: float) -> Results:
        handle = self.handle
        assert handle is not None
        begin = time.monotonic()
        while True:
            self._obey()
            try:
                result: Results = handle.result(max(0.0, min(SLICE, deadline - time.monotonic())))
                check_result(self.programs, result)
                self.failures = 0
                return result
            except TimeoutError as error:
                if time.monotonic() - begin > STEADY * self.config.longest_pause:
                    self.failures = 0
                if time.monotonic() >= deadline:
                    self._time_out(error)
            except TransientError as error:
                self.handle = None  # to be found by its key, under the same id where it is there
                self.faults += isinstance(error, CorruptResult)
                raise
            except BackendError:
                self.clear = True
                raise

    def _obey(self) -> None:
        """Raise Cancelled where that was asked for, here or by another process."""
        if not self.stop.is_set() and not self.ledger.stopped(self.key):
            return
        if self.handle is not None and not self.job.leave.is_set():
            self.clear = self._stop_there(self.handle)
        state = "" if self.clear else f"; {self.backend.name} still has it, and it will be found by its key"
        raise Cancelled(f"job {self.key} was cancelled{state}")

    def _stop_there(self, handle: Job[Any]) -> bool:
        """Cancel a job at the vendor's; whether it is certain that it will not run."""
        if not self.backend.capabilities.remote:
            handle.cancel()
            return True
        end = time.monotonic() + self.config.patience
        while time.monotonic() < end:
            try:
                if not handle.cancel():
                    return False
                handle.result(SLICE)
                return False
            except Cancelled:
                return True
            except TimeoutError:
                continue
            except TransientError:
                time.sleep(min(SLICE, self._jitter(1)))
        return False

    def _settle(self) -> None:
        """Cancel the copies of the job that the vendor made, and book those that ran."""
        find_all = getattr(self.backend, "find_all", None)
        if find_all is None or self.handle is None:
            return
        for copy in find_all(self.key):
            identity = _vendor_id(copy)
            if identity != _vendor_id(self.handle) and not self._stop_there(copy):
                try:
                    cost = total(copy.result(self.config.patience))
                except TimeoutError:
                    cost = self.backend.estimate(self.programs)
                self.ledger.surplus(self.key, self.backend.name, identity, cost)

    def _time_out(self, cause: BaseException) -> None:
        self._withdraw()
        state = "" if self.clear else "; it may still run there"
        raise BackendError(f"{self.backend.name}: no result within {self.config.timeout:g} s{state}") from cause

    def _withdraw(self) -> None:
        """See to it that the job will not run, as far as that can be had."""
        with suppress(TransientError):
            for look in range(0 if self.clear else self.config.looks):
                if self.handle is None:
                    time.sleep(self._jitter(look) if look else 0.0)
                    self.handle = self.backend.find(self.key)
            self.clear = self.handle is None or self._stop_there(self.handle)

    def _finish(self, results: Results) -> Results:
        about: dict[str, Any] = {
            "origin": self.origin,
            "key": self.key,
            "backend": self.backend.name,
            "vendor_id": None if self.handle is None else _vendor_id(self.handle),
            "attempts": self.number,
            "resumed": self.job.claim.resumed,
        }
        if self.fallback_reason:
            about["fallback_reason"] = self.fallback_reason
        results = each(results, lambda result: replace(result, about={**result.about, **about}))
        packed = pack_result(results)
        self.ledger.finish(self.key, self.number, "done", total(results), result=packed, origin=self.origin)
        return results

    def _fail(self, error: BaseException) -> None:
        """End the job in the ledger; leave it open where the vendor may still run it."""
        if self.clear or not self.backend.capabilities.remote:
            status = "cancelled" if isinstance(error, Cancelled) else "failed"
            self.ledger.finish(self.key, self.number, status, _charged(error), error=str(error) or repr(error))
        else:
            self.ledger.release(self.key, str(error) or repr(error))

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds) and self.job.leave.is_set():
            self._obey()

    def _jitter(self, failures: int) -> float:
        return jitter(self.config, failures, self._rng)


def jitter(config: LedgerConfig, failures: int, rng: np.random.Generator) -> float:
    """Seconds to wait after so many failures in a row: exponential backoff with full jitter.

    Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """
    return float(rng.uniform(0, min(config.longest_pause, config.pause * 2.0 ** min(failures - 1, 60))))


def _vendor_id(job: Job[Any]) -> str | None:
    """What the vendor calls the job, where it tells."""
    identity = getattr(job, "vendor_id", None)
    return None if identity is None else str(identity)


def _charged(error: BaseException) -> Cost:
    """What a failed job was billed, or may have been, where the backend tells."""
    return getattr(error, "cost", None) or Cost()
