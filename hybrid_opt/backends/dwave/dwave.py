"""D-Wave's annealers, through the Ocean SDK."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from pydantic import ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import Bits, Program, Result, Results
from hybrid_opt.backends.dwave.annealer import Annealer, raw
from hybrid_opt.backends.dwave.dwave_errors import ours
from hybrid_opt.backends.errors import Stage
from hybrid_opt.backends.job import RemoteJob
from hybrid_opt.backends.programs import Request
from hybrid_opt.backends.redaction import redact_logs
from hybrid_opt.cost import Cost
from hybrid_opt.errors import BackendError, LostReply, ProblemError
from hybrid_opt.job import Job
from hybrid_opt.parts import nearest

PROGRAMMING, PER_READ = 0.015, 150e-6  # seconds, where the device does not say


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class DWaveConfig:
    """How problems go to D-Wave.

    chain_strength: of the chains that stand for one variable, times that of uniform torque compensation. patience:
    seconds to wait until the vendor has named a problem. listed: how many of the latest problems `find` looks through.
    dollars_per_second: the price of access time; set your contract's.
    """

    chain_strength: PositiveFloat = 1.0
    patience: PositiveFloat = 120.0
    listed: PositiveInt = 1000
    dollars_per_second: NonNegativeFloat = 0.56


class DWave(Annealer):
    """`dwave` (the largest processor of the account) or `dwave:NAME`. Each Qubo of a job is a problem of its own.

    The account is the vendor's own: DWAVE_API_TOKEN, or the file that `dwave config create` writes. A problem's label
    is the key and all that `find` needs to read the answer in another process. The access time is estimated by the
    vendor's formula, and charged as he reports it.

    Raises ProblemError for a missing account and an unknown name, TransientError where the service does not answer.
    """

    Config, devices = DWaveConfig, "optional"
    remote = True

    def __init__(self, solver: str | None = None, config: Any = None) -> None:
        self.name = name = "dwave" if solver is None else f"dwave:{solver}"
        try:
            from dwave.cloud.exceptions import SolverNotFoundError
            from dwave.system import DWaveSampler
        except ImportError as error:
            raise ProblemError(f"backend={name}: needs {error.name}; pip install dwave-ocean-sdk") from error
        redact_logs()
        try:
            sampler = DWaveSampler() if solver is None else DWaveSampler(solver=solver)
        except SolverNotFoundError as error:
            hint = nearest(solver, _online()) if solver else ""
            raise ProblemError(f"backend={name}: this account has no such processor online{hint}") from error
        super().__init__(name, sampler, config or DWaveConfig())

    def _estimate(self, programs: Sequence[Program]) -> Cost:
        return sum([self._expected(program) for program in programs], Cost())

    def _expected(self, program: Program) -> Cost:
        checked = self._checked(program)
        seconds = 0.0
        for qubo in checked.qubos:
            qubits = sum(len(chain) for chain in self.embedding.of(qubo.n, self.name).values())
            try:
                micro = self._sampler.solver.estimate_qpu_access_time(qubits, checked.reads, **checked.options)
                seconds += 1e-6 * micro
            except (KeyError, ValueError):  # a device without timing data, or with data of another model
                anneal = 1e-6 * float(checked.options.get("annealing_time", 20.0))
                seconds += PROGRAMMING + checked.reads * (anneal + PER_READ)
        return self._price(seconds, checked.reads * len(checked.qubos), len(checked.qubos))

    def _submit(self, request: Request, key: str) -> Job[Any]:
        """Send the Qubos of all programs, and wait until the vendor has named them. The seeds are not used."""
        checked = [self._checked(program) for program in request.programs]
        parts = [(number, qubo) for number, program in enumerate(checked) for qubo in program.qubos]
        numbers, count = [number for number, _ in parts], len(parts)
        begin, sent = time.perf_counter(), list[Any]()
        try:
            with self.calling("sending"):
                for index, (number, qubo) in enumerate(parts):
                    label = self._label(key, index, count, qubo.n) + (f" {number}" if request.listed else "")
                    sent.append(self._sample(qubo, checked[number], label))
                identities = [_identity(sampleset, self.config.patience) for sampleset in sent]
        except Exception as error:
            if not (isinstance(error, LostReply) and len(sent) == count):  # else `find` may see all of them
                self._cancelled([sampleset.wait_id(0) for sampleset in sent if _named(sampleset)])
            raise

        @self.calling("waiting")
        def wait() -> Results:
            reads = [raw(part, q.n, checked[number].reads) for part, (number, q) in zip(sent, parts, strict=True)]
            timings = [part.info.get("timing", {}) for part in sent]
            expected = [self._estimate([program]) for program in checked]
            results = self._results(numbers, reads, timings, identities, expected, time.perf_counter() - begin)
            given: Results = request.given(results)
            return given

        return RemoteJob(key, ",".join(identities), wait, lambda: self._cancelled(identities))

    def find(self, key: str) -> Job[Any] | None:
        """The problems whose labels start with this key; None unless all of a job are there.

        Where only parts are, since sending broke off, they are cancelled: nobody could read them.
        """
        from dwave.cloud.api import Problems

        begin = time.perf_counter()
        with Problems.from_config(self._sampler.client.config) as problems:
            listed = problems.list_problems(max_results=self.config.listed)
        named = {part.label: part for part in reversed(listed) if (part.label or "").startswith(f"{key} ")}
        if not named:
            return None
        found = {int(label.split()[1]): (label.split(), str(part.id)) for label, part in named.items()}
        count = int(next(iter(found.values()))[0][2])
        stopped = sum(part.status.value == "CANCELLED" for part in named.values())
        if sorted(found) != list(range(count)) or 0 < stopped < count:
            self._cancelled([identity for _, identity in found.values()])  # a part would be paid beside the whole
            return None
        identities = [found[index][1] for index in range(count)]
        numbers = [int((*found[index][0], "0")[5]) for index in range(count)]  # labels of one program have none

        @self.calling("waiting")
        def wait() -> Results:
            reads, timings = [], []
            for index in range(count):
                (_, _, _, n, hashed, *_), identity = found[index]
                answer = self._sampler.client.retrieve_answer(identity).sampleset
                answer.resolve()
                if hashed != self._hash(int(n)):
                    raise BackendError(f"backend={self.name}: the device changed since job {key} was sent")
                reads.append(self.embedding.unembedded(answer, int(n), self.name))
                timings.append(answer.info.get("timing", {}))
            results = self._results(numbers, reads, timings, identities, None, time.perf_counter() - begin)
            return tuple(results) if len(found[0][0]) > 5 else results[0]

        return RemoteJob(key, ",".join(identities), wait, lambda: self._cancelled(identities))

    def close(self) -> None:
        """Close the client, with its threads."""
        self._sampler.close()

    def _ours(self, error: Exception, stage: Stage) -> Exception:
        return ours(error, self.name, stage)

    def _label(self, key: str, index: int, count: int, n: int) -> str:
        return f"{key} {index} {count} {n} {self._hash(n)}"

    def _hash(self, n: int) -> str:
        """Of the embedding of n variables: an answer is read by the one that it was sent with, or not at all."""
        return f"{crc32(repr(sorted(self.embedding.of(n, self.name).items())).encode()):08x}"

    def _cancelled(self, identities: Sequence[str]) -> bool:
        from dwave.cloud.api import Problems

        try:
            with self.calling("waiting"), Problems.from_config(self._sampler.client.config) as problems:
                for identity in identities:
                    problems.cancel_problem(identity)
        except (BackendError, ProblemError):  # the vendor's answer is no, or none
            return False
        return bool(identities)

    def _results(
        self,
        numbers: Sequence[int],
        reads: Sequence[tuple[Bits, float]],
        timings: Sequence[Mapping[str, Any]],
        identities: Sequence[str],
        expected: Sequence[Cost] | None,
        seconds: float,
    ) -> list[Result]:
        """The results of programs; numbers: of the program that each problem belongs to."""
        results = list[Result]()
        for number in range(numbers[-1] + 1):
            part = slice(numbers.index(number), numbers.index(number) + numbers.count(number))
            known = None if expected is None else expected[number]
            share = seconds / (numbers[-1] + 1)
            results.append(self._result(reads[part], timings[part], identities[part], known, share))
        return results

    def _result(
        self,
        reads: Sequence[tuple[Bits, float]],
        timings: Sequence[Mapping[str, Any]],
        identities: Sequence[str],
        expected: Cost | None,
        seconds: float,
    ) -> Result:
        expected = expected or Cost(sum(len(bits) for bits, _ in reads), len(reads))
        charged = 1e-6 * sum(float(timing.get("qpu_access_time", 0.0)) for timing in timings)
        billing = "charged" if charged else "estimated"
        about = {
            "vendor_id": ",".join(identities),
            "billing": billing,
            "broken_chains": float(np.mean([b for _, b in reads])),
        }
        cost = self._price(charged or expected.qpu_seconds, expected.shots, expected.circuits)
        return Result(samples=tuple(bits for bits, _ in reads), cost=cost + Cost(wall_seconds=seconds), about=about)

    def _price(self, seconds: float, shots: int, circuits: int) -> Cost:
        dollars = seconds * self.config.dollars_per_second
        return Cost(shots=shots, circuits=circuits, qpu_seconds=seconds, dollars=dollars)


def _identity(sampleset: Any, seconds: float) -> str:
    """The vendor's name for a problem; raises where it was not accepted."""
    identity = sampleset.wait_id(seconds)
    if identity is None:
        sampleset.resolve()  # raises what went wrong
        raise BackendError("a problem without a name")
    return str(identity)


def _named(sampleset: Any) -> bool:
    with contextlib.suppress(Exception):
        return sampleset.wait_id(0) is not None
    return False


def _online() -> list[str]:
    from dwave.cloud import Client

    with Client.from_config(client="qpu") as client:
        return [str(solver.name) for solver in client.get_solvers()]
