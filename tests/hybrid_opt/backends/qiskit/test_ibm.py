"""IBM's processors, with the vendor's client code and a stand-in for its web service."""

import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import requests
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from requests.exceptions import ConnectTimeout

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import CircuitProgram
from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.backends.qiskit.ibm import Ibm
from hybrid_opt.errors import BackendError, Cancelled, LostReply, ProblemError, TransientError
from tests.hybrid_opt.backends.qiskit.ibm_cloud import CRN, Cloud

TOKEN = "t0ken" * 9


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Cloud:
    cloud = Cloud()
    monkeypatch.setattr("qiskit_ibm_runtime.qiskit_runtime_service.RuntimeClient", cloud.client)
    monkeypatch.setenv("QISKIT_IBM_TOKEN", TOKEN)
    monkeypatch.setenv("QISKIT_IBM_INSTANCE", CRN)
    monkeypatch.setenv("QISKIT_FUNCTIONS_EXPERIMENTAL", "1")  # the vendor's own way around its account search
    return cloud


def opened(**options: Any) -> Ibm:
    backend = open_backend("ibm:ibm_manila", poll=0.01, **options)
    assert isinstance(backend, Ibm)
    return backend


def program(shots: int = 2000, sets: int = 3) -> CircuitProgram:
    angles = ParameterVector("a", 2)
    circuit = QuantumCircuit(3)
    circuit.h(range(3))
    for i, j in ((0, 1), (1, 2), (0, 2)):
        circuit.rzz(angles[0] * (1 + i - 0.5 * j), i, j)
    circuit.rx(angles[1], range(3))
    circuit.ry(angles[1], 0)
    return CircuitProgram(circuit, np.random.default_rng(0).normal(size=(sets, 2)), shots)


def law(task: CircuitProgram, row: int) -> Any:
    return Statevector(task.circuit.assign_parameters(task.parameters[row])).probabilities()


def check_samples(task: CircuitProgram, samples: Any) -> None:
    assert len(samples) == len(task.parameters)
    for row, bits in enumerate(samples):
        assert bits.shape == (task.shots, 3) and bits.dtype == np.uint8
        frequencies = np.bincount(bits.astype(int) @ [1, 2, 4], minlength=8) / len(bits)
        assert np.abs(frequencies - law(task, row)).sum() / 2 < 0.06  # E <= sqrt(8 / 2000) / 2 = 0.032


def test_all_parameter_sets_are_one_tagged_job_of_one_batch(cloud: Cloud) -> None:
    backend, task = opened(), program()
    first = backend.submit(task, "key-1").result(30)
    second = backend.submit(task, "key-2").result(30)
    check_samples(task, first.samples)
    check_samples(task, second.samples)
    assert [job["job_tags"] for job in cloud.jobs.values()] == [["key-1"], ["key-2"]]
    assert [len(job["params"]["pubs"]) for job in cloud.jobs.values()] == [1, 1]
    assert [session["mode"] for session in cloud.sessions] == ["batch"]
    assert first.about["vendor_id"] == "job-0"
    backend.close()
    assert cloud.sessions[0]["state"] == "closed"


def test_a_batch_that_the_vendor_closed_is_opened_again(cloud: Cloud) -> None:
    backend = opened()
    backend.submit(program(10), "a").result(30)
    cloud.sessions[0]["state"] = "closed"
    backend.submit(program(10), "b").result(30)
    assert [job["session_id"] for job in cloud.jobs.values()] == ["0", "1"]


def test_means_come_from_the_estimator(cloud: Cloud) -> None:
    task = program(4000, 2)
    observables = (SparsePauliOp(["ZZI", "IIX"], [1.0, 0.5]), SparsePauliOp(["YIZ"]))
    task = CircuitProgram(task.circuit, task.parameters, task.shots, observables)
    result = opened(resilience_level=0).submit(task, "means").result(30)
    states = [Statevector(task.circuit.assign_parameters(values)) for values in task.parameters]
    expected = np.array([[state.expectation_value(o).real for o in observables] for state in states])
    assert result.means is not None and result.errors is not None
    assert result.means.shape == (2, 2) and (np.abs(result.means - expected) < 5 * result.errors).all()
    assert cloud.jobs["job-0"]["params"]["resilience_level"] == 0
    assert len(cloud.jobs) == 1


@pytest.mark.parametrize("kind", ["samples", "means"])
def test_a_list_is_one_job_also_in_a_new_process(cloud: Cloud, kind: str) -> None:
    """A circuit without parameters is as many blocks as it has sets; each program has its shots, and its share."""
    fixed = program().circuit.assign_parameters([0.4, 0.9])
    tasks = [program(2000, 3), CircuitProgram(fixed, np.zeros((2, 0)), 2500), program(3000, 1)]
    if kind == "means":
        tasks = [replace(task, observables=(SparsePauliOp("ZZI"), SparsePauliOp("YIZ"))) for task in tasks]
    ledger = Ledger(":memory:")
    results = Ledgered(opened(resilience_level=0), ledger).submit(tasks, "key").result(30)
    assert [len(job["params"]["pubs"]) for job in cloud.jobs.values()] == [4] and len(ledger.attempts()) == 1
    found: Any = opened().find("key")
    for one, again, task in zip(results, found.result(30), tasks, strict=True):
        if kind == "samples":
            check_samples(task, one.samples)
            assert all(map(np.array_equal, one.samples, again.samples))
            assert one.cost.qpu_seconds == again.cost.qpu_seconds == pytest.approx(3.5 * one.cost.shots / 14000)
        else:
            states = [Statevector(task.circuit.assign_parameters(values)) for values in task.parameters]
            expected = [[state.expectation_value(o).real for o in task.observables] for state in states]
            assert (np.abs(one.means - expected) < 5 * one.errors).all() and np.array_equal(one.means, again.means)
            precisions = [pub[3] for job in cloud.jobs.values() for pub in job["params"]["pubs"]]
            assert precisions == [shots**-0.5 for shots in (2000, 2500, 2500, 3000)]
    assert ledger.spent.qpu_seconds == pytest.approx(3.5) and ledger.spent.shots == sum(r.cost.shots for r in results)
    (alone,) = opened().submit(tasks[:1], "alone").result(30)
    assert (alone.means if kind == "means" else alone.samples[0]).shape == ((3, 2) if kind == "means" else (2000, 3))


def test_mitigated_circuits_are_one_job_of_the_sampler(cloud: Cloud, tmp_path: Any) -> None:
    """Nothing of the vendor's own mitigation is on, and a new process that asks the same finds the job again."""
    observables = (SparsePauliOp("ZZI"), SparsePauliOp("YIZ"))
    tasks = [replace(program(2000, 2), observables=observables), replace(program(1500, 1), observables=observables)]
    for _ in range(2):
        backend = open_backend("ibm:ibm_manila?mitigation=readout+zne", poll=0.01, ledger=tmp_path / "ledger.sqlite")
        asked = backend.expand(tasks, 3)  # type: ignore[attr-defined]
        results = backend.submit(tasks, "key", 3).result(60)
        backend.close()
        (job,) = cloud.jobs.values()
        assert job["program"] == "sampler" and "resilience_level" not in job["params"].get("options", {})
        assert len(job["params"]["pubs"]) == sum(len(each.programs) for each in asked)
        for task, result in zip(tasks, results, strict=True):
            states = [Statevector(task.circuit.assign_parameters(values)) for values in task.parameters]
            expected = np.array([[state.expectation_value(o).real for o in observables] for state in states])
            assert (np.abs(result.means - expected) < 5 * result.errors).all()  # the stand-in has no noise
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            (row,) = ledger.attempts()
            assert row["vendor_id"] == "job-0" and ledger.spent.shots == sum(each.cost.shots for each in results)
            assert ledger.spent.qpu_seconds == pytest.approx(3.5)


def test_a_list_of_both_kinds_is_refused(cloud: Cloud) -> None:
    tasks = [program(), replace(program(), observables=(SparsePauliOp("ZZI"),))]
    with pytest.raises(
        ProblemError, match="^programs: some have observables and some have none; .* one kind in a list"
    ):
        opened().submit(tasks, "key")
    whole, parts = opened().estimate([program()] * 3), opened().estimate(program())
    assert whole.qpu_seconds == pytest.approx(3 * parts.qpu_seconds - 2 * 2.0)  # one job's overhead
    assert whole.shots == 3 * parts.shots and not cloud.jobs


def test_submit_does_not_wait_for_the_queue(cloud: Cloud) -> None:
    cloud.hold.clear()
    backend = opened()
    job: Any = backend.submit(program(), "key")
    assert not job.done() and job.vendor_id == "job-0"
    with pytest.raises(TimeoutError, match=r"job key \(job-0\)"):
        job.result(0.05)
    cloud.hold.set()
    check_samples(program(), job.result(30).samples)
    assert job.done()


def test_a_job_is_found_again_by_its_tag_in_a_new_process(cloud: Cloud) -> None:
    task = program()
    assert opened().find("key") is None
    opened().submit(task, "key")
    opened().submit(program(10), "other")
    job: Any = opened().find("key")
    assert job.key == "key" and job.vendor_id == "job-0"
    result = job.result(30)
    check_samples(task, result.samples)
    assert result.cost.shots == 6000 and result.cost.qpu_seconds == 3.5


def test_a_failed_job_is_not_preferred_to_a_living_one(cloud: Cloud) -> None:
    backend = opened()
    backend.submit(program(10), "key").result(30)
    backend.submit(program(10), "key").result(30)
    cloud.jobs["job-1"]["final"] = "Failed"
    job: Any = opened().find("key")
    assert job.vendor_id == "job-0"


def test_a_program_that_was_sent_twice_is_booked_twice(cloud: Cloud) -> None:
    cloud.hold.clear()
    ledger = Ledger(":memory:")
    backend = Ledgered(opened(), ledger)
    job = backend.submit(program(), "key")
    while not cloud.jobs:
        time.sleep(0.01)
    opened().submit(program(), "key")  # as the vendor would, or a process that did not see the first one
    cloud.hold.set()
    check_samples(program(), job.result(30).samples)
    assert sorted(row["status"] for row in ledger.attempts()) == ["done", "surplus"]
    assert ledger.spent.qpu_seconds == 7.0


def test_what_was_charged_is_the_cost(cloud: Cloud) -> None:
    backend = opened(dollars_per_second=2.0)
    result = backend.submit(program(), "a").result(30)
    assert result.cost.qpu_seconds == 3.5 and result.cost.dollars == 7.0 and result.about["billing"] == "charged"
    assert result.cost.shots == 6000 and result.cost.circuits == 3
    cloud.charged = None  # the vendor has not made up the bill yet: his own estimate
    result = backend.submit(program(), "b").result(30)
    assert result.cost.qpu_seconds == 2.25 and result.about["billing"] == "estimated"


def test_the_estimate_counts_shots_delay_and_duration(cloud: Cloud) -> None:
    cost = opened(dollars_per_second=1.5).estimate(program())
    assert cost.shots == 6000 and cost.circuits == 3
    # 2 s for the job, 6000 x 250 us of delay, and 6000 x (measurement and gates, between 1 and 30 us)
    assert 3.506 < cost.qpu_seconds < 3.68
    assert cost.dollars == pytest.approx(1.5 * cost.qpu_seconds)
    assert not cloud.jobs


def test_a_queued_job_can_be_cancelled(cloud: Cloud) -> None:
    cloud.hold.clear()
    job = opened().submit(program(), "key")
    assert job.cancel()
    with pytest.raises(Cancelled):
        job.result(30)
    assert cloud.jobs["job-0"]["final"] == "Cancelled" and not job.cancel()


def http(status: int) -> RequestsApiError:
    return RequestsApiError(f"{status} Error for url: https://service/jobs?token={TOKEN}", status)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (http(429), TransientError),
        (http(503), LostReply),
        (http(-1), LostReply),
        (http(400), BackendError),
        (http(403), ProblemError),
    ],
)
def test_errors_of_sending_are_mapped(cloud: Cloud, error: Exception, expected: type[Exception]) -> None:
    backend = opened()
    cloud.fail["program_run"] = [error]
    with pytest.raises(Exception, match=r"backend=ibm:ibm_manila: ") as caught:
        backend.submit(program(), "key")
    assert type(caught.value) is expected
    assert "\n" not in str(caught.value) and TOKEN not in str(caught.value)
    backend.submit(program(10), "key").result(30)


def test_a_connection_that_was_never_made_lost_nothing(cloud: Cloud) -> None:
    backend = opened()
    never = RequestsApiError("HTTPSConnectionPool: Max retries exceeded (Caused by NewConnectionError)", -1)
    never.__cause__ = ConnectTimeout()
    cloud.fail["program_run"] = [never]
    with pytest.raises(TransientError) as caught:
        backend.submit(program(), "key")
    assert type(caught.value) is TransientError


def test_a_lost_reply_is_found_by_the_key(cloud: Cloud) -> None:
    backend, task = opened(), program()
    cloud.fail_after["program_run"] = [http(504)]
    with pytest.raises(LostReply):
        backend.submit(task, "key")
    job = backend.find("key")
    assert job is not None
    check_samples(task, job.result(30).samples)
    assert len(cloud.jobs) == 1


def test_losing_the_connection_while_waiting_loses_no_job(cloud: Cloud) -> None:
    cloud.hold.clear()
    backend, task = opened(), program()
    job = backend.submit(task, "key")
    cloud.fail["job_get"] = [http(502)]
    with pytest.raises(LostReply):
        job.result(30)
    cloud.hold.set()
    again = backend.find("key")
    assert again is not None
    check_samples(task, again.result(30).samples)


@pytest.mark.parametrize("charged", [None, 1.5])
def test_a_job_that_failed_there_is_a_backend_error_with_its_charge(cloud: Cloud, charged: float | None) -> None:
    cloud.hold.clear()
    cloud.charged = charged
    job = opened().submit(program(), "key")
    cloud.jobs["job-0"].update(final="Failed", reason="the control electronics are out", result="Traceback")
    with pytest.raises(BackendError, match="control electronics") as caught:
        job.result(30)
    assert not isinstance(caught.value, TransientError)
    assert caught.value.cost is not None and caught.value.cost.qpu_seconds == (charged or 0.0)


def test_an_unknown_device_and_a_large_circuit_are_refused(cloud: Cloud) -> None:
    with pytest.raises(ProblemError, match=r"backend=ibm:ibm_manilla: .* did you mean ibm_manila"):
        open_backend("ibm:ibm_manilla")
    assert open_backend("ibm:least_busy").name == "ibm:ibm_manila"
    large = CircuitProgram(QuantumCircuit(6), np.zeros((1, 0)), 10)
    with pytest.raises(ProblemError, match="6 qubits; backend=ibm:ibm_manila has 5"):
        opened().submit(large, "key")
    with pytest.raises(ProblemError, match=r"depth \d+ .* max_depth=2"):
        opened(max_depth=2).submit(program(), "key")
    with pytest.raises(ProblemError, match="no exact mode"):
        opened().submit(CircuitProgram(program().circuit, program().parameters), "key")
    assert not cloud.jobs


def test_a_device_object_of_the_vendor_is_taken_as_it_is(cloud: Cloud) -> None:
    from qiskit_ibm_runtime import QiskitRuntimeService

    backend = open_backend(QiskitRuntimeService().backend("ibm_manila"), poll=0.01)
    check_samples(program(), backend.submit(program(), "key").result(30).samples)
    assert cloud.jobs["job-0"]["job_tags"] == ["key"] and backend.capabilities.remote


def test_a_missing_account_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("QISKIT_IBM_TOKEN", "QISKIT_IBM_INSTANCE", "QISKIT_IBM_CHANNEL"):
        monkeypatch.delenv(name, raising=False)
    accounts = str(tmp_path / "qiskit-ibm.json")
    monkeypatch.setattr("qiskit_ibm_runtime.accounts.management._DEFAULT_ACCOUNT_CONFIG_JSON_FILE", accounts)
    started = time.monotonic()
    with pytest.raises(ProblemError, match=r"^backend=ibm:ibm_torino: no IBM account; set QISKIT_IBM_TOKEN.*$"):
        open_backend("ibm:ibm_torino")
    assert time.monotonic() - started < 60


def test_a_service_that_is_down_is_no_fault_of_the_user(cloud: Cloud) -> None:
    backend = opened()
    cloud.fail["jobs_get"] = [http(500)]
    with pytest.raises(TransientError):
        backend.find("key")
    cloud.fail["list_backends"] = [http(500)] * 9
    with pytest.raises(BackendError, match="the service lists no devices for this account"):
        opened()


def test_a_network_that_is_down_is_no_missing_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor's client says that it cannot find the account's instances; a fallback takes over, and says so."""
    import qiskit_ibm_runtime
    from qiskit_ibm_runtime.exceptions import IBMAccountError

    def unreachable(**_: Any) -> Any:
        try:
            raise requests.ConnectionError("HTTPSConnectionPool(host='iam'): Failed to resolve 'iam'")
        except requests.ConnectionError as error:
            raise IBMAccountError("Unable to retrieve instances.") from error

    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", unreachable)
    with pytest.raises(TransientError, match=r"^backend=ibm:ibm_torino: IBM's service cannot be reached: "):
        open_backend("ibm:ibm_torino")
    with pytest.warns(RuntimeWarning, match="cannot be reached.*; fallback=statevector takes over"):
        warnings.simplefilter("error")  # as the code of a user may
        backend = open_backend("ibm:ibm_torino", fallback="statevector")
    about = backend.submit(program(), "key").result(30).about
    backend.close()
    assert about["origin"] == "fallback" and "cannot be reached" in about["fallback_reason"]
