"""What D-Wave's annealers and the mock of one share: the embedding, the chains, the raw reads."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.backend import AnnealProgram, Bits, Capabilities, Limits, Program
from hybrid_opt.backends.dwave.embedding import CliqueEmbedding
from hybrid_opt.backends.errors import VendorCalls
from hybrid_opt.backends.programs import RunsLists
from hybrid_opt.errors import CorruptResult, ProblemError
from hybrid_opt.parts import nearest
from hybrid_opt.problem.qubo import Qubo

OURS = ("num_reads", "answer_mode", "label", "chain_strength", "return_embedding", "warnings")


class Annealer(RunsLists, VendorCalls):
    """Base of both: Qubos on a clique embedding that is found once for each size and kept, raw reads back.

    Chains that broke are decided by majority; `Result.about` has the mean fraction of broken chains.
    """

    remote = False

    def __init__(self, name: str, sampler: Any, config: Any) -> None:
        self.name, self.config, self._sampler = name, config, sampler
        self.embedding = CliqueEmbedding(sampler)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(anneals=True, remote=self.remote)

    @property
    def limits(self) -> Limits:
        return Limits(qubits=self.embedding.largest, shots=self._most_reads())

    def _most_reads(self) -> int | None:
        reads = self._sampler.properties.get("num_reads_range")
        return None if reads is None else int(reads[1])

    def _checked(self, program: Program) -> AnnealProgram:
        """Raise ProblemError where the program cannot run here."""
        if not isinstance(program, AnnealProgram):
            raise ProblemError(f"backend={self.name}: runs no circuits; statevector, lightning, aer and ibm:NAME do")
        if not program.qubos:
            raise ProblemError("qubos: none given; one or more are accepted")
        most = self._most_reads()
        if program.reads != int(program.reads) or program.reads < 1 or (most is not None and program.reads > most):
            raise ProblemError(f"reads={program.reads}: an integer from 1 to {most or 'any'} is accepted")
        for key in program.options:
            if key not in self._sampler.parameters or key in OURS:
                raise ProblemError(f"{key}: no such option of {self.name}{nearest(key, self._sampler.parameters)}")
        for qubo in program.qubos:
            self.embedding.of(qubo.n, self.name)
        return program

    def _sample(self, qubo: Qubo, program: AnnealProgram, label: str) -> Any:
        """A dimod SampleSet of one Qubo, which may still be on its way."""
        from dwave.embedding.chain_strength import uniform_torque_compensation
        from dwave.system import FixedEmbeddingComposite

        def strength(bqm: Any, embedding: Any) -> float:
            base: float = uniform_torque_compensation(bqm, embedding)
            return base * float(self.config.chain_strength)

        composite = FixedEmbeddingComposite(self._sampler, embedding=self.embedding.of(qubo.n, self.name))
        return composite.sample(
            bqm_of(qubo),
            chain_strength=strength,
            num_reads=program.reads,
            answer_mode="raw",
            label=label,
            **program.options,
        )


def bqm_of(qubo: Qubo) -> Any:
    """The energy as a dimod BQM of variables 0..n-1; constraints are the solver's business."""
    import dimod

    return dimod.BinaryQuadraticModel(np.array(qubo.matrix), "BINARY")


def raw(sampleset: Any, n: int, reads: int) -> tuple[Bits, float]:
    """Samples uint8 [reads, n] of a BINARY SampleSet, not aggregated, and the fraction of broken chains."""
    record = sampleset.record
    order = [list(sampleset.variables).index(variable) for variable in range(n)]
    bits: NDArray[np.uint8] = np.repeat(record.sample[:, order], record.num_occurrences, axis=0).astype(np.uint8)
    if bits.shape != (reads, n) or bits.max(initial=0) > 1:
        raise CorruptResult(f"samples of shape {bits.shape}; ({reads}, {n}) were expected")
    breaks = record.chain_break_fraction.mean() if "chain_break_fraction" in record.dtype.names else 0.0
    return np.ascontiguousarray(bits), float(breaks)
