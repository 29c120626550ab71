"""D-Wave's annealers: Ocean's mock, and the vendor's client code with a stand-in for its web service."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import AnnealProgram, CircuitProgram
from hybrid_opt.backends.dwave.dwave import DWave
from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BackendError, Cancelled, CorruptResult, LostReply, ProblemError, TransientError
from hybrid_opt.problem.qubo import Qubo
from tests.hybrid_opt.backends.dwave.dwave_cloud import Cloud, offered


def problem(n: int, seed: int = 0) -> Qubo:
    return Qubo(np.random.default_rng(seed).normal(size=(n, n)))


def optimum(qubo: Qubo) -> float:
    states = (np.arange(1 << qubo.n)[:, None] >> np.arange(qubo.n)) & 1
    return float(qubo.energy(states).min())


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Cloud]:
    cloud = offered(monkeypatch, tmp_path)
    yield cloud
    cloud.close()


@pytest.fixture
def backend(cloud: Cloud) -> Iterator[DWave]:
    backend = open_backend("dwave:Advantage_test")
    assert isinstance(backend, DWave)
    yield backend
    backend.close()


def test_the_mock_finds_optima_by_annealing_alone() -> None:
    qubos = tuple(problem(n, n) for n in (3, 8, 12))
    backend = open_backend("dwave:mock")
    result = backend.submit(AnnealProgram(qubos, 50), "key", 1).result(60)
    for qubo, bits in zip(qubos, result.samples, strict=True):
        assert bits.shape == (50, qubo.n) and bits.dtype == np.uint8
        assert qubo.energy(bits).min() == pytest.approx(optimum(qubo))
    assert result.cost.shots == 150 and result.cost.circuits == 3
    assert result.cost.qpu_seconds == 0 and result.cost.dollars == 0
    assert 0 <= result.about["broken_chains"] < 0.5


def test_the_mock_injects_no_ground_state() -> None:
    """Hardly any annealing leaves the first read, which the mock would overwrite, far from the optimum."""
    qubo = problem(14, 3)
    backend = open_backend("dwave:mock", sweeps=1)
    first = [backend.submit(AnnealProgram((qubo,), 1), "key", seed).result(60).samples[0][0] for seed in range(12)]
    hits = sum(qubo.energy(bits) <= optimum(qubo) + 1e-9 for bits in first)
    assert hits < 6


def test_the_seed_fixes_the_reads_of_the_mock() -> None:
    task = AnnealProgram((problem(9), problem(9)), 20)
    runs = [open_backend("dwave:mock", sweeps=2).submit(task, "key", seed).result(60).samples for seed in (5, 5, 6)]
    assert np.array_equal(runs[0][0], runs[1][0]) and np.array_equal(runs[0][1], runs[1][1])
    assert not np.array_equal(runs[0][0], runs[2][0]) and not np.array_equal(runs[0][0], runs[0][1])


def test_reads_are_raw() -> None:
    """Of one variable there are only two states; none is merged, and column i is variable i."""
    result = open_backend("dwave:mock").submit(AnnealProgram((Qubo([[-5.0]]),), 30), "key").result(60)
    assert result.samples[0].shape == (30, 1) and result.samples[0].mean() > 0.9
    fields = Qubo(np.diag([-4.0, 4.0, -4.0, 4.0]))
    bits = open_backend("dwave:mock").submit(AnnealProgram((fields,), 30), "key").result(60).samples[0]
    assert np.array_equal(np.round(bits.mean(0)), [1, 0, 1, 0])


def test_an_embedding_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import minorminer.busclique

    found: list[int] = []

    class Counting(minorminer.busclique.busgraph_cache):  # type: ignore[misc]
        def find_clique_embedding(self, n: int) -> Any:
            found.append(n)
            return super().find_clique_embedding(n)

    monkeypatch.setattr(minorminer.busclique, "busgraph_cache", Counting)
    backend = open_backend("dwave:mock")
    for seed in range(3):
        backend.submit(AnnealProgram((problem(6, seed), problem(7, seed)), 5), "key").result(60)
    assert sorted(found) == [6, 7]


def test_a_problem_larger_than_the_device_is_refused() -> None:
    backend = open_backend("dwave:mock", topology="chimera", size=4)
    assert backend.limits.qubits == 16  # chains are an L in a grid of 4 x 4 cells with 4 lines each
    backend.estimate(AnnealProgram((problem(16),), 5))
    with pytest.raises(ProblemError, match="17 variables; backend=dwave:mock has room for 16, all coupled"):
        backend.submit(AnnealProgram((problem(17),), 5), "key")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (AnnealProgram((problem(3),), 0), r"reads=0: an integer from 1 to 10000"),
        (AnnealProgram((problem(3),), 10001), r"reads=10001"),
        (AnnealProgram((), 5), "qubos: none given"),
        (AnnealProgram((problem(3),), 5, {"anealing_time": 2}), "did you mean annealing_time"),
        (AnnealProgram((problem(3),), 5, {"answer_mode": "histogram"}), "answer_mode: no such option"),
        (CircuitProgram(QuantumCircuit(1), np.zeros((1, 0)), 5), "runs no circuits"),
    ],
)
def test_a_program_that_cannot_run_is_refused(task: Any, message: str) -> None:
    with pytest.raises(ProblemError, match=message) as error:
        open_backend("dwave:mock").submit(task, "key")
    assert "\n" not in str(error.value)


def test_a_program_runs_on_the_processor(cloud: Cloud, backend: DWave) -> None:
    qubos = (problem(4), problem(7))
    job: Any = backend.submit(AnnealProgram(qubos, 40, {"annealing_time": 5.0}), "key")
    result = job.result(60)
    for qubo, bits in zip(qubos, result.samples, strict=True):
        assert bits.shape == (40, qubo.n)
        assert qubo.energy(bits).min() == pytest.approx(optimum(qubo))
    bodies = [problem["body"] for problem in cloud.problems.values()]
    assert [body["params"] for body in bodies] == [{"num_reads": 40, "answer_mode": "raw", "annealing_time": 5.0}] * 2
    labels = sorted(body["label"].split()[:4] for body in bodies)  # they are sent at the same time
    assert labels == [["key", "0", "2", "4"], ["key", "1", "2", "7"]]
    assert sorted(job.vendor_id.split(",")) == ["problem-0", "problem-1"]


def test_what_was_charged_is_the_cost(cloud: Cloud, backend: DWave) -> None:
    task = AnnealProgram((problem(4), problem(4)), 40)
    result = backend.submit(task, "a").result(60)
    assert result.cost.qpu_seconds == pytest.approx(2 * 15432e-6) and result.about["billing"] == "charged"
    assert result.cost.dollars == pytest.approx(0.56 * 2 * 15432e-6)
    cloud.access = 0.0
    result = backend.submit(task, "b").result(60)
    assert result.cost.qpu_seconds == backend.estimate(task).qpu_seconds and result.about["billing"] == "estimated"


def test_the_estimate_is_the_vendors(cloud: Cloud, backend: DWave) -> None:
    task = AnnealProgram((problem(4),), 100, {"annealing_time": 50.0})
    qubits = sum(len(chain) for chain in backend.embedding.of(4, "").values())
    solver = backend._sampler.solver
    assert backend.estimate(task).qpu_seconds == pytest.approx(
        1e-6 * solver.estimate_qpu_access_time(qubits, num_reads=100, annealing_time=50.0)
    )
    assert backend.estimate(task).shots == 100 and not cloud.problems


def test_submit_does_not_wait_for_the_queue(cloud: Cloud, backend: DWave) -> None:
    cloud.hold.clear()
    job = backend.submit(AnnealProgram((problem(4),), 5), "key")
    assert not job.done()
    with pytest.raises(TimeoutError):
        job.result(0.05)
    cloud.hold.set()
    assert job.result(60).samples[0].shape == (5, 4)


def test_a_job_is_found_again_by_its_label_in_a_new_process(cloud: Cloud, backend: DWave) -> None:
    task = AnnealProgram((problem(5), problem(8)), 60)
    sent = backend.submit(task, "key").result(60)
    backend.submit(AnnealProgram((problem(3),), 5), "key2").result(60)
    other = open_backend("dwave")
    assert other.find("ke") is None
    job = other.find("key")
    assert job is not None
    result = job.result(60)
    for ours, theirs in zip(result.samples, sent.samples, strict=True):
        assert np.array_equal(ours, theirs)
    assert result.cost.shots == 120 and result.cost.qpu_seconds == pytest.approx(2 * 15432e-6)
    assert result.about["broken_chains"] == pytest.approx(sent.about["broken_chains"], abs=1e-6)
    other.close()


def test_a_list_is_one_job_also_in_a_new_process(cloud: Cloud, backend: DWave) -> None:
    """Each program has its own reads and options, and is charged what its problems took."""
    tasks = [AnnealProgram((problem(5), problem(8)), 60), AnnealProgram((problem(4),), 20, {"annealing_time": 5.0})]
    ledger = Ledger(":memory:")
    sent = Ledgered(backend, ledger).submit(tasks, "key").result(60)
    ((row,), other) = ledger.attempts(), open_backend("dwave")
    job, alone = other.find("key"), other.submit(tasks[1:], "alone")
    assert job is not None and len(row["vendor_id"].split(",")) == 3 and alone.result(60)[0].samples[0].shape == (20, 4)
    for one, again, task in zip(sent, job.result(60), tasks, strict=True):
        assert [bits.shape for bits in one.samples] == [(task.reads, qubo.n) for qubo in task.qubos]
        assert all(map(np.array_equal, one.samples, again.samples))
        for result in (one, again):
            assert result.cost.qpu_seconds == pytest.approx(len(task.qubos) * 15432e-6)
            assert (result.cost.shots, result.cost.circuits) == (task.reads * len(task.qubos), len(task.qubos))
    assert row["seconds"] == pytest.approx(3 * 15432e-6) and row["shots"] == 140
    assert backend.estimate(tasks) == sum([backend.estimate(task) for task in tasks], Cost())
    single = other.find("alone")
    assert single is not None and isinstance(single.result(60), tuple)
    other.close()


def test_an_answer_is_not_read_by_another_embedding(cloud: Cloud, backend: DWave) -> None:
    backend.submit(AnnealProgram((problem(5),), 10), "key").result(60)
    cloud.problems["problem-0"]["about"]["label"] = "key 0 1 5 00000000"
    job = backend.find("key")
    assert job is not None
    with pytest.raises(BackendError, match="the device changed"):
        job.result(60)


def test_an_answer_of_other_qubits_is_corrupt() -> None:
    import dimod

    embedding = open_backend("dwave:mock").embedding  # type: ignore[attr-defined]
    chains = embedding.of(3, "")
    qubits = [qubit for chain in chains.values() for qubit in chain]
    states = {qubit: 1 if qubit in chains[1] else -1 for qubit in qubits}
    answer = dimod.SampleSet.from_samples(states, "SPIN", energy=0)
    assert embedding.unembedded(answer, 3, "")[0].tolist() == [[0, 1, 0]]
    states[99999] = states.pop(qubits[0])
    with pytest.raises(CorruptResult, match="an answer of"):
        embedding.unembedded(dimod.SampleSet.from_samples(states, "SPIN", energy=0), 3, "")


def test_a_queued_job_can_be_cancelled(cloud: Cloud, backend: DWave) -> None:
    cloud.hold.clear()
    job = backend.submit(AnnealProgram((problem(4), problem(5)), 5), "key")
    assert job.cancel()
    with pytest.raises(Cancelled):
        job.result(60)
    assert {problem["about"]["status"] for problem in cloud.problems.values()} == {"CANCELLED"}


def test_a_lost_reply_is_found_by_the_key(cloud: Cloud, backend: DWave) -> None:
    cloud.lose = [500]
    with pytest.raises(LostReply, match="backend=dwave:Advantage_test"):
        backend.submit(AnnealProgram((problem(4),), 5), "key")
    job = backend.find("key")
    assert job is not None and job.result(60).samples[0].shape == (5, 4)


@pytest.mark.parametrize(("status", "expected"), [(429, TransientError), (400, BackendError)])
def test_refusals_are_mapped(cloud: Cloud, backend: DWave, status: int, expected: type[Exception]) -> None:
    cloud.fail = [status]
    with pytest.raises(BackendError) as caught:
        backend.submit(AnnealProgram((problem(4),), 5), "key")
    assert type(caught.value) is expected and cloud.token not in str(caught.value)
    assert backend.find("key") is None


def test_a_missing_account_a_wrong_token_and_an_unknown_name(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProblemError, match=r"^backend=dwave:Advantage_tset: .*did you mean Advantage_test\?$"):
        open_backend("dwave:Advantage_tset")
    monkeypatch.setenv("DWAVE_API_TOKEN", "wrong-token-1234567")
    with pytest.raises(ProblemError, match=r"backend=dwave: .*; set DWAVE_API_TOKEN"):
        open_backend("dwave")
    monkeypatch.delenv("DWAVE_API_TOKEN")
    with pytest.raises(ProblemError, match=r"^backend=dwave: no D-Wave account; set DWAVE_API_TOKEN.*$"):
        open_backend("dwave")


@pytest.mark.slow  # the vendor's client tries again for 10 s
def test_a_service_that_is_down_is_transient(cloud: Cloud) -> None:
    cloud.close()
    with pytest.raises(TransientError):
        open_backend("dwave")


def test_closing_leaves_no_threads(cloud: Cloud) -> None:
    import threading

    before = set(threading.enumerate())
    backend = open_backend("dwave")
    backend.submit(AnnealProgram((problem(4),), 5), "key").result(60)
    assert set(threading.enumerate()) - before
    backend.close()
    assert all("process_request" in thread.name for thread in set(threading.enumerate()) - before)
