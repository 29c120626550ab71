"""Jobs for tests of the ledger: programs, a vendor in this process, and processes killed with jobs in flight."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_opt.backends.backend import AnnealProgram, Capabilities, CircuitProgram, Limits, Programs, Result
from hybrid_opt.backends.programs import Request, as_list
from hybrid_opt.cost import Cost
from hybrid_opt.errors import (
    Cancelled,
    LostReply,
)
from hybrid_opt.problem.qubo import Qubo

QUICK: dict[str, Any] = {"pause": 0.001, "longest_pause": 0.01, "patience": 1.0}
ROOT = str(Path(__file__).parents[4])


class Vendor:
    """A remote backend in this process: `submit` and `result` do what they are told, in turn, then all goes well."""

    name = "vendor"
    capabilities = Capabilities(anneals=True, remote=True)
    limits = Limits()

    def __init__(self, *events: Any, on_submit: Callable[[str], None] | None = None, name: str = "vendor") -> None:
        self.name, self.events, self.on_submit = name, list(events), on_submit
        self.jobs: dict[str, VendorJob] = {}
        self.sent: list[str] = []
        self.hold = threading.Event()
        self.hold.set()

    def estimate(self, programs: Programs) -> Cost:
        return sum([Cost(shots=p.reads, qpu_seconds=0.5, dollars=1.0) for p in as_list(programs)], Cost())

    def submit(self, programs: Programs, key: str, seed: int = 0) -> "VendorJob":
        if self.on_submit is not None:
            self.on_submit(key)
        self.sent.append(key)
        event = self.events.pop(0) if self.events else None
        if event is None or isinstance(event, LostReply):
            self.jobs[key] = VendorJob(self, Request.of(programs, seed), key)
        if event is not None:
            raise event
        return self.jobs[key]

    def find(self, key: str) -> "VendorJob | None":
        return self.jobs.get(key)

    def close(self) -> None: ...


class VendorJob:
    def __init__(self, vendor: Vendor, request: Request, key: str) -> None:
        self.vendor, self.request, self.key, self.vendor_id = vendor, request, key, f"id-{key}"
        self.cancelled = False

    def done(self) -> bool:
        return self.vendor.hold.is_set()

    def result(self, timeout: float | None = None) -> Any:
        if self.cancelled:
            raise Cancelled("it was cancelled")
        if not self.vendor.hold.wait(timeout):
            raise TimeoutError
        return self.request.given(list(map(self._drawn, self.request.programs, self.request.seeds)))

    def _drawn(self, program: Any, seed: int) -> Result:
        rng = np.random.default_rng(seed)
        samples = [rng.integers(0, 2, (program.reads, q.n)).astype(np.uint8) for q in program.qubos]
        return Result(tuple(samples), cost=Cost(shots=program.reads, qpu_seconds=0.25, dollars=0.75))

    def cancel(self) -> bool:
        self.cancelled = not self.vendor.hold.is_set()
        return self.cancelled


def anneal(reads: int = 10, n: int = 3) -> AnnealProgram:
    return AnnealProgram((Qubo(np.arange(n * n).reshape(n, n) / 7),), reads)


def circuit(angle: float = 0.1, name: str = "a") -> CircuitProgram:
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter

    made, parameter = QuantumCircuit(3, name=name), Parameter("gamma")
    made.h(range(3))
    made.rzz(2 * parameter, 0, 1)
    made.rx(angle, 2)
    made.mcx([0, 1], 2)
    return CircuitProgram(made, np.array([[0.25]]), shots=5)


def in_another_process(code: str, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


RESTART = """
import sys, time, uuid
from hybrid_opt.backends import open_backend
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.backends.ledger.backend import Ledgered
from tests.hybrid_opt.backends.ledger.jobs import circuit
from tests.hybrid_opt.flaky.client import KINDS, NAME
quiet = "&".join(f"{kind}=0" for kind in KINDS)
ledger = Ledger(sys.argv[1] + "/ledger.sqlite", pause=0.01)
backend = Ledgered(open_backend(f"{NAME}?{quiet}&latency={sys.argv[2]}&folder={sys.argv[1]}/vendor"), ledger)
jobs = [backend.submit(circuit(), uuid.uuid4().hex, seed) for seed in (1, 1, 2)]
while sum(bool(row["vendor_id"]) for row in ledger.attempts()) < 3:
    time.sleep(0.01)
print("sent", flush=True)
print([(job.result().samples[0].tolist(), job.result().about["resumed"]) for job in jobs])
backend.close()
ledger.close()
"""


def resumed(tmp_path: Path, latency: str, kill: int) -> str:
    process = in_another_process(RESTART, str(tmp_path), latency)
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(kill)
    output, errors = process.communicate()
    assert line == "sent\n", errors
    return output
