"""Faults at each call of vendors' libraries: what leaves is an error of ours, in one line, without a token."""

import errno
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import requests
from qiskit import QuantumCircuit
from qiskit.exceptions import QiskitError

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import AnnealProgram, Backend, Capabilities, CircuitProgram
from hybrid_opt.backends.dry_run import DryRun
from hybrid_opt.backends.errors import STAGES, VendorCalls
from hybrid_opt.backends.fallback import Fallback
from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.ledger.serialization import pack_circuit, unpack_program
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.errors import BackendError, CorruptResult, LedgerError, LostReply, ProblemError
from hybrid_opt.errors import TransientError as Transient
from hybrid_opt.problem.qubo import Qubo
from tests.hybrid_opt.backends.dwave import dwave_cloud
from tests.hybrid_opt.backends.ledger.jobs import QUICK, in_another_process
from tests.hybrid_opt.backends.qiskit import ibm_cloud

TOKEN = "sEcr3t" * 8
TEXT = f"it broke\n  at https://service/jobs?token={TOKEN}"
CONNECT = type("ConnectError", (Exception,), {"__module__": "httpx"})  # as httpx raises it, which is not installed
SILENT = [  # no answer came
    requests.ConnectionError(TEXT),
    requests.ReadTimeout(TEXT),
    ConnectionResetError(TEXT),
    TimeoutError(TEXT),
    OSError(TEXT),
    CONNECT(TEXT),
]
BROKEN = [  # anything else
    RuntimeError(TEXT),
    KeyError(TEXT),
    TypeError(TEXT),
    StopIteration(TEXT),
    OSError(errno.ENOSPC, TEXT),
    PermissionError(errno.EACCES, TEXT, "/cache"),
]
LOCAL = {"opening": (Transient, BackendError), "waiting": (Transient, BackendError)}
REMOTE = {
    "opening": (Transient, BackendError),
    "sending": (LostReply, LostReply),
    "waiting": (LostReply, CorruptResult),
}
COMPILING = (Transient, ProblemError)


def program(shots: int | None = 20) -> CircuitProgram:
    """A new circuit, which nobody has compiled yet."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    return CircuitProgram(circuit, np.zeros((1, 0)), shots)


def anneal() -> AnnealProgram:
    return AnnealProgram((Qubo(np.array([[1.0, -2.0], [0.0, 1.0]])),), 5)


def raising(error: Exception) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise type(error)(*error.args) if not isinstance(error, PermissionError) else error

    return call


def check(act: Callable[[], Any], error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(Exception) as caught:
        act()
    told = f"{error!r} left as {caught.value!r}"
    assert type(caught.value) is expected, told
    assert "\n" not in str(caught.value) and TOKEN not in str(caught.value) and str(caught.value), told


def inject(
    monkeypatch: pytest.MonkeyPatch, target: str, act: Callable[[], Any], expected: tuple[type[Any], type[Any]]
) -> None:
    """Each fault in turn at one call."""
    for kind, errors in zip(expected, (SILENT, BROKEN), strict=True):
        for error in errors:
            lost = kind is LostReply and isinstance(error, CONNECT) and expected == REMOTE["sending"]
            with monkeypatch.context() as patch:
                patch.setattr(target, raising(error))
                check(act, error, Transient if lost else kind)  # a connection that was not made: nothing was sent


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("aer?noise=fake_manila", "qiskit_aer.noise.NoiseModel.from_backend"),
        ("aer?noise=fake_manila", "qiskit_ibm_runtime.fake_provider.FakeProviderForBackendV2"),
        ("ibm:fake_manila", "qiskit_ibm_runtime.fake_provider.FakeProviderForBackendV2"),
        ("ibm:torino", "qiskit_ibm_runtime.QiskitRuntimeService"),
        ("dwave", "dwave.system.DWaveSampler"),
        ("dwave:mock", "dwave.system.testing.MockDWaveSampler"),
    ],
)
def test_faults_while_opening(monkeypatch: pytest.MonkeyPatch, name: str, target: str) -> None:
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    if "NoiseModel" in target:  # finding a fake device opens all of them
        monkeypatch.setattr("hybrid_opt.backends.qiskit.fake_ibm.fake_device", lambda name: FakeManilaV2())
    inject(monkeypatch, target, lambda: open_backend(name), LOCAL["opening"])


@pytest.mark.parametrize(
    ("name", "target", "shots", "stage"),
    [
        ("aer", "qiskit.transpile", 20, "compiling"),
        ("aer", "qiskit_aer.AerSimulator.__init__", 20, "compiling"),
        ("aer", "qiskit_ibm_runtime.Sampler.run", 20, "waiting"),
        ("aer", "qiskit_aer.AerSimulator.run", None, "waiting"),
        ("aer", "qiskit_aer.jobs.aerjob.AerJob.result", None, "waiting"),
        ("fake", "qiskit.transpiler.generate_preset_pass_manager", 20, "compiling"),
        ("fake", "qiskit_aer.noise.NoiseModel.from_backend", 20, "compiling"),
        ("fake", "qiskit_ibm_runtime.Sampler.run", 20, "waiting"),
        ("lightning", "pennylane.device", 20, "waiting"),
        ("lightning", "pennylane.execute", 20, "waiting"),
        ("lightning", "pennylane.execute", None, "waiting"),
        ("pennylane:default.qubit", "pennylane.tape.QuantumScript.__init__", 20, "waiting"),
        ("pennylane:default.qubit", "pennylane.Hadamard.__init__", 20, "waiting"),
        ("provider", "qiskit.providers.basic_provider.BasicSimulator.run", 20, "waiting"),
        ("provider", "qiskit.transpiler.generate_preset_pass_manager", 20, "compiling"),
    ],
)
def test_faults_of_local_circuits(
    monkeypatch: pytest.MonkeyPatch, name: str, target: str, shots: int | None, stage: str
) -> None:
    from qiskit.providers.basic_provider import BasicSimulator
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    devices = {"provider": BasicSimulator, "fake": FakeManilaV2}
    backend = open_backend(devices[name]() if name in devices else name)
    expected, same = COMPILING if stage == "compiling" else LOCAL[stage], program(shots)

    def run() -> None:
        task = program(shots) if stage == "compiling" else same
        backend.submit(task, "key").result(30)

    inject(monkeypatch, target, run, expected)


@pytest.mark.parametrize(
    ("target", "stage"),
    [
        ("minorminer.busclique.busgraph_cache", "opening"),
        ("minorminer.busclique.busgraph_cache.find_clique_embedding", "opening"),
        ("dwave.system.testing.MockDWaveSampler.to_networkx_graph", "opening"),
        ("dwave.system.FixedEmbeddingComposite", "waiting"),
        ("dwave.system.testing.MockDWaveSampler.sample", "waiting"),
        ("dwave.samplers.SimulatedAnnealingSampler.sample", "waiting"),
    ],
)
def test_faults_of_the_mock(monkeypatch: pytest.MonkeyPatch, target: str, stage: str) -> None:
    backend = open_backend("dwave:mock?size=2")
    inject(monkeypatch, target, lambda: backend.submit(anneal(), "key").result(30), LOCAL[stage])
    if stage == "opening":
        inject(monkeypatch, target, lambda: open_backend("dwave:mock?size=2").estimate(anneal()), LOCAL[stage])
    if target.endswith("busgraph_cache"):
        inject(monkeypatch, target, lambda: open_backend("dwave:mock?size=2").limits, LOCAL[stage])


@pytest.fixture
def ibm(monkeypatch: pytest.MonkeyPatch) -> Iterator[ibm_cloud.Cloud]:
    cloud = ibm_cloud.Cloud()
    monkeypatch.setattr("qiskit_ibm_runtime.qiskit_runtime_service.RuntimeClient", cloud.client)
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "t0ken" * 9)
    monkeypatch.setenv("QISKIT_IBM_INSTANCE", ibm_cloud.CRN)
    monkeypatch.setenv("QISKIT_FUNCTIONS_EXPERIMENTAL", "1")
    yield cloud


@pytest.fixture
def dwave(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[dwave_cloud.Cloud]:
    cloud = dwave_cloud.offered(monkeypatch, tmp_path)
    yield cloud
    cloud.close()


def found(backend: Backend) -> Any:
    job = backend.find("key")
    assert job is not None
    return job.result(30)


IBM: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("qiskit_ibm_runtime.Batch", "opening", lambda backend: (backend.close(), backend.submit(program(), "k"))),
    ("qiskit_ibm_runtime.Sampler", "opening", lambda backend: backend.submit(program(), "k")),
    ("qiskit_ibm_runtime.Sampler.run", "sending", lambda backend: backend.submit(program(), "k")),
    ("qiskit_ibm_runtime.RuntimeJobV2.job_id", "sending", lambda backend: backend.submit(program(), "k")),
    ("qiskit_ibm_runtime.RuntimeJobV2.in_final_state", "waiting", found),
    ("qiskit_ibm_runtime.RuntimeJobV2.result", "waiting", found),
    ("qiskit_ibm_runtime.RuntimeJobV2.usage", "waiting", found),
    ("qiskit_ibm_runtime.RuntimeJobV2.status", "opening", found),
    ("qiskit_ibm_runtime.QiskitRuntimeService.jobs", "opening", found),
    ("qiskit_ibm_runtime.QiskitRuntimeService.backend", "opening", lambda _: open_backend("ibm:ibm_manila")),
    ("qiskit_ibm_runtime.QiskitRuntimeService.least_busy", "opening", lambda _: open_backend("ibm:least_busy")),
]


@pytest.mark.parametrize(("target", "stage", "act"), IBM, ids=[target.rpartition("runtime.")[2] for target, *_ in IBM])
def test_faults_at_ibm(monkeypatch: pytest.MonkeyPatch, ibm: Any, target: str, stage: str, act: Any) -> None:
    backend = open_backend("ibm:ibm_manila", poll=0.01)
    backend.submit(program(), "key").result(30)
    inject(monkeypatch, target, lambda: act(backend), REMOTE[stage])


DWAVE: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("minorminer.busclique.busgraph_cache", "opening", lambda backend: backend.submit(anneal(), "k")),
    ("dwave.cloud.solver.StructuredSolver.estimate_qpu_access_time", "opening", lambda b: b.estimate(anneal())),
    ("dwave.system.DWaveSampler.sample", "sending", lambda backend: backend.submit(anneal(), "k")),
    ("dimod.SampleSet.wait_id", "sending", lambda backend: backend.submit(anneal(), "k")),
    ("dwave.cloud.api.Problems.from_config", "opening", found),
    ("dwave.cloud.Client.retrieve_answer", "waiting", found),
    ("dwave.embedding.chain_breaks.majority_vote", "waiting", found),
]


@pytest.mark.parametrize(("target", "stage", "act"), DWAVE, ids=[target for target, *_ in DWAVE])
def test_faults_at_dwave(monkeypatch: pytest.MonkeyPatch, dwave: Any, target: str, stage: str, act: Any) -> None:
    backend: Any = open_backend("dwave")
    if "busgraph" not in target:
        backend.submit(anneal(), "key").result(30)
    if "estimate" in target:  # KeyError tells of a device without timing data
        monkeypatch.setattr(f"{__name__}.BROKEN", [error for error in BROKEN if not isinstance(error, KeyError)])
    inject(monkeypatch, target, lambda: act(backend), REMOTE[stage])
    backend.close()


def test_the_vendors_own_errors(monkeypatch: pytest.MonkeyPatch, ibm: Any) -> None:
    """Each class that the libraries define, at each stage: an error of ours, whatever its class."""
    import dwave.cloud.exceptions
    import pennylane.exceptions
    import qiskit_aer
    import qiskit_ibm_runtime.exceptions

    ours = (ProblemError, BackendError)
    modules = (dwave.cloud.exceptions, pennylane.exceptions, qiskit_aer.aererror, qiskit_ibm_runtime.exceptions)
    classes = [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, Warning)
    ]
    assert len(classes) > 40
    from hybrid_opt.backends.dwave import dwave_errors
    from hybrid_opt.backends.qiskit import ibm_errors

    aer: Any = open_backend("aer")
    for kind in [*classes, QiskitError]:
        try:
            error = kind(TEXT)
        except TypeError:
            error = kind()
        for stage in ("opening", "sending", "waiting"):
            for told in (
                aer._ours(error, stage),
                ibm_errors.ours(error, "ibm:x", stage),  # type: ignore[arg-type]
                dwave_errors.ours(error, "dwave", stage),  # type: ignore[arg-type]
            ):
                assert isinstance(told, ours) and "\n" not in str(told) and TOKEN not in str(told), (kind, told)


@pytest.mark.parametrize("target", ["qiskit_ibm_runtime.Batch.close", "dwave.system.DWaveSampler.close"])
def test_a_fault_while_closing_is_said_and_costs_no_result(
    monkeypatch: pytest.MonkeyPatch, ibm: Any, dwave: Any, target: str
) -> None:
    name, task = ("ibm:ibm_manila", program()) if "ibm" in target else ("dwave", anneal())
    backend: Any = Ledgered(open_backend(name), Ledger(":memory:"))
    backend.submit(task, "key").result(30)
    real = getattr(backend.backend, "_sampler", None)
    monkeypatch.setattr(target, raising(requests.ConnectionError(TEXT)))
    with pytest.warns(
        RuntimeWarning, match=rf"^not closed: backend={backend.name}: .*ConnectionError: it broke at"
    ) as said:
        backend.close()
    assert TOKEN not in str(said[0].message) and "\n" not in str(said[0].message)
    if real is not None:
        real.client.close()


def statuses(ledger: Ledger) -> list[str]:
    return [row["status"] for row in ledger.attempts()]


@pytest.mark.parametrize(
    ("name", "target", "task"),
    [
        ("aer", "qiskit_ibm_runtime.Sampler.run", program),
        ("lightning", "pennylane.execute", program),
        ("dwave:mock?size=2", "dwave.system.testing.MockDWaveSampler.sample", anneal),
    ],
)
def test_rows_of_local_jobs(monkeypatch: pytest.MonkeyPatch, name: str, target: str, task: Any) -> None:
    """A broken connection is tried again; anything else ends the job."""
    ledger = Ledger(":memory:", **QUICK)
    backend = Ledgered(open_backend(name), ledger)
    faults: list[Exception] = [ConnectionResetError(TEXT)]
    original = _resolved(target)

    def once(*args: Any, **kwargs: Any) -> Any:
        if faults:
            raise faults.pop()
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(target, once)
        assert backend.submit(task(), "a").result(30).samples
        assert statuses(ledger) == ["lost", "done"]
        faults.append(KeyError(TEXT))
        with pytest.raises(BackendError, match="KeyError"):
            backend.submit(task(), "b").result(30)
    assert statuses(ledger) == ["lost", "done", "failed"]
    backend.close()


def test_a_failed_job_elsewhere_is_booked_at_its_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of devices at which no job can be found again: it may have run there. Before that, nothing is booked."""
    import pennylane
    from qiskit.providers.fake_provider import GenericBackendV2

    class Elsewhere(GenericBackendV2):
        """Of no library that runs right here."""

    monkeypatch.setattr("hybrid_opt.backends.local.pennylane.LOCAL", ())
    for device, place in (
        (Elsewhere(3, seed=0), (Elsewhere, "run")),
        ("pennylane:default.qubit", (pennylane, "execute")),
    ):
        ledger = Ledger(":memory:", tries=3, **QUICK)
        backend = Ledgered(open_backend(device), ledger)
        assert backend.capabilities.remote
        for fault in (ConnectionResetError(TEXT), KeyError(TEXT), CorruptResult("2 samples were to be 20")):
            before, rows = ledger.spent.shots, len(statuses(ledger))
            with monkeypatch.context() as patch, pytest.raises(BackendError):
                patch.setattr(*place, raising(fault))
                backend.submit(program(), str(fault)).result(30)
            sent = len(statuses(ledger)) - rows
            assert sent == (2 if isinstance(fault, CorruptResult) else 1) and ledger.spent.shots == before + 20 * sent
        assert ledger.reserved.shots == 0
        if device == "pennylane:default.qubit":
            spent = ledger.spent.shots
            with monkeypatch.context() as patch, pytest.raises(BackendError):
                patch.setattr("pennylane.device", raising(KeyError(TEXT)))
                backend.submit(program(), "unopened").result(30)
            assert ledger.spent.shots == spent and statuses(ledger)[-1] == "failed"
        backend.close()


def _resolved(target: str) -> Any:
    from pkgutil import resolve_name

    module, _, name = target.rpartition(".")
    return getattr(resolve_name(module), name)


@pytest.mark.parametrize("fault", [requests.ReadTimeout(TEXT), KeyError(TEXT), TypeError(TEXT)])
def test_rows_of_ibm(ibm: ibm_cloud.Cloud, fault: Exception) -> None:
    """Whatever breaks after the job was taken, it is found by its key and paid once."""
    ledger = Ledger(":memory:", **QUICK)
    backend = Ledgered(open_backend("ibm:ibm_manila", poll=0.01), ledger)
    ibm.fail_after["program_run"] = [fault]
    assert backend.submit(program(), "key").result(30).samples
    assert statuses(ledger) == ["done"] and len(ibm.jobs) == 1 and ledger.spent.qpu_seconds == 3.5
    ibm.fail["program_run"] = [QiskitError(TEXT)]
    with pytest.raises(BackendError, match="it broke"):
        backend.submit(program(), "other").result(30)
    assert statuses(ledger) == ["done", "failed"] and len(ibm.jobs) == 1
    backend.close()


def test_a_result_that_cannot_be_read_stays_open(monkeypatch: pytest.MonkeyPatch, ibm: ibm_cloud.Cloud) -> None:
    """It is paid: it is neither sent again nor told as free; a later version of the library may read it."""
    ledger = Ledger(":memory:", tries=3, looks=2, **QUICK)
    backend = Ledgered(open_backend("ibm:ibm_manila", poll=0.01), ledger)
    monkeypatch.setattr("qiskit_ibm_runtime.RuntimeJobV2.result", raising(KeyError(TEXT)))
    monkeypatch.setattr("qiskit_ibm_runtime.RuntimeJobV2.cancel", raising(QiskitError("it is done")))
    with pytest.raises(BackendError, match=r"given up.*KeyError") as caught:
        backend.submit(program(), "key").result(30)
    assert TOKEN not in str(caught.value) and "\n" not in str(caught.value)
    assert statuses(ledger) == ["sent"] and len(ibm.jobs) == 1 and ledger.reserved.qpu_seconds > 0
    backend.close()


@pytest.mark.parametrize("fault", [requests.ReadTimeout(TEXT), KeyError(TEXT)])
def test_rows_of_dwave(monkeypatch: pytest.MonkeyPatch, dwave: dwave_cloud.Cloud, fault: Exception) -> None:
    import dimod

    ledger, faults, real = Ledger(":memory:", **QUICK), [fault], dimod.SampleSet.wait_id

    def wait_id(self: Any, *args: Any, **kwargs: Any) -> Any:
        identity = real(self, *args, **kwargs)
        if faults:
            raise faults.pop()
        return identity

    monkeypatch.setattr(dimod.SampleSet, "wait_id", wait_id)
    backend = Ledgered(open_backend("dwave"), ledger)
    assert backend.submit(anneal(), "key").result(30).samples
    assert statuses(ledger) == ["done"] and len(dwave.problems) == 1
    dwave.fail = [400]
    with pytest.raises(BackendError):
        backend.submit(anneal(), "other").result(30)
    assert statuses(ledger) == ["done", "failed"] and len(dwave.problems) == 1
    backend.close()


def test_parts_of_a_program_are_not_paid_beside_the_whole(dwave: dwave_cloud.Cloud) -> None:
    """Of two problems one was cancelled while sending broke off: the other one is stopped, and both are sent anew."""
    dwave.hold.clear()
    backend: Any = open_backend("dwave")
    two = AnnealProgram(anneal().qubos * 2, 5)
    backend.submit(two, "key")
    next(iter(dwave.problems.values()))["about"]["status"] = "CANCELLED"
    assert backend.find("key") is None
    assert [problem["about"]["status"] for problem in dwave.problems.values()] == ["CANCELLED"] * 2
    dwave.hold.set()
    backend.submit(two, "key").result(30)
    assert found(backend).cost.circuits == 2
    backend.close()


def test_a_connection_that_breaks_after_cancelling_is_no_confirmation() -> None:
    import threading

    from hybrid_opt.backends.job import RemoteJob

    asked = threading.Event()

    def wait() -> Any:
        asked.wait(30)
        raise LostReply("no answer")

    job = RemoteJob("key", "id", wait, lambda: True)
    assert job.cancel()
    asked.set()
    with pytest.raises(LostReply):
        job.result(30)


@pytest.mark.parametrize("method", [name for name in STAGES if name != "__init__"])
def test_a_new_backend_is_guarded_by_its_base(method: str) -> None:
    def broken(self: Any) -> Any:
        raise KeyError(TEXT)

    body = {method: property(broken) if method in ("capabilities", "limits") else broken, "name": "new"}
    backend: Any = type("New", (VendorCalls,), body)()
    if method == "close":
        with pytest.warns(RuntimeWarning, match="^not closed: backend=new: KeyError"):
            warnings.simplefilter("error")  # as the code of a user may
            backend.close()
        return

    def act() -> Any:
        value = getattr(backend, method)
        return value() if callable(value) else value

    check(act, KeyError(TEXT), BackendError)


def test_a_job_that_may_have_been_paid_is_not_sent_again_where_none_can_be_found() -> None:
    class Remote(VendorCalls):
        name, capabilities = "remote", Capabilities(circuits=True, remote=True)

    for stage, expected in (("opening", Transient), ("sending", BackendError), ("waiting", BackendError)):
        told = Remote()._ours(requests.ConnectionError(TEXT), stage)  # type: ignore[arg-type]
        assert type(told) is expected


def test_memory_is_no_fault_of_the_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qiskit_ibm_runtime.Sampler.run", raising(MemoryError()))
    with pytest.raises(MemoryError):
        open_backend("aer").submit(program(), "key").result(30)


def test_faults_of_a_dry_run_and_of_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = DryRun(open_backend("statevector"))
    inject_broken(monkeypatch, "qiskit.transpile", lambda: backend.submit(program(None), "key"))
    recorded = Ledgered(open_backend("statevector"))
    inject_broken(monkeypatch, "qiskit.qpy.dump", lambda: recorded.submit(program(None), "key"))
    recorded.close()


def inject_broken(monkeypatch: pytest.MonkeyPatch, target: str, act: Callable[[], Any]) -> None:
    for error in BROKEN:
        with monkeypatch.context() as patch:
            patch.setattr(target, raising(error))
            check(act, error, ProblemError)


def test_a_recorded_program_that_cannot_be_read_is_an_error_of_the_ledger() -> None:
    from hybrid_opt.backends.ledger.serialization import pack_program

    task = program()
    with pytest.raises(LedgerError, match=r"^the program of a job cannot be read: ") as caught:
        unpack_program(pack_program(task), pack_circuit(task)[:-9])
    assert "\n" not in str(caught.value)


def test_a_backend_that_took_over_at_opening_is_closed_once() -> None:
    class Counting:
        name, capabilities, closed = "counting", Capabilities(anneals=True), 0
        submit = find = estimate = None

        def close(self) -> None:
            self.closed += 1

    device: Any = Counting()
    Ledgered(Fallback(device, device, "the first could not be opened")).close()
    assert device.closed == 1


def test_no_vendor_is_imported_before_it_is_used() -> None:
    """`--help` imports the names of backends."""
    code = (
        "import sys, hybrid_opt.backends.qiskit.ibm_errors, hybrid_opt.backends.dwave.dwave_errors\n"
        "import hybrid_opt.backends.qiskit.ibm, "
        "hybrid_opt.backends.dwave, hybrid_opt.backends.qiskit.aer, hybrid_opt.backends.local.pennylane\n"
        "print(sorted({'requests', 'qiskit', 'dwave.cloud', 'pennylane', 'qiskit_ibm_runtime'} & set(sys.modules)))"
    )
    process = in_another_process(code)
    output, errors = process.communicate(timeout=60)
    assert output == "[]\n", errors
