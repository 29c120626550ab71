"""A list of programs is one job: it gives what its programs give one by one, and is kept, found and paid as one."""

import signal
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import AnnealProgram, CircuitProgram, Result
from hybrid_opt.backends.dry_run import DryRun, NothingSent, dry_run
from hybrid_opt.backends.fallback import Fallback
from hybrid_opt.backends.ledger import __main__ as ledger_command
from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.ledger.serialization import pack_circuit, pack_program, request_hash, unpack_program
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.backends.programs import as_list, spawn, total
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BackendError, BudgetExceeded, Cancelled, ProblemError
from hybrid_opt.problem.qubo import Qubo
from tests.hybrid_opt.backends.ledger.jobs import QUICK, Vendor, VendorJob, anneal, in_another_process
from tests.hybrid_opt.flaky.client import KINDS, Flaky

SEED = 5
PATIENT = {"pause": 0.002, "longest_pause": 0.02, "tries": 40, "patience": 5.0}


def circuits(exact: bool = False) -> list[Any]:
    """Of several sizes, with and without parameters and observables; two are the same."""
    turned, angle = QuantumCircuit(3), Parameter("a")
    turned.h([0, 1])
    turned.rx(angle, 2)
    turned.cx(0, 2)
    fixed = QuantumCircuit(2)
    fixed.h(0)
    fixed.cx(0, 1)
    sampled = CircuitProgram(turned, np.array([[0.3], [1.1]]), 20)
    measured = replace(sampled, shots=30, observables=(SparsePauliOp(["ZZI", "XIX"]), SparsePauliOp(["IIZ"])))
    whole = [replace(sampled, shots=None)] if exact else []
    return [sampled, CircuitProgram(fixed, np.zeros((2, 0)), 7), measured, sampled, *whole]


def anneals() -> list[Any]:
    qubo = Qubo(np.random.default_rng(0).normal(size=(5, 5)))
    twice = AnnealProgram((qubo, qubo), 6)
    return [twice, anneal(9), twice]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of one vendor's process, for all tests."""
    path = str(tmp_path_factory.mktemp("vendor"))
    yield path
    Flaky(folder=path).stop()


def opened(name: str, folder: str) -> Any:
    if name == "vendor":
        return Vendor()
    if name == "provider":
        from qiskit.providers.basic_provider import BasicSimulator

        return open_backend(BasicSimulator())
    return Flaky(folder=folder, **dict.fromkeys(KINDS, 0.0)) if name == "flaky" else open_backend(name)


def plain(result: Result) -> tuple[Any, ...]:
    """All of a result that clocks and keys have no part in."""
    arrays = result.samples, result.probabilities, [result.means], [result.errors]
    about = {key: value for key, value in result.about.items() if key in ("depth", "broken_chains")}
    return [[np.array(a).tolist() for a in each] for each in arrays], replace(result.cost, wall_seconds=0.0), about


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", ["bare", "ledgered", "fallback"])
@pytest.mark.parametrize(
    "name", ["statevector", "lightning", "aer", "provider", "ibm:fake_manila", "dwave:mock", "vendor", "flaky"]
)
def test_a_list_gives_what_its_programs_give(name: str, wrapped: str, folder: str) -> None:
    device = opened(name, folder)
    programs = anneals() if device.capabilities.anneals else circuits(device.capabilities.exact)
    single = [device.submit(p, f"{wrapped}-{i}", spawn(SEED, i)).result() for i, p in enumerate(programs)]
    ledger = Ledger(":memory:", **PATIENT)
    backend: Any = device
    if wrapped == "ledgered":
        backend = Ledgered(device, ledger)
    elif wrapped == "fallback":
        broken = Vendor(*[BackendError("broken")] * 9)
        broken.capabilities, broken.estimate = device.capabilities, device.estimate  # type: ignore[method-assign]
        backend = Ledgered(Fallback(broken, device), ledger)
    results = backend.submit(programs, f"{wrapped}-list", SEED).result()
    assert isinstance(results, tuple) and [*map(plain, results)] == [*map(plain, single)]
    copy = 2 if device.capabilities.anneals else 3
    assert programs[copy] is programs[0] and plain(results[copy])[0] != plain(results[0])[0]  # each draws by itself
    whole, parts = backend.estimate(programs), sum([backend.estimate(program) for program in programs], Cost())
    assert asdict(whole) == pytest.approx(asdict(parts))
    (alone,) = backend.submit(programs[:1], f"{wrapped}-alone", SEED).result()
    assert plain(alone) == plain(results[0])
    for refuse in (backend.estimate, lambda programs: backend.submit(programs, "none")):
        with pytest.raises(ProblemError, match=r"^programs: none given; one or more are accepted$"):
            refuse([])
    if name != "vendor":
        other = circuits()[:1] if device.capabilities.anneals else anneals()[:1]
        with pytest.raises(ProblemError, match="^backend=.* runs no|runs no anneals"):
            backend.submit([*programs, *other], "mixed")
    if wrapped != "bare":
        job, _ = ledger.jobs()
        attempts = [row for row in ledger.attempts(job["key"]) if row["status"] == "done"]
        assert len(attempts) == 1 and attempts[0]["shots"] == total(results).shots and ledger.reserved.shots == 0
        assert {result.about["origin"] for result in results} == {"run" if wrapped == "ledgered" else "fallback"}
        again, found = backend.submit(programs, job["key"], SEED).result(), backend.find(job["key"]).result()
        assert [*map(plain, again)] == [*map(plain, found)] == [*map(plain, results)] and len(ledger.jobs()) == 2
    if name == "flaky":
        assert [row["shots"] for row in device.bill() if row["key"] == f"{wrapped}-list"] == [total(results).shots]


@pytest.mark.parametrize("programs", [circuits(True), anneals()], ids=["circuits", "anneals"])
def test_a_list_has_a_content_of_its_own(programs: list[Any]) -> None:
    loaded: Any = unpack_program(pack_program(programs), pack_circuit(programs))
    assert isinstance(loaded, tuple) and request_hash("b", loaded, 1) == request_hash("b", programs, 1)
    for one, other in zip(loaded, programs, strict=True):
        assert request_hash("b", one, 1) == request_hash("b", other, 1)
    if isinstance(programs[0], CircuitProgram):
        assert loaded[0].circuit is loaded[2].circuit is not loaded[1].circuit  # each is kept once
        assert all(program.circuit is None for program in as_list(unpack_program(pack_program(programs), None)))
    variants: list[Any] = [programs, programs[1:], programs[:-1], programs[:1], programs[0], [*programs, programs[0]]]
    assert len({request_hash("b", variant, 1) for variant in variants}) == len(variants)


def test_a_corrupt_member_has_the_whole_job_fetched_again(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """At a vendor's in this process once each kind of damage, and at one that damages half of what it sends."""
    whole, programs = VendorJob.result, anneals()
    damages = [
        lambda results: results[:-1],
        lambda results: results[0],
        lambda results: (results[0], replace(results[1], samples=(results[1].samples[0][:-1],)), results[2]),
    ]
    monkeypatch.setattr(VendorJob, "result", lambda job, timeout=None: _damaged(damages, whole(job, timeout)))
    vendor, ledger = Vendor(), Ledger(":memory:", **QUICK)
    results = Ledgered(vendor, ledger).submit(programs, "a").result(60)
    assert not damages and vendor.sent == ["a"] and len(results) == 3
    assert ledger.spent.dollars == 3 * 0.75 and ledger.reserved.dollars == 0 and len(ledger.attempts()) == 1
    damages.append(lambda results: (results,))
    assert Ledgered(vendor, ledger).submit(programs[0], "b").result(60).samples and not damages

    device = Flaky(folder=folder, **{**dict.fromkeys(KINDS, 0.0), "corrupt": 0.5})
    backend, exact = Ledgered(device, Ledger(":memory:", **PATIENT)), open_backend("statevector")
    for i in range(8):
        found = backend.submit(circuits(), f"corrupt-{i}", i).result()
        assert [plain(each)[0] for each in found] == [plain(e)[0] for e in exact.submit(circuits(), "k", i).result()]
    keys = [line["key"] for line in Flaky(folder=folder).bill() if line["key"].startswith("corrupt-")]
    assert sorted(keys) == [f"corrupt-{i}" for i in range(8)]
    backend.close()


def _damaged(damages: list[Any], results: Any) -> Any:
    return damages.pop()(results) if damages else results


def test_budget_cache_and_keys() -> None:
    vendor, programs = Vendor(), anneals()
    ledger = Ledger(":memory:", {"dollars": 3.5}, cache=True, **QUICK)
    backend = Ledgered(vendor, ledger)
    with pytest.raises(BudgetExceeded, match="this needs 4 more"):
        backend.submit([*programs, programs[0]], "much")
    first = backend.submit(programs, "a", 1).result()
    cached = backend.submit(tuple(programs), "b", 1).result()
    assert vendor.sent == ["a"] and [each.about["origin"] for each in cached] == ["cache"] * 3
    assert total(cached) == Cost() and [plain(e)[0] for e in cached] == [plain(e)[0] for e in first]
    with pytest.raises(ProblemError, match="key=a: names another request"):
        backend.submit(programs[0], "a", 1)


RUN = """
import sys, time
from tests.hybrid_opt.backends.test_programs import Flaky, KINDS, Ledger, Ledgered, circuits
vendor = Flaky(folder=sys.argv[1] + "/vendor", latency=float(sys.argv[2]), **dict.fromkeys(KINDS, 0.0))
backend = Ledgered(vendor, Ledger(sys.argv[1] + "/ledger.sqlite", pause=0.01))
job = backend.submit(circuits(), "first", 5)
while not any(row["vendor_id"] for row in backend.ledger.attempts()):
    time.sleep(0.01)
print("sent", flush=True)
job.result()
"""


@pytest.mark.slow
def test_killed_in_flight_and_found_again_as_one_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = in_another_process(RUN, str(tmp_path), "1.5")
    assert process.stdout is not None and process.stdout.readline() == "sent\n", process.communicate()[1]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    vendor = Flaky(folder=str(tmp_path / "vendor"), latency=1.5, **dict.fromkeys(KINDS, 0.0))
    path = str(tmp_path / "ledger.sqlite")
    with Ledger(path, **PATIENT) as ledger:
        results = Ledgered(vendor, ledger).submit(circuits(), "second", 5).result(60)
        ((job,), (row,)) = ledger.jobs(), ledger.attempts()
    expected = open_backend("statevector").submit(circuits(), "key", 5).result()
    assert [plain(each)[0] for each in results] == [plain(each)[0] for each in expected]
    assert all(each.about["resumed"] for each in results) and job["key"] == "first" and job["status"] == "done"
    assert [(line["key"], line["shots"]) for line in vendor.bill()] == [("first", row["shots"])]
    vendor.stop()
    assert (
        ledger_command.main(["export", path, "--output", str(tmp_path / "t"), "--circuits", str(tmp_path / "c")]) == 0
    )
    names = [f"first-{place}{suffix}" for place in (0, 1) for suffix in (".qasm", ".txt")]
    assert sorted(file.name for file in (tmp_path / "c").iterdir()) == names
    capsys.readouterr()


def test_an_open_list_is_resumed_by_its_key(tmp_path: Path) -> None:
    """As `ledger resume` does: the programs come out of the file."""
    path, vendor = tmp_path / "ledger.sqlite", Vendor()
    vendor.hold.clear()
    first = Ledgered(vendor, Ledger(path, **QUICK))
    first.submit(anneals(), "a", 3)
    while not vendor.sent:
        pass
    first.close()
    first.ledger.close()
    vendor.hold.set()
    with Ledger(path, **QUICK) as ledger:
        (job,) = Ledgered(vendor, ledger).resume()
        results = job.result(60)
    expected = [Vendor().submit(p, "k", spawn(3, i)).result() for i, p in enumerate(anneals())]
    assert vendor.sent == ["a"] and [plain(each)[0] for each in results] == [plain(each)[0] for each in expected]


def test_a_list_is_cancelled_between_its_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    backend: Any = open_backend("statevector")
    run, ran, jobs = backend._run, [], list[Any]()

    def once(*args: Any) -> Any:
        ran.append(args)
        while not jobs:
            pass
        jobs[0].cancel()
        monkeypatch.setattr(backend, "_run", run)
        return run(*args[:-1], type("Never", (), {"is_set": lambda self: False})())

    monkeypatch.setattr(backend, "_run", once)
    jobs.append(backend.submit(circuits(), "key"))
    with pytest.raises(Cancelled):
        jobs[0].result(30)
    assert len(ran) == 1


def test_what_a_broken_list_did_cost_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a device where no job can be found again: what ran, and what may have been sent; not the rest."""
    from qiskit.providers.fake_provider import GenericBackendV2

    class Elsewhere(GenericBackendV2):
        """Of no library that runs right here."""

    ledger = Ledger(":memory:", **QUICK)
    backend = Ledgered(open_backend(Elsewhere(3, seed=0)), ledger)
    programs, run, calls = [circuits()[1]] * 3, Elsewhere.run, list[Any]()

    def second_fails(self: Any, *args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyError("it broke")
        return run(self, *args, **options)

    monkeypatch.setattr(Elsewhere, "run", second_fails)
    with pytest.raises(BackendError, match="it broke"):
        backend.submit(programs, "key").result(30)
    assert ledger.spent.shots == 2 * 2 * 7 and ledger.reserved.shots == 0
    backend.close()


def test_a_dry_run_of_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    """The largest circuit, and all shots."""
    backend = open_backend("statevector")
    parts, whole = [dry_run(program, backend) for program in circuits()], dry_run(circuits(), backend)
    for name in ("qubits", "depth", "two_qubit_gates"):
        assert getattr(whole, name) == max(getattr(part, name) for part in parts)
    assert (whole.circuits, whole.shots) == (sum(p.circuits for p in parts), sum(p.shots for p in parts))
    with pytest.raises(NothingSent):
        DryRun(backend).submit(circuits(), "key")
    assert capsys.readouterr().out == f"{whole}\n"
    report = dry_run(anneals(), Vendor())
    assert (report.qubits, report.depth, report.circuits, report.dollars) == (5, None, 5, 3.0)
    with pytest.raises(ProblemError, match="^programs: none given"):
        DryRun(backend).submit([], "key")
