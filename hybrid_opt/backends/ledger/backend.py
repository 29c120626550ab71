"""A backend with a ledger: whatever the vendor does, a job ends once and is paid once."""

import queue
import threading
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from hybrid_opt.backends.backend import Backend, Capabilities, Limits, Program, Result
from hybrid_opt.backends.ledger.delivery import Delivery
from hybrid_opt.backends.ledger.job import LedgeredJob
from hybrid_opt.backends.ledger.serialization import (
    circuit_hash,
    pack_circuit,
    pack_program,
    request_hash,
    unpack_program,
    unpack_result,
)
from hybrid_opt.backends.ledger.store import Claim, Ledger
from hybrid_opt.backends.qiskit.loading import load_qiskit
from hybrid_opt.cost import Cost
from hybrid_opt.job import FinishedJob, Job


class Ledgered:
    """Runs programs on a backend and keeps the ledger of them.

    The key of a job is committed before it is sent, and is sent along. Whatever goes wrong on the way, the job is
    looked for by its key before it is sent again; a result is checked against its program, and fetched again where it
    is corrupt; copies that the vendor made (`find_all(key)` of backends that have it) are cancelled, or booked where
    they ran. See LedgerConfig for patience, cache and resuming. `Result.about` says origin ("run", "fallback" or
    "cache"), key, backend, vendor_id, attempts, resumed, and where a fallback took over, why (`fallback_reason`).

    ledger: a Ledger, or the path of its file; None: one in memory. budget: see Ledger. A wrapper that carries its jobs
    through in its own way has a method `delivery(job)`: see Fallback.
    """

    def __init__(self, backend: Backend, ledger: Ledger | str | Path | None = None, budget: Any = None) -> None:
        if backend.capabilities.circuits:
            load_qiskit()  # here, not in the workers
        self.backend, self.name = backend, backend.name
        self._own = not isinstance(ledger, Ledger)
        if isinstance(ledger, Ledger):
            self.ledger = ledger
            if budget is not None:
                ledger.limit(budget)
        else:
            self.ledger = Ledger(":memory:" if ledger is None else ledger, budget)
        self.config = self.ledger.config
        self._lock, self._live = threading.RLock(), dict[str, LedgeredJob]()
        self._queue: queue.SimpleQueue[LedgeredJob | None] = queue.SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._asked: dict[str, str] = {}  # the key that was asked for -> the key of the job that was resumed

    @property
    def capabilities(self) -> Capabilities:
        return self.backend.capabilities

    @property
    def limits(self) -> Limits:
        return self.backend.limits

    def estimate(self, program: Program) -> Cost:
        """What the program would cost; see Backend."""
        return self.backend.estimate(program)

    def submit(self, program: Program, key: str, seed: int = 0) -> Job[Result]:
        """Record a program and have it sent; does not wait for that.

        A key that the ledger knows gives that job again: its result, or the rest of the way to it. The key of a job
        that was resumed is the one that it was sent under. Raises ProblemError, and BudgetExceeded before anything is
        sent.
        """
        estimate = self.backend.estimate(program)
        request = request_hash(self.name, program, seed)
        circuit = circuit_hash(program), pack_circuit(program)
        with self._lock:
            live = self._live.get(self._asked.get(key, key))
            if live is not None and request == request_hash(self.name, live.program, live.seed):
                return live
            claim = self.ledger.claim(key, request, self.name, seed, estimate, circuit, pack_program(program))
            return self._start(claim, program, seed, key)

    def resume(self, everyones: bool = False, keys: Collection[str] | None = None) -> list[Job[Result]]:
        """Carry on with the unfinished jobs of this backend, or those of these keys, whose processes are gone.

        everyones: also those of other hosts, of whose processes nothing is known.
        """
        jobs: list[Job[Result]] = []
        with self._lock:
            for row in self.ledger.jobs("open"):
                if row["backend"] != self.name or (keys is not None and row["key"] not in keys):
                    continue
                claim = self.ledger.adopt(row["key"], everyones)
                if claim is not None:
                    program = unpack_program(*self.ledger.content(claim.key))
                    jobs.append(self._start(claim, program, int(row["seed"]), claim.key))
        return jobs

    def find(self, key: str) -> Job[Result] | None:
        """The job of a key: the one under way here, or the finished one of the ledger."""
        with self._lock:
            live = self._live.get(self._asked.get(key, key))
        if live is not None:
            return live
        content = self.ledger.result(key)
        return None if content is None else FinishedJob(key, unpack_result(content))

    def cancel(self, prefix: str = "") -> None:
        """Cancel the jobs under way here that were asked for under keys with this beginning; see LedgeredJob.cancel."""
        with self._lock:
            keys = {key for asked, key in self._asked.items() if asked.startswith(prefix)}
            for key, job in list(self._live.items()):
                if key.startswith(prefix) or key in keys:
                    job.cancel()

    def close(self) -> None:
        """Cancel what was not sent, leave the rest to be found later, and close the backend."""
        with self._lock:
            for job in self._live.values():
                job.leave.set()
                job.stop.set()
            for _ in self._workers:
                self._queue.put(None)
        for worker in self._workers:
            worker.join(self.config.patience)
        self._workers.clear()
        with ExitStack() as closing:
            if self._own:
                closing.callback(self.ledger.close)
            closing.callback(self.backend.close)

    def _start(self, claim: Claim, program: Program, seed: int, asked: str) -> Job[Result]:
        if claim.result is not None:
            self.ledger.collect(claim.key)
            result = unpack_result(claim.result)
            cost = Cost() if claim.origin == "cache" else result.cost
            about = {**result.about, "origin": claim.origin, "resumed": claim.resumed}
            return FinishedJob(claim.key, replace(result, cost=cost, about=about))
        job = self._live[claim.key] = LedgeredJob(claim, program, seed, self.ledger)
        if asked != claim.key:
            self._asked[asked] = claim.key
        self._queue.put(job)
        if len(self._workers) < min(self.config.workers, len(self._live)):
            worker = threading.Thread(target=self._work, name=f"ledger-{self.name}", daemon=True)
            self._workers.append(worker)
            worker.start()
        return job

    def _work(self) -> None:
        """Carry jobs through, one after the other."""
        while (job := self._queue.get()) is not None:
            try:
                own = getattr(self.backend, "delivery", None)
                delivery: Delivery = Delivery(job, self.backend) if own is None else own(job)
                outcome: Result | BaseException = delivery.run()
            except BaseException as error:  # the job's own, raised by its `result`
                outcome = error
            with self._lock:
                self._live.pop(job.key, None)
                self._asked = {asked: key for asked, key in self._asked.items() if key != job.key}
            if isinstance(outcome, BaseException):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)
