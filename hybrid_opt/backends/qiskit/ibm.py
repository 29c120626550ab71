"""IBM's quantum processors, through qiskit-ibm-runtime in batch mode."""

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import Capabilities, CircuitProgram, Limits, Program, Result, Results
from hybrid_opt.backends.errors import Stage
from hybrid_opt.backends.job import RemoteJob
from hybrid_opt.backends.local.compiled import CircuitConfig, CompiledCircuits
from hybrid_opt.backends.programs import Request
from hybrid_opt.backends.qiskit.ibm_errors import ours
from hybrid_opt.backends.qiskit.native import native
from hybrid_opt.backends.qiskit.primitives import bits_of, blocks, depth, means_of, measured
from hybrid_opt.backends.qiskit.provider import compiled_for
from hybrid_opt.backends.redaction import redact_logs
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BackendError, CorruptResult, ProblemError, TransientError
from hybrid_opt.job import Job
from hybrid_opt.parts import nearest

OVERHEAD = 2.0  # seconds that a job takes beside its shots, about
DELAY = 250e-6  # seconds between shots, where the device does not say
NUMBER = "hybrid_opt.program"  # in the metadata of a circuit: the number of its program in a list


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class IbmConfig(CircuitConfig):
    """How circuits go to IBM.

    instance: CRN or name; None: the account's own choice. optimization_level: of the transpiler. resilience_level: of
    the Estimator. max_execution_time: seconds of the processor after which the vendor stops a job. poll: seconds
    between two looks at a job. dollars_per_second: the price of your plan (pay-as-you-go here; 0 on the open plan).
    """

    instance: str | None = None
    optimization_level: Literal[0, 1, 2, 3] = 2
    resilience_level: Literal[0, 1, 2] = 1
    max_execution_time: PositiveInt | None = None
    poll: PositiveFloat = 2.0
    dollars_per_second: NonNegativeFloat = 1.6


class Ibm(CompiledCircuits):
    """`ibm:NAME`, or `ibm:least_busy`. A list of programs is one job; jobs of one backend are one batch.

    The account is the vendor's own: QISKIT_IBM_TOKEN, or the file that QiskitRuntimeService.save_account writes. The
    key of a job is its tag, by which `find` finds it again. Estimates: 2 s for the job, and for every shot the device's
    repetition delay and the duration of the circuit; what was charged replaces them once the vendor says it, shared out
    over a list by its shots. Programs with observables and programs without need two primitives: a list has one kind.

    Raises ProblemError for a missing account and an unknown name, TransientError where the service does not answer.
    """

    Config, devices = IbmConfig, "one"

    def __init__(self, device: str | Any, config: Any = None) -> None:
        super().__init__(f"ibm:{device if isinstance(device, str) else device.name}", config)
        self._batch: Any = None
        self._batching = threading.Lock()
        if not isinstance(device, str):
            self._service, self._device = device.service, device
            return
        try:
            from qiskit_ibm_runtime import QiskitRuntimeService
        except ImportError as error:
            raise ProblemError(
                f"backend={self.name}: needs qiskit-ibm-runtime; pip install qiskit-ibm-runtime"
            ) from error
        redact_logs()
        self._service = QiskitRuntimeService(instance=self.config.instance)
        self._device = self._found(device)
        self.name = f"ibm:{self._device.name}"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(circuits=True, observables=True, remote=True)

    @property
    def limits(self) -> Limits:
        return Limits(
            qubits=self._qubits(), shots=getattr(self._device, "max_shots", None), depth=self.config.max_depth
        )

    def _estimate(self, programs: Sequence[Program]) -> Cost:
        """Shots and circuits, and an estimate of the seconds that will be charged and of their price."""
        from qiskit.exceptions import QiskitError

        total, seconds = Cost(), OVERHEAD
        checked = [self._checked(program) for program in programs]
        if len({bool(program.observables) for program in checked}) > 1:
            mixed = "some have observables and some have none"
            raise ProblemError(f"programs: {mixed}; backend={self.name} takes one kind in a list")
        for program in checked:
            cost = super()._estimate([program])
            for _, (_, compiled) in self._prepare(program):
                duration = 0.0
                with contextlib.suppress(QiskitError):  # not all devices tell how long their gates take
                    duration = compiled.estimate_duration(self._device.target, unit="s")
                delay = getattr(self._device, "default_rep_delay", None) or DELAY
                seconds += cost.shots / max(1, len(self._prepare(program))) * (delay + duration)
            total += cost
        return total + self._price(seconds)

    def _submit(self, request: Request, key: str) -> Job[Any]:
        """Send the programs as one job tagged with the key. The seeds are not used."""
        expected = self._estimate(request.programs)
        programs = [self._checked(program) for program in request.programs]
        with self.calling("opening"):
            primitive = self._primitive("Estimator" if programs[0].observables else "Sampler", key)
            pubs = list[Any]()
            for number, program in enumerate(programs):
                pubs.extend(self._blocks(program, number if request.listed else None))
        costs = [super(Ibm, self)._estimate([program]) for program in programs]
        return self._followed(primitive.run(pubs), key, expected, list(zip(programs, costs, strict=True)))

    def _blocks(self, program: CircuitProgram, number: int | None) -> list[Any]:
        """What a primitive takes. number: of the program in its list, which the vendor gives back with the results."""
        circuit, compiled = self._prepare(program)[0][1]
        observables = [[observable.apply_layout(compiled.layout)] for observable in program.observables]
        shots = program.shots or 1
        if number is not None:
            compiled = compiled.copy()
            compiled.metadata = {NUMBER: number}
        if observables:
            return blocks(compiled, circuit.parameters, program.parameters, float(shots) ** -0.5, observables)
        return blocks(compiled, circuit.parameters, program.parameters, shots)

    def find(self, key: str) -> Job[Any] | None:
        """The latest job with this tag, one that did not fail where there is one."""
        jobs, alive = self._tagged(key)
        return self._followed((alive or jobs)[0], key, Cost(), None) if jobs else None

    def find_all(self, key: str) -> list[Job[Any]]:
        """All jobs with this tag that did not fail, the latest first: more than one where a program was sent twice."""
        return [self._followed(job, key, Cost(), None) for job in self._tagged(key)[1]]

    def close(self) -> None:
        """Close the batch; its jobs run on."""
        super().close()
        with self._batching:
            batch, self._batch = self._batch, None
            if batch is not None:
                batch.close()

    def _ours(self, error: Exception, stage: Stage) -> Exception:
        return ours(error, self.name, stage)

    def _tagged(self, key: str) -> tuple[list[Any], list[Any]]:
        """The jobs with this tag, the latest first, and those among them that neither failed nor were cancelled."""
        instance = getattr(self._device, "_instance", None)
        jobs = list(self._service.jobs(limit=20, job_tags=[key], instance=instance))
        return jobs, [job for job in jobs if str(job.status()) not in ("ERROR", "CANCELLED")]

    def _found(self, name: str) -> Any:
        if name == "least_busy":
            return self._service.least_busy(operational=True, simulator=False)
        from qiskit.providers.exceptions import QiskitBackendNotFoundError

        try:
            return self._service.backend(name)
        except QiskitBackendNotFoundError as error:
            known = [device.name for device in self._service.backends()]
            if not known:
                raise BackendError(f"backend=ibm:{name}: the service lists no devices for this account") from error
            raise ProblemError(f"backend=ibm:{name}: this account has no such device{nearest(name, known)}") from error

    def _qubits(self) -> int:
        return int(self._device.num_qubits)

    def _compile(self, circuit: Any, program: CircuitProgram) -> tuple[Any, Any]:
        whole = circuit if program.observables else measured(circuit)
        return circuit, compiled_for(self._device, whole, self.config.optimization_level, program.layout)

    def transpiled(self, program: Program) -> Any:
        """The circuit as it runs, with its measurements."""
        return self._prepare(program)[0][1][1]

    def native(self, program: CircuitProgram) -> CircuitProgram:
        """Return a program in the device's gates, on the qubits that it uses there."""
        return native(program, self.transpiled(replace(program, observables=())))

    def _depth(self, compiled: tuple[Any, Any]) -> int:
        return depth(compiled[1])

    def _prepare(self, program: Program) -> list[tuple[Any, Any]]:
        """One circuit for each basis, though the Estimator is sent the same one with all observables."""
        checked = self._checked(program)
        with self._compiling:
            return [(basis, self._kept(checked.circuit, checked, None)) for basis in self._bases(checked)]

    def _primitive(self, kind: Literal["Sampler", "Estimator"], key: str) -> Any:
        import qiskit_ibm_runtime

        options: dict[str, Any] = {"environment": {"job_tags": [key]}}
        if kind == "Estimator":
            options["resilience_level"] = self.config.resilience_level
        if self.config.max_execution_time is not None:
            options["max_execution_time"] = self.config.max_execution_time
        with self._batching:
            if self._batch is not None and not _open(self._batch):
                self._batch = None
            if self._batch is None:
                self._batch = qiskit_ibm_runtime.Batch(backend=self._device)
            return getattr(qiskit_ibm_runtime, kind)(mode=self._batch, options=options)

    def _followed(
        self, sent: Any, key: str, expected: Cost, asked: Sequence[tuple[CircuitProgram, Cost]] | None
    ) -> RemoteJob:
        """expected: what the job would cost. asked: its programs with their shots and circuits, if known."""
        begin = time.perf_counter()

        def wait() -> Results:
            try:
                with self.calling("waiting"):
                    while not sent.in_final_state():
                        time.sleep(self.config.poll)
                    results = sent.result()
                    return self._collected(results, sent, expected, asked, time.perf_counter() - begin)
            except BackendError as error:
                if not isinstance(error, TransientError):
                    error.cost = self._billed(sent, expected)
                raise

        def stop() -> bool:
            try:
                with self.calling("waiting"):
                    sent.cancel()
            except (BackendError, ProblemError):  # the vendor's answer is no, or none
                return False
            return True

        return RemoteJob(key, str(sent.job_id()), wait, stop)

    def _collected(
        self,
        results: Any,
        sent: Any,
        expected: Cost,
        asked: Sequence[tuple[CircuitProgram, Cost]] | None,
        seconds: float,
    ) -> Results:
        if not results:
            raise CorruptResult(f"job {sent.job_id()}: an empty result")
        charged = sent.usage()
        about = {"vendor_id": str(sent.job_id()), "billing": "charged" if charged else "estimated"}
        if not charged:
            charged = (sent.usage_estimation or {}).get("quantum_seconds") or expected.qpu_seconds
        numbers = [result.metadata.get("circuit_metadata", {}).get(NUMBER) for result in results]  # None: no list
        parts = [[results[i] for i, n in enumerate(numbers) if n == number] for number in sorted(set(numbers))]
        if asked and len(asked) != len(parts):
            raise CorruptResult(f"job {sent.job_id()}: results of {len(parts)} programs; {len(asked)} were sent")
        known: Sequence[tuple[CircuitProgram | None, Cost]] = asked or [(None, Cost())] * len(parts)
        read = [_read(part, sent.job_id(), *each) for part, each in zip(parts, known, strict=True)]
        weights = [max(1, result.cost.shots, result.cost.circuits) for result in read]
        done = list[Result]()
        for result, weight in zip(read, weights, strict=True):
            share = weight / sum(weights)
            cost = self._price(charged * share) + Cost(wall_seconds=seconds * share) + result.cost
            done.append(replace(result, cost=cost, about=about))
        return done[0] if numbers[0] is None else tuple(done)

    def _billed(self, sent: Any, expected: Cost) -> Cost:
        """What a job without a result was charged so far; what was expected where the vendor cannot be asked."""
        try:
            with self.calling("waiting"):
                return self._price(sent.usage() or 0.0)
        except (BackendError, ProblemError):
            return expected

    def _price(self, seconds: float) -> Cost:
        return Cost(qpu_seconds=float(seconds), dollars=float(seconds) * self.config.dollars_per_second)


def _read(results: Any, identity: str, program: CircuitProgram | None, cost: Cost) -> Result:
    """The result of one program, with its shots and circuits, which `cost` says if known. Raises CorruptResult."""
    if hasattr(results[0].data, "evs"):
        means, errors = means_of(results)
        if program is not None and means.shape != (len(program.parameters), len(program.observables)):
            raise CorruptResult(f"job {identity}: means of shape {means.shape}")
        return Result(means=means, errors=errors, cost=Cost(shots=cost.shots, circuits=cost.circuits or len(means)))
    samples = bits_of(results)
    wanted = (program.shots, program.circuit.num_qubits) if program is not None else samples[0].shape
    if any(rows.shape != wanted for rows in samples) or (program and len(samples) != len(program.parameters)):
        raise CorruptResult(f"job {identity}: samples of shape {[rows.shape for rows in samples][:3]}")
    return Result(samples=samples, cost=Cost(shots=int(np.sum([len(rows) for rows in samples])), circuits=len(samples)))


def _open(batch: Any) -> bool:
    """Whether a batch still takes jobs. The vendor closes one that is idle or too old."""
    status = batch.status()
    return status is None or not ("not accepting" in status or "Closed" in status)
