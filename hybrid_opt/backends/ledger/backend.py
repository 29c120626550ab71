"""A backend with a ledger: whatever the vendor does, a job ends once and is paid once."""

import queue
import threading
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from hybrid_opt.backends.backend import Backend, Capabilities, Limits, Programs, Result, Results
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
from hybrid_opt.backends.programs import as_list, each
from hybrid_opt.backends.qiskit.loading import load_qiskit
from hybrid_opt.cost import Cost
from hybrid_opt.job import FinishedJob, Job


class Ledgered:
    """Runs programs on a backend and keeps the ledger of them; a list is one row.

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

    def estimate(self, programs: Programs) -> Cost:
        """What the programs would cost; see Backend."""
        return self.backend.estimate(programs)

    def submit(self, programs: Programs, key: str, seed: int = 0) -> Job[Any]:
        """Record programs as one job and have it sent; does not wait for that.

        A key that the ledger knows gives that job again: its result, or the rest of the way to it. The key of a job
        that was resumed is the one that it was sent under. Raises ProblemError, and BudgetExceeded before anything is
        sent.
        """
        if isinstance(programs, Sequence):
            programs = as_list(programs)  # a copy: the job outlives the call
        estimate = self.backend.estimate(programs)
        request = request_hash(self.name, programs, seed)
        circuit = circuit_hash(programs), pack_circuit(programs)
        with self._lock:
            live = self._live.get(self._asked.get(key, key))
            if live is not None and request == request_hash(self.name, live.programs, live.seed):
                return live
            claim = self.ledger.claim(key, request, self.name, seed, estimate, circuit, pack_program(programs))
            return self._start(claim, programs, seed, key)

    def resume(self, everyones: bool = False, keys: Collection[str] | None = None) -> list[Job[Any]]:
        """Carry on with the unfinished jobs of this backend, or those of these keys, whose processes are gone.

        everyones: also those of other hosts, of whose processes nothing is known.
        """
        jobs: list[Job[Any]] = []
        with self._lock:
            for row in self.ledger.jobs("open"):
                if row["backend"] != self.name or (keys is not None and row["key"] not in keys):
                    continue
                claim = self.ledger.adopt(row["key"], everyones)
                if claim is not None:
                    programs = unpack_program(*self.ledger.content(claim.key))
                    jobs.append(self._start(claim, programs, int(row["seed"]), claim.key))
        return jobs

    def find(self, key: str) -> Job[Any] | None:
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

    def _start(self, claim: Claim, programs: Programs, seed: int, asked: str) -> Job[Any]:
        if claim.result is not None:
            self.ledger.collect(claim.key)

            def served(result: Result) -> Result:
                cost = Cost() if claim.origin == "cache" else result.cost
                about = {**result.about, "origin": claim.origin, "resumed": claim.resumed}
                return replace(result, cost=cost, about=about)

            return FinishedJob(claim.key, each(unpack_result(claim.result), served))
        job = self._live[claim.key] = LedgeredJob(claim, programs, seed, self.ledger)
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
                outcome: Results | BaseException = delivery.run()
            except BaseException as error:  # the job's own, raised by its `result`
                outcome = error
            with self._lock:
                self._live.pop(job.key, None)
                self._asked = {asked: key for asked, key in self._asked.items() if key != job.key}
            if isinstance(outcome, BaseException):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)
