"""The ledger: what is promised of jobs, budgets, restarts and secrets, against the faults that they are about."""

import csv
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_opt.backends import ledger_command, open_backend
from hybrid_opt.backends.backend import AnnealProgram, Capabilities, CircuitProgram, Limits, Program, Result
from hybrid_opt.backends.dry_run import DryRun, NothingSent, dry_run
from hybrid_opt.backends.ledger import Ledger
from hybrid_opt.backends.ledgered import Ledgered
from hybrid_opt.backends.redaction import redact
from hybrid_opt.backends.serialization import (
    check_result,
    circuit_hash,
    pack_circuit,
    pack_program,
    pack_result,
    request_hash,
    unpack_program,
    unpack_result,
)
from hybrid_opt.circuits.export import draw_circuit, export_circuit, to_openqasm3
from hybrid_opt.cost import Cost
from hybrid_opt.errors import (
    BackendError,
    BudgetExceeded,
    Cancelled,
    CorruptResult,
    LostReply,
    ProblemError,
    TransientError,
)
from hybrid_opt.qubo import Qubo

QUICK: dict[str, Any] = {"pause": 0.001, "longest_pause": 0.01, "patience": 1.0}
ROOT = str(Path(__file__).parents[2])


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

    def estimate(self, program: Program) -> Cost:
        assert isinstance(program, AnnealProgram)
        return Cost(shots=program.reads, qpu_seconds=0.5, dollars=1.0)

    def submit(self, program: Program, key: str, seed: int = 0) -> "VendorJob":
        if self.on_submit is not None:
            self.on_submit(key)
        self.sent.append(key)
        event = self.events.pop(0) if self.events else None
        if event is None or isinstance(event, LostReply):
            self.jobs[key] = VendorJob(self, program, key, seed)
        if event is not None:
            raise event
        return self.jobs[key]

    def find(self, key: str) -> "VendorJob | None":
        return self.jobs.get(key)

    def close(self) -> None: ...


class VendorJob:
    def __init__(self, vendor: Vendor, program: Program, key: str, seed: int) -> None:
        self.vendor, self.program, self.key, self.vendor_id = vendor, program, key, f"id-{key}"
        self.seed, self.cancelled = seed, False

    def done(self) -> bool:
        return self.vendor.hold.is_set()

    def result(self, timeout: float | None = None) -> Result:
        if self.cancelled:
            raise Cancelled("it was cancelled")
        if not self.vendor.hold.wait(timeout):
            raise TimeoutError
        assert isinstance(self.program, AnnealProgram)
        rng = np.random.default_rng(self.seed)
        samples = [rng.integers(0, 2, (self.program.reads, q.n)).astype(np.uint8) for q in self.program.qubos]
        return Result(tuple(samples), cost=Cost(shots=self.program.reads, qpu_seconds=0.25, dollars=0.75))

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


def test_key_is_committed_before_it_is_sent(tmp_path: Path) -> None:
    path, seen = tmp_path / "ledger.sqlite", []

    def look(key: str) -> None:
        with Ledger(path, must_exist=True) as other:
            seen.extend((job["key"], job["status"]) for job in other.jobs())

    backend = Ledgered(Vendor(on_submit=look), path)
    assert backend.submit(anneal(), "one", 1).result().about["vendor_id"] == "id-one"
    assert seen == [("one", "open")]
    (row,) = backend.ledger.attempts()
    assert (row["status"], row["shots"], row["seconds"], row["dollars"]) == ("done", 10, 0.25, 0.75)
    assert row["request"] == request_hash("vendor", anneal(), 1) and row["vendor_id"] == "id-one"
    backend.close()


def test_what_arrived_is_not_sent_again() -> None:
    vendor = Vendor(LostReply("lost"))
    backend = Ledgered(vendor, Ledger(":memory:", **QUICK))
    backend.submit(anneal(), "a").result()
    assert vendor.sent == ["a"]


def test_retries_until_it_is_taken_and_gives_up_after_tries() -> None:
    vendor = Vendor(*[TransientError("busy")] * 3)
    ledger = Ledger(":memory:", tries=5, **QUICK)
    assert Ledgered(vendor, ledger).submit(anneal(), "a").result().about["attempts"] == 4
    assert [row["status"] for row in ledger.attempts()] == ["lost"] * 3 + ["done"]
    assert (ledger.spent.dollars, ledger.reserved.dollars) == (0.75, 0.0)
    hopeless = Vendor(*[TransientError("busy")] * 99)
    with pytest.raises(BackendError, match="given up.*busy"):
        Ledgered(hopeless, ledger).submit(anneal(), "b").result()
    assert len(hopeless.sent) == 5 and ledger.spent.dollars == 0.75 and ledger.reserved.dollars == 0.0


def test_a_failure_for_good_is_not_retried() -> None:
    vendor, ledger = Vendor(BackendError("broken")), Ledger(":memory:", **QUICK)
    with pytest.raises(BackendError, match="broken"):
        Ledgered(vendor, ledger).submit(anneal(), "a").result()
    assert vendor.sent == ["a"] and ledger.jobs()[0]["status"] == "failed"
    again = Ledgered(vendor, ledger).submit(anneal(), "a").result()  # the same key may be asked for again
    assert again.about["attempts"] == 2 and ledger.jobs()[0]["status"] == "done"


def test_jitter_is_full_and_exponential() -> None:
    backend = Ledgered(Vendor(), Ledger(":memory:", pause=0.5, longest_pause=4.0))
    for failures, most in ((1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (60, 4.0)):
        pauses = np.array([backend.jitter(failures) for _ in range(2000)])
        assert pauses.min() >= 0 and pauses.max() <= most
        assert abs(pauses.mean() - most / 2) < 5 * most / np.sqrt(12 * 2000)


def test_fallback_takes_over_and_is_seen() -> None:
    vendor, ledger = Vendor(BackendError("broken")), Ledger(":memory:", **QUICK)
    backend = Ledgered(vendor, ledger, fallback=Vendor(name="spare"))
    result = backend.submit(anneal(), "a").result()
    assert (result.about["origin"], result.about["backend"], result.about["fallback_reason"]) == (
        "fallback", "spare", "broken",
    )  # fmt: skip
    assert [(row["backend"], row["status"]) for row in ledger.attempts()] == [("vendor", "failed"), ("spare", "done")]
    assert ledger.jobs()[0]["origin"] == "fallback"
    assert backend.submit(anneal(), "b").result().about["origin"] == "run"


def test_timeout_cancels_the_job_there() -> None:
    vendor, ledger = Vendor(), Ledger(":memory:", timeout=0.3, **QUICK)
    vendor.hold.clear()
    with pytest.raises(BackendError, match="no result within 0.3 s"):
        Ledgered(vendor, ledger).submit(anneal(), "a").result()
    assert vendor.jobs["a"].cancelled and ledger.spent.dollars == ledger.reserved.dollars == 0


def test_submit_does_not_wait_and_cancel_reaches_what_is_queued() -> None:
    vendor, ledger = Vendor(), Ledger(":memory:", workers=1, **QUICK)
    vendor.hold.clear()
    backend = Ledgered(vendor, ledger)
    first, second = backend.submit(anneal(), "x-0"), backend.submit(anneal(), "y-0")
    while not vendor.sent:
        time.sleep(0.01)
    assert not first.done() and ledger.reserved.dollars == 2.0
    with pytest.raises(TimeoutError):
        first.result(0.05)
    backend.cancel("y")
    backend.cancel("x")
    for job in (first, second):
        with pytest.raises(Cancelled):
            job.result(5)
    assert vendor.sent == ["x-0"] and vendor.jobs["x-0"].cancelled
    assert {job["status"] for job in ledger.jobs()} == {"cancelled"} and ledger.reserved.dollars == 0


def test_cache_only_when_asked(tmp_path: Path) -> None:
    vendor, path = Vendor(), tmp_path / "ledger.sqlite"
    plain = Ledgered(vendor, path)
    first = plain.submit(anneal(), "a", 3).result()
    plain.submit(anneal(), "b", 3).result()
    plain.close()
    cached = Ledgered(vendor, Ledger(path, cache=True))
    result = cached.submit(anneal(), "c", 3).result()
    assert vendor.sent == ["a", "b"] and result.about["origin"] == "cache" and result.cost == Cost()
    assert np.array_equal(result.samples[0], first.samples[0])
    cached.submit(anneal(), "d", 4).result()  # another seed is another request
    assert vendor.sent == ["a", "b", "d"]
    cached.close()


def test_same_key_same_job_and_never_another_request() -> None:
    vendor = Vendor()
    backend = Ledgered(vendor, Ledger(":memory:", **QUICK))
    vendor.hold.clear()
    job = backend.submit(anneal(), "a")
    assert backend.submit(anneal(), "a") is job
    vendor.hold.set()
    result = job.result()
    assert np.array_equal(backend.submit(anneal(), "a").result().samples[0], result.samples[0])
    found = backend.find("a")
    assert vendor.sent == ["a"] and found is not None and np.array_equal(found.result().samples[0], result.samples[0])
    with pytest.raises(ProblemError, match="key=a"):
        backend.submit(anneal(11), "a")


def test_budget_of_a_file_that_several_processes_share(tmp_path: Path) -> None:
    """500 claims of 10 shots each in 3 processes at once; the budget is for 100 of them."""
    path = str(tmp_path / "ledger.sqlite")
    Ledger(path, {"shots": 1000}).close()
    code = """
import sys
from hybrid_opt.backends.ledger import Ledger
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BudgetExceeded
ledger, taken = Ledger(sys.argv[1]), 0
for i in range(167):
    try:
        ledger.claim(f"{sys.argv[2]}-{i}", f"{sys.argv[2]}-{i}", "b", 0, Cost(shots=10), ("", b""), b"")
        taken += 1
    except BudgetExceeded:
        pass
print(taken)
"""
    processes = [in_another_process(code, path, str(number)) for number in range(3)]
    taken = [int(process.communicate()[0]) for process in processes]
    assert sum(taken) == 100
    with Ledger(path) as ledger:
        assert ledger.reserved.shots == 1000 and ledger.budget == {"shots": 1000.0}
        with pytest.raises(
            BudgetExceeded, match="budget.shots=1000: 1000 are spent or reserved, and this needs 10 more"
        ):
            Ledgered(Vendor(), ledger).submit(anneal(), "z")


@pytest.mark.parametrize("budget", [{"euros": 1}, {"shots": -1}, {"shots": "many"}, 7, {"dollars": float("nan")}])
def test_wrong_budgets(budget: Any) -> None:
    with pytest.raises(ProblemError, match="budget"):
        Ledger(":memory:", budget)


def test_wrong_files_and_options(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no ledger, but it is long enough to be looked at" * 9)
    for path in (tmp_path / "text", tmp_path / "nowhere" / "ledger.sqlite"):
        with pytest.raises(ProblemError, match="ledger="):
            Ledger(path)
    with pytest.raises(ProblemError, match="ledger.tries=0"):
        Ledger(":memory:", tries=0)


RESTART = """
import sys, time, uuid
from hybrid_opt.backends import open_backend
from hybrid_opt.backends.ledger import Ledger
from hybrid_opt.backends.ledgered import Ledgered
from tests.hybrid_opt.test_ledger import circuit
quiet = "&".join(f"{kind}=0" for kind in ("refuse", "delay", "lose", "duplicate", "corrupt", "drop"))
ledger = Ledger(sys.argv[1] + "/ledger.sqlite", pause=0.01)
backend = Ledgered(open_backend(f"flaky:statevector?{quiet}&latency={sys.argv[2]}&folder={sys.argv[1]}/vendor"), ledger)
jobs = [backend.submit(circuit(), uuid.uuid4().hex, seed) for seed in (1, 1, 2)]
while sum(bool(row["vendor_id"]) for row in ledger.attempts()) < 3:
    time.sleep(0.01)
print("sent", flush=True)
print([(job.result().samples[0].tolist(), job.result().about["resumed"]) for job in jobs])
backend.close()
ledger.close()
"""


def _resumed(tmp_path: Path, latency: str, kill: int) -> str:
    process = in_another_process(RESTART, str(tmp_path), latency)
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(kill)
    output, errors = process.communicate()
    assert line == "sent\n", errors
    return output


def test_killed_in_flight_and_found_again_under_new_keys(tmp_path: Path) -> None:
    """Keys are new in every process: the request finds its job. Jobs of a process that came to its end are its own."""
    from hybrid_opt.backends.flaky import Flaky

    _resumed(tmp_path, "2", signal.SIGKILL)
    vendor = Flaky("statevector", folder=str(tmp_path / "vendor"))
    outputs = []
    for _ in range(2):
        process = in_another_process(RESTART, str(tmp_path), "2")
        outputs.append(process.communicate()[0])
        assert process.returncode == 0
    assert outputs[0].count("True") == 3 and outputs[1].count("False") == 3
    assert outputs[0].replace("True", "False") == outputs[1]
    assert len(vendor.bill()) == 6  # three by the process that was killed, paid once; three that were asked for anew
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent.shots == 30 and ledger.reserved.shots == 0
    vendor.stop()


CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from tests.hybrid_opt.test_ledger import Ledger, Ledgered, Vendor, anneal
vendor = Vendor()
vendor.hold.clear()
backend = Ledgered(vendor, Ledger(sys.argv[1], workers=1))
jobs = [backend.submit(anneal(), f"job-{i}") for i in range(3)]
print("waiting", flush=True)
try:
    jobs[0].result()
except KeyboardInterrupt:
    backend.cancel()
    print([job.cancel() or job.done() for job in jobs], vendor.sent)
    for job in jobs:
        try:
            job.result(5)
        except Exception as error:
            print(type(error).__name__)
backend.close()
"""


def test_ctrl_c_cancels_what_is_queued(tmp_path: Path) -> None:
    process = in_another_process(CTRL_C, str(tmp_path / "ledger.sqlite"))
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert output.count("Cancelled") == 3 and "['job-0']" in output, errors
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert [job["status"] for job in ledger.jobs()] == ["cancelled"] * 3 and ledger.reserved.shots == 0


def test_tokens_are_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ["s3cr3t-of-the-environment", "Zx9" * 15, "hunter2hunter2"]
    monkeypatch.setenv("QISKIT_IBM_TOKEN", secrets[0])
    text = f"401 for {secrets[0]}: Authorization: Bearer {secrets[1]}, password='{secrets[2]}' at job cz0123456789"
    ledger = Ledger(tmp_path / "ledger.sqlite", **QUICK)
    with pytest.raises(BackendError):
        Ledgered(Vendor(TransientError(text), BackendError(text)), ledger).submit(anneal(), "a").result()
    ledger.close()
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"401 for ***" in written and b"job cz0123456789" in written
    assert not [secret for secret in secrets if secret.encode() in written]
    assert redact("nothing to hide in job 3f2b8c5e-0000-4000-8000-123456789abc") == (
        "nothing to hide in job 3f2b8c5e-0000-4000-8000-123456789abc"
    )


def test_request_hash_is_of_what_is_asked() -> None:
    code = """
from tests.hybrid_opt.test_ledger import anneal, circuit, request_hash
print(request_hash("b", circuit(name="z"), 1), request_hash("b", anneal(), 1))
"""
    other = in_another_process(code).communicate()[0].split()
    assert other == [request_hash("b", circuit(), 1), request_hash("b", anneal(), 1)]
    turned = replace(circuit(), parameters=np.nextafter(circuit().parameters, 1))
    programs = [circuit(), circuit(np.nextafter(0.1, 1)), turned, replace(circuit(), shots=6), anneal(), anneal(11)]
    hashes = {request_hash(*request) for request in itertools.product("bc", programs, (1, 2))}
    assert len(hashes) == 4 * len(programs)


def test_programs_and_results_survive_the_file() -> None:
    from qiskit.quantum_info import Operator, SparsePauliOp

    program = replace(circuit(), observables=(SparsePauliOp(["ZIZ", "XXI"], [0.5, -2.0]),))
    loaded = unpack_program(pack_program(program), pack_circuit(program))
    assert isinstance(loaded, CircuitProgram) and request_hash("b", loaded, 0) == request_hash("b", program, 0)
    bound = [p.circuit.assign_parameters([0.3]) for p in (program, loaded)]
    assert Operator(bound[0]).equiv(Operator(bound[1])) and loaded.observables == program.observables
    problem = AnnealProgram(
        (Qubo(np.eye(4), 2.5, one_hot=[(0, 2)]), Qubo([[1.0]]), Qubo(np.ones((3, 3)), cardinality=2)), 7, {"time": 20}
    )
    again = unpack_program(pack_program(problem), b"")
    assert isinstance(again, AnnealProgram) and (again.reads, again.options) == (7, {"time": 20})
    for a, b in zip(again.qubos, problem.qubos, strict=True):
        assert np.array_equal(a.matrix, b.matrix) and (a.offset, a.one_hot, a.cardinality) == (
            b.offset, b.one_hot, b.cardinality,
        )  # fmt: skip
    rng = np.random.default_rng(0)
    result = Result(
        tuple(rng.integers(0, 2, shape).astype(np.uint8) for shape in ((5, 3), (4, 9), (1, 1))),
        (rng.random(8), rng.random(4)), rng.random((2, 3)), rng.random((2, 3)), Cost(7, 1, qpu_seconds=0.1), {"x": [1]},
    )  # fmt: skip
    copy = unpack_result(pack_result(result))
    assert copy.cost == result.cost and copy.about == result.about
    for name in ("samples", "probabilities", "means", "errors"):
        pairs = zip(getattr(copy, name), getattr(result, name), strict=True)
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)
    with pytest.raises(CorruptResult):
        unpack_result(pack_result(result)[:-9])


def test_results_are_checked_against_their_program() -> None:
    shots, exact = circuit(), replace(circuit(), shots=None)
    good, law = np.zeros((5, 3), np.uint8), np.full(8, 1 / 8)
    check_result(shots, Result((good,)))
    check_result(exact, Result(probabilities=(law,)))
    bad: list[tuple[CircuitProgram, Result]] = [
        (shots, Result()),
        (shots, Result((good[:-1],))),
        (shots, Result((good + 2,))),
        (shots, Result((good, good))),
        (exact, Result(probabilities=(law / 2,))),
        (exact, Result(probabilities=(law * np.nan,))),
        (replace(exact, observables=(None,)), Result(means=np.full((1, 1), np.nan))),
        (replace(exact, observables=(None,)), Result(means=np.zeros((1, 2)))),
    ]
    for program, result in bad:
        with pytest.raises(CorruptResult):
            check_result(program, result)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two jobs are left in flight by a process that was killed: one is resumed, one cancelled."""
    from hybrid_opt.backends.flaky import Flaky

    _resumed(tmp_path, "600", signal.SIGKILL)
    path = str(tmp_path / "ledger.sqlite")
    vendor = Flaky("statevector", folder=str(tmp_path / "vendor"))
    with Ledger(path) as ledger:
        keys = [job["key"] for job in ledger.jobs("open")]
    assert ledger_command.main(["show", path]) == 0 and "3 open" in capsys.readouterr().out
    assert ledger_command.main(["cancel", path, *keys[:2]]) == 0
    assert capsys.readouterr().out.count("was cancelled") == 2
    import sqlite3

    with sqlite3.connect(tmp_path / "vendor" / "vendor.sqlite") as database:
        database.execute("UPDATE jobs SET due = 0")
    database.close()
    assert ledger_command.main(["resume", path]) == 0
    assert f"{keys[2]}: done" in capsys.readouterr().out
    table, circuits = tmp_path / "table.csv", tmp_path / "circuits"
    assert ledger_command.main(["export", path, "--output", str(table), "--circuits", str(circuits)]) == 0
    with open(table) as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["status"] for row in rows) == ["cancelled", "cancelled", "done"]
    assert sum(int(row["shots"]) for row in rows) == sum(line["shots"] for line in vendor.bill()) == 5
    assert sorted(file.suffix for file in circuits.iterdir()) == [".qasm", ".txt"]
    assert ledger_command.main(["show", str(tmp_path / "none.sqlite")]) == 2
    assert "none.sqlite: no such file" in capsys.readouterr().err
    with Ledger(path) as ledger:  # the program that was killed finds what was resumed for it
        backend = Ledgered(vendor, ledger)
        backend.name = rows[0]["backend"]
        assert backend.submit(circuit(), "new", 2).result().about["resumed"]
    vendor.stop()


def test_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A chain of cz on 4 qubits: 3 two-qubit gates, one after the other."""
    from qiskit import QuantumCircuit

    made = QuantumCircuit(4)
    for i in range(3):
        made.cz(i, i + 1)
    program = CircuitProgram(made, np.zeros((2, 0)), shots=50)
    report = dry_run(program, open_backend("statevector"))
    assert (report.qubits, report.depth, report.two_qubit_gates, report.circuits, report.shots) == (4, 3, 3, 2, 100)
    toffoli = QuantumCircuit(3)
    toffoli.ccx(0, 1, 2)
    counted = dry_run(CircuitProgram(toffoli, np.zeros((1, 0)), 1), open_backend("statevector"))
    assert counted.two_qubit_gates == 6  # the textbook's
    with pytest.raises(NothingSent):
        DryRun(Vendor()).submit(anneal(), "a")
    printed = capsys.readouterr().out.split()
    for word in ("qubits", "depth", "two-qubit", "shots", "seconds", "dollars", "0.5"):
        assert word in printed


def test_circuits_as_openqasm_and_as_drawings(tmp_path: Path) -> None:
    from qiskit import qasm3
    from qiskit.quantum_info import Operator

    pytest.importorskip("qiskit_qasm3_import")
    program = circuit()
    text = to_openqasm3(program.circuit, [0.25])
    bound = program.circuit.assign_parameters([0.25])
    assert text.startswith("OPENQASM 3") and Operator(qasm3.loads(text)).equiv(Operator(bound))
    assert "input float" in to_openqasm3(program.circuit) and "q_2" in draw_circuit(program.circuit)
    for suffix in (".qasm", ".txt", ".png", ".svg"):
        export_circuit(program.circuit, tmp_path / f"circuit{suffix}")
        assert (tmp_path / f"circuit{suffix}").stat().st_size > 100
    with pytest.raises(ProblemError, match="circuit.gif"):
        export_circuit(program.circuit, tmp_path / "circuit.gif")
    assert circuit_hash(program) == circuit_hash(circuit(name="other"))
