"""Pauli twirling: random Paulis around two-qubit gates turn coherent errors into random ones."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.backends.mitigation.technique import Expansion, Technique

LETTERS = "IXYZ"
SKIPPED = ("barrier", "delay")


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class TwirlingConfig:
    """Pauli twirling of Clifford gates on two qubits."""

    copies: Annotated[int, Field(ge=1)] = 8
    """random copies of each circuit, or as many as it has shots"""


class Twirling(Technique):
    """Replace each Clifford gate G on two qubits by P' G P, which is the same up to a phase; P is drawn anew.

    Other gates stay. Twin: the circuit itself. Cost: no shots; the Paulis' own errors. Source: Wallman, Emerson 2016,
    arXiv 1512.01098.
    """

    name, rank, Config = "twirling", 0, TwirlingConfig

    def __init__(self, config: Any) -> None:
        self.config = config

    def expand(self, program: CircuitProgram, seed: int) -> Expansion:
        """Return copies, which share the shots."""
        copies = min(self.config.copies, program.shots or self.config.copies)
        parts = [None] * copies if program.shots is None else self.shared(program.shots, np.ones(copies))
        circuits = [twirled(program.circuit, np.random.default_rng((seed, copy))) for copy in range(copies)]
        programs = [replace(program, circuit=c, shots=s) for c, s in zip(circuits, parts, strict=True)]
        return Expansion(tuple(programs), combined)


def combined(results: Sequence[Result]) -> Result:
    """Join the samples of copies, or average their probabilities."""
    sets = zip(*(result.samples or result.probabilities for result in results), strict=True)
    if results[0].samples:
        return Result(samples=tuple(np.concatenate(each) for each in sets))
    return Result(probabilities=tuple(np.mean(each, axis=0) for each in sets))


def twirled(circuit: Any, rng: np.random.Generator) -> Any:
    """A circuit with random Paulis around its Clifford gates on two qubits."""
    made = circuit.copy_empty_like()
    for item in circuit.data:
        images = None
        if len(item.qubits) == 2 and not item.operation.params and item.operation.name not in SKIPPED:
            images = _images(item.operation.name, item.operation.base_class)
        if images is None:
            made.append(item)
            continue
        before = int(rng.integers(16))
        add_paulis(made, item.qubits, before)
        made.append(item)
        add_paulis(made, item.qubits, images[before])
    return made


def add_paulis(circuit: Any, qubits: Sequence[Any], code: int) -> None:
    """Append a Pauli, whose letter on qubit j is digit j of `code` in base 4: I, X, Y, Z."""
    for place, qubit in enumerate(qubits):
        letter = LETTERS[(code >> 2 * place) & 3]
        if letter != "I":
            getattr(circuit, letter.lower())(qubit)


@cache
def _images(name: str, kind: Any) -> list[int] | None:
    """G P G^-1 for each of the 16 Paulis P, as codes; None where G is no Clifford gate."""
    from qiskit.exceptions import QiskitError
    from qiskit.quantum_info import Clifford, Pauli

    try:
        gate = Clifford(kind())
    except (QiskitError, TypeError):
        return None
    images = list[int]()
    for code in range(16):
        label = LETTERS[code >> 2] + LETTERS[code & 3]  # qiskit writes the first qubit last
        image = Pauli(label).evolve(gate, frame="s").to_label().lstrip("+-i")
        images.append(4 * LETTERS.index(image[0]) + LETTERS.index(image[1]))
    return images
