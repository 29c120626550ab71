"""A backend whose results are mitigated: what its programs become goes in one job."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from hybrid_opt.backends.backend import Backend, Capabilities, CircuitProgram, Limits, Program, Programs, Result
from hybrid_opt.backends.mitigation.chain import Chain, checked, parsed
from hybrid_opt.backends.mitigation.technique import Expansion, Technique
from hybrid_opt.backends.programs import Request
from hybrid_opt.cost import Cost
from hybrid_opt.errors import ProblemError
from hybrid_opt.job import Job


class Mitigated:
    """Applies techniques of error mitigation to every program: `Mitigated(Ledgered(device), "readout+zne")`.

    All circuits that a list of programs becomes, calibration included, are one job of the backend below, so a ledger
    has one row for them, and its cost is the sum. They share the shots of the programs. The same programs, key and seed
    become the same circuits in every process, which is how a job is found again after a crash.

    A device that has `native(program)` is asked for the circuit in its gates, which is changed and runs as it is. Of
    others it is taken that they run circuits as they are. Programs that ask for samples take twirling alone. About a
    result: `mitigation`, `calibration_shots` and, for pec, `overhead`, the Gamma^2 by which its variance grew.

    techniques: as in the option `mitigation` of a backend's name, or Technique objects, the innermost first.
    """

    def __init__(self, backend: Backend, techniques: str | Sequence[Technique]) -> None:
        text = techniques if isinstance(techniques, str) else "+".join(each.name for each in techniques)
        if not backend.capabilities.circuits:
            raise ProblemError(f"mitigation={text}: backend={backend.name} runs no circuits; circuits are mitigated")
        self.backend, self.text, self.name = backend, text, f"{backend.name}?mitigation={text}"
        self._chain = Chain(parsed(techniques) if isinstance(techniques, str) else checked(techniques, text))
        device: Any = backend
        while (inner := getattr(device, "backend", None) or getattr(device, "first", None)) is not None:
            device = inner
        self._device, self._native = device, getattr(device, "native", lambda program: program)
        self._jobs: WeakValueDictionary[str, MitigatedJob] = WeakValueDictionary()

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.backend.capabilities, observables=True, anneals=False)

    @property
    def limits(self) -> Limits:
        return self.backend.limits

    def estimate(self, programs: Programs) -> Cost:
        """What all circuits would cost together. Raises ProblemError where a program cannot be mitigated."""
        expansions = self._expanded(Request.of(programs, 0))
        return self.backend.estimate(_all(expansions))

    def expand(self, programs: Programs, seed: int = 0) -> tuple[Expansion, ...]:
        """Return what each program becomes."""
        return self._expanded(Request.of(programs, seed))

    def transpiled(self, program: Program) -> Any:
        """The deepest circuit that a program becomes, as it will run if the device tells."""
        compiled = getattr(self._device, "transpiled", lambda each: each.circuit)
        return max(map(compiled, self.expand(program)[0].programs), key=lambda circuit: circuit.depth())

    def submit(self, programs: Programs, key: str, seed: int = 0) -> Job[Any]:
        """Send all circuits as one job; see Backend."""
        request = Request.of(programs, seed)
        expansions = self._expanded(request)
        inner = self.backend.submit(_all(expansions), key, seed)
        job = self._jobs[key] = MitigatedJob(inner, request, expansions, self.text)
        return job

    def find(self, key: str) -> Job[Any] | None:
        """The job of a key, if it was sent from here. Raises ProblemError for one of an earlier process.

        Only its programs tell how the results are combined: submit them again under the same key.
        """
        job = self._jobs.get(key)
        if job is None and self.backend.find(key) is not None:
            raise ProblemError(f"key={key}: its results are raw; the same programs submitted under it are accepted")
        return job

    def close(self) -> None:
        self.backend.close()

    def _expanded(self, request: Request) -> tuple[Expansion, ...]:
        return tuple(
            self._chain.expand(self._circuit(program), self._native, seed)
            for program, seed in zip(request.programs, request.seeds, strict=True)
        )

    def _circuit(self, program: Program) -> CircuitProgram:
        if not isinstance(program, CircuitProgram):
            raise ProblemError(f"mitigation={self.text}: an anneal cannot be mitigated; circuits are accepted")
        return program


class MitigatedJob:
    """A job below, whose results are combined when they are asked for, once."""

    def __init__(self, inner: Job[Any], request: Request, expansions: Sequence[Expansion], text: str) -> None:
        self._inner, self._request, self._expansions, self._text = inner, request, expansions, text
        self._lock, self._combined = threading.Lock(), None

    @property
    def key(self) -> str:
        return self._inner.key

    def done(self) -> bool:
        return self._inner.done()

    def result(self, timeout: float | None = None) -> Any:
        results = self._inner.result(timeout)
        with self._lock:
            if self._combined is None:
                self._combined = self._request.given(list(self._each(results)))
            return self._combined

    def cancel(self) -> bool:
        return self._inner.cancel()

    def _each(self, results: Sequence[Result]) -> Any:
        begin = 0
        for expansion in self._expansions:
            part = results[begin : begin + len(expansion.programs)]
            begin += len(part)
            about = {**part[-1].about, "mitigation": self._text, "mitigated": len(part), **expansion.about}
            cost = sum((result.cost for result in part), Cost())
            yield replace(expansion.combine(part), cost=cost, about=about)


def _all(expansions: Sequence[Expansion]) -> list[CircuitProgram]:
    return [program for expansion in expansions for program in expansion.programs]
