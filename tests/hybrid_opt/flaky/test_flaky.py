"""Jobs at a vendor's that fails: every one ends once, none is paid twice, and the books agree."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import CircuitProgram
from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.errors import BudgetExceeded, LostReply, ProblemError, TransientError
from tests.hybrid_opt.flaky.client import KINDS, NAME, Flaky, FlakyConfig

QUIET = dict.fromkeys(KINDS, 0.0)
PATIENT = {"pause": 0.002, "longest_pause": 0.02, "tries": 40, "patience": 5.0}

RUN = """
import sys, hashlib
from tests.hybrid_opt.flaky.test_flaky import NAME, PATIENT, Ledger, Ledgered, open_backend, program
folder, count = sys.argv[1], int(sys.argv[2])
ledger = Ledger(folder + "/ledger.sqlite", **PATIENT)
backend = Ledgered(open_backend(NAME + "?folder=" + folder + "/vendor"), ledger)
jobs = [backend.submit(program(i), "job-%d" % i, seed=i) for i in range(count)]
for i, job in enumerate(jobs):
    result = job.result()
    print(i, hashlib.sha256(result.samples[0].tobytes()).hexdigest(), result.about["resumed"], flush=True)
backend.close()
ledger.close()
"""


def program(i: int) -> CircuitProgram:
    """One of many: its angles and its shots depend on i."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter

    gamma, beta = Parameter("gamma"), Parameter("beta")
    circuit = QuantumCircuit(3)
    circuit.h(range(3))
    for a, b in ((0, 1), (1, 2)):
        circuit.rzz(gamma, a, b)
    circuit.rz(0.3 * gamma, 0)
    circuit.rx(beta, range(3))
    return CircuitProgram(circuit, np.array([[0.7 + 0.01 * i, 0.4 - 0.01 * i]]), shots=8 + i % 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of one vendor's process, for all tests; how it fails is told with each connection."""
    path = str(tmp_path_factory.mktemp("vendor"))
    yield path
    Flaky(folder=path).stop()


def outcomes(count: int) -> list[bytes]:
    """What a backend that never fails gives for the same programs and seeds."""
    backend = open_backend("statevector")
    return [backend.submit(program(i), str(i), seed=i).result().samples[0].tobytes() for i in range(count)]


def books_agree(ledger: Ledger, bill: list[dict[str, Any]]) -> bool:
    spent, reserved = ledger.spent, ledger.reserved
    assert reserved.shots == 0 and reserved.dollars == 0
    assert spent.shots == sum(line["shots"] for line in bill)
    assert spent.dollars == pytest.approx(sum(line["dollars"] for line in bill), rel=1e-12)
    assert spent.qpu_seconds == pytest.approx(sum(line["seconds"] for line in bill), rel=1e-12)
    return True


@pytest.mark.slow
def test_a_vendor_that_ends_as_it_is_called(tmp_path: Path) -> None:
    """The connection ends with it, and another vendor is started."""
    first = Flaky(folder=str(tmp_path), **QUIET)
    first.stop()
    listener = Listener(first._address, "AF_UNIX")

    def end() -> None:
        connection = listener.accept()
        listener.close()
        connection.close()

    ending = threading.Thread(target=end)
    ending.start()
    second = Flaky(folder=str(tmp_path), **QUIET)
    ending.join()
    assert second.bill() == []
    second.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [
        {"refuse": 0.5},
        {"lose": 0.5},
        {"corrupt": 0.5},
        {"drop": 0.5},
        {"duplicate": 0.9},
        {"delay": 0.5, "delay_seconds": 0.2, "call_timeout": 0.1},
        dict.fromkeys(QUIET, 0.05),
        dict.fromkeys(QUIET, 0.12),
    ],
    ids=lambda faults: "+".join(faults),
)
def test_every_kind_of_failure(folder: str, faults: dict[str, float]) -> None:
    name, count = "-".join(f"{kind}{rate}" for kind, rate in faults.items()), 10 if "delay_seconds" in faults else 25
    vendor = Flaky(folder=folder, **{**QUIET, **faults})
    ledger = Ledger(":memory:", **PATIENT)
    backend = Ledgered(vendor, ledger)
    jobs = [backend.submit(program(i), f"{name}-{i}", seed=i) for i in range(count)]
    assert [job.result().samples[0].tobytes() for job in jobs] == outcomes(count)
    lines = Flaky(folder=folder).bill()  # with patience, where the other gives up soon
    bill = [line for line in lines if line["key"].startswith(f"{name}-")]
    assert sorted(line["key"] for line in bill) == sorted(f"{name}-{i}" for i in range(count))
    assert books_agree(ledger, bill)
    assert {job["status"] for job in ledger.jobs()} == {"done"} and len(ledger.jobs()) == count
    if "duplicate" in faults:
        assert not [copy for i in range(count) for copy in _patiently(vendor, f"{name}-{i}")[1:]]
    backend.close()


def _patiently(vendor: Flaky, key: str) -> Any:
    while True:
        try:
            return vendor.find_all(key)
        except TransientError:
            continue


def test_who_sends_again_without_looking_pays_twice(folder: str) -> None:
    """So the vendor's failures are real."""
    vendor = Flaky(folder=folder, **{**QUIET, "lose": 0.5})
    for i in range(20):
        for _ in range(100):
            try:
                vendor.submit(program(i), f"naive-{i}", i).result()
                break
            except LostReply:
                continue
    bill = Counter(line["key"] for line in vendor.bill() if line["key"].startswith("naive-"))
    assert len(bill) == 20 and max(bill.values()) > 1


def test_copies_that_ran_are_booked(folder: str) -> None:
    """A vendor that runs its own copy at once bills it; the ledger says so."""
    vendor = Flaky(folder=folder, **{**QUIET, "duplicate": 1.0, "copy_seconds": 0.0, "latency": 0.01})
    ledger = Ledger(":memory:", **PATIENT)
    backend = Ledgered(vendor, ledger)
    for i in range(5):
        backend.submit(program(i), f"copied-{i}", seed=i).result()
    bill = [line for line in vendor.bill() if line["key"].startswith("copied-")]
    assert books_agree(ledger, bill)
    assert sum(row["status"] == "surplus" for row in ledger.attempts()) == len(bill) - 5
    backend.close()


def test_budget_is_never_exceeded(folder: str) -> None:
    vendor = Flaky(folder=folder)
    ledger = Ledger(":memory:", {"dollars": 0.1}, **PATIENT)  # 1e-3 dollars a shot: 100 shots
    backend, jobs = Ledgered(vendor, ledger), []
    with pytest.raises(BudgetExceeded, match="budget.dollars=0.1"):
        for i in range(40):
            jobs.append(backend.submit(program(i), f"budget-{i}", seed=i))
    for job in jobs:
        job.result()
    bill = [line for line in vendor.bill() if line["key"].startswith("budget-")]
    assert len(bill) == len(jobs) == 10  # 8 + 9 + 10 + 11 + 12 shots, twice
    assert books_agree(ledger, bill)
    backend.close()


@pytest.mark.slow
def test_vendor_outage(tmp_path: Path) -> None:
    """The vendor's process ends and starts again while jobs wait in its queue."""
    vendor = Flaky(folder=str(tmp_path), **{**QUIET, "latency": 0.5})
    backend = Ledgered(vendor, Ledger(":memory:", **PATIENT))
    jobs = [backend.submit(program(i), f"job-{i}", seed=i) for i in range(5)]
    time.sleep(0.2)
    Flaky(folder=str(tmp_path)).stop()
    assert [job.result().samples[0].tobytes() for job in jobs] == outcomes(5)
    assert len(vendor.bill()) == 5
    vendor.stop()
    backend.close()


@pytest.mark.parametrize(
    "options", ["inner=statevector&los=0.1", "inner=statevector&lose=2", "lose=0.9&drop=0.9", "inner=abacus"]
)
def test_wrong_options(options: str, tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as error:
        open_backend(f"{NAME}?{options}&folder={tmp_path}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("kind", "idle"), [("delay", "delay_seconds=0.2"), ("duplicate", "copy_seconds=9.0")])
def test_times_of_what_never_happens_are_refused(kind: str, idle: str, tmp_path: Path) -> None:
    said = rf"^backend={re.escape(NAME)}.*: {idle}: has an effect with {kind} above 0 only; "
    with pytest.raises(ProblemError, match=said):
        open_backend(f"{NAME}?{kind}=0&{idle}&folder={tmp_path}")


def test_its_name_opens_it_again(folder: str) -> None:
    """As `ledger resume` does."""
    backend = Flaky(folder=folder, lose=0.25)
    assert backend.name == f"{NAME}?lose=0.25&folder={folder}" == open_backend(backend.name).name


def test_the_vendor_reads_every_option() -> None:
    source = "".join((Path(__file__).parent / name).read_text() for name in ("client.py", "server.py"))
    for field in fields(FlakyConfig):
        assert f"config.{field.name}" in source or field.name in KINDS, field.name


def test_problems_are_told_before_anything_is_sent(folder: str) -> None:
    vendor = Flaky(folder=folder)
    wrong = CircuitProgram(program(0).circuit, np.zeros((1, 7)), shots=3)
    with pytest.raises(ProblemError, match="parameters"):
        Ledgered(vendor, None).submit(wrong, "wrong", 0)


def _start(folder: Path, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", RUN, str(folder), str(count)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _run(folder: Path, count: int, kills: tuple[int, ...]) -> None:
    """Run, kill after so many results, run again, ...; the last run is left in peace."""
    for kill in kills:
        process = _start(folder, count)
        assert process.stdout is not None
        for line in process.stdout:
            if int(line.split()[0]) >= kill:
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    process = _start(folder, count)
    output, _ = process.communicate()
    assert process.returncode == 0
    import hashlib

    lines = [line.split() for line in output.splitlines()]
    assert [line[1] for line in lines] == [hashlib.sha256(samples).hexdigest() for samples in outcomes(count)]
    assert sum(line[2] == "True" for line in lines) > min(kills)  # those of the runs that were killed
    vendor = Flaky(folder=str(folder / "vendor"))
    bill = vendor.bill()
    assert sorted(line["key"] for line in bill) == sorted(f"job-{i}" for i in range(count))
    with Ledger(folder / "ledger.sqlite", must_exist=True) as ledger:
        assert books_agree(ledger, bill)
        jobs = ledger.jobs()
        assert len(jobs) == count and {job["status"] for job in jobs} == {"done"}
        ends = Counter(row["key"] for row in ledger.attempts() if row["status"] == "done")
        assert set(ends.values()) == {1} and len(ends) == count
    vendor.stop()


@pytest.mark.slow
def test_a_thousand_jobs_and_sigkill(tmp_path: Path) -> None:
    _run(tmp_path, 1000, (300, 600))


@pytest.mark.slow
def test_sigkill(tmp_path: Path) -> None:
    _run(tmp_path, 40, (10,))


def test_a_tilde_in_the_folder_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Flaky, "_open", lambda self: None)
    assert Flaky(folder="~/vendor").folder == tmp_path / "vendor"
    (tmp_path / "file").write_text("")
    with pytest.raises(ProblemError, match=rf"^backend={NAME}.*: folder=~/file/x: cannot be made"):
        Flaky(folder="~/file/x")
