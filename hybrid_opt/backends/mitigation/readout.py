"""Read-out mitigation: the chance of a wrong bit of each qubit, measured and taken out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.backends.local.observables import bases
from hybrid_opt.backends.mitigation.measurement import Confusion, Counted
from hybrid_opt.backends.mitigation.technique import Expansion, Technique

LEAST = 0.02  # of 1 - both chances of a wrong bit; below, a qubit tells nothing


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class ReadoutConfig:
    """Inversion of a tensored confusion matrix."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """of a program's shots for calibration: all qubits in 0, and all in 1"""


class Readout(Technique):
    """Measure how often 0 is read as 1 and 1 as 0, and correct every mean for it, qubit by qubit.

    Errors of several qubits together stay. Twin: the raw means. Cost: `share` of the shots, and a variance that grows
    by 1 / (1 - e01 - e10)^2 for each qubit of an observable.
    """

    name, rank, Config = "readout", 1, ReadoutConfig

    def __init__(self, config: Any) -> None:
        self.config = config

    def expand(self, program: CircuitProgram, seed: int) -> Expansion:
        """Return two calibration programs, and the program with the shots that are left.

        All parameter sets, bases and circuits that the program becomes later share the calibration.
        """
        from qiskit import QuantumCircuit

        n = program.circuit.num_qubits
        zeros, ones = QuantumCircuit(n), QuantumCircuit(n)
        ones.x(range(n))
        shots: int | None = None
        parts: list[int | None] = [None, None]
        if program.shots is not None:
            runs = len(program.parameters) * len(bases(program.observables))
            least = 1 if runs > 1 else 2  # of each run, so that both calibrations have some
            if program.shots <= least:
                raise self.error(f"shots={program.shots}: fewer than the circuits; {least + 1} or more are needed")
            taken = min(program.shots - 1, max(least, round(self.config.share * program.shots)))
            shots, parts = program.shots - taken, [taken * runs - taken * runs // 2, taken * runs // 2]
        calibrations = [
            replace(program, circuit=circuit, parameters=np.empty((1, 0)), shots=part, observables=())
            for circuit, part in zip((zeros, ones), parts, strict=True)
        ]
        about = {"calibration_shots": sum(part or 0 for part in parts)}
        return Expansion((*calibrations, replace(program, shots=shots)), lambda results: results[-1], about)

    def learn(self, confusion: Confusion, results: Sequence[Result]) -> None:
        """Set the chances of wrong bits from the results of the calibration programs."""
        n = confusion.flips.shape[1]
        flips, errors = np.empty((2, n)), np.zeros((2, n))
        for bit, result in enumerate(results):
            counted = Counted(result, n)
            flips[bit] = counted.shares[0] @ (counted.bits != bit)
            if counted.shots:
                guess = (counted.shots * flips[bit] + 0.5) / (counted.shots + 1)  # an error of 0 would be none
                errors[bit] = np.sqrt(guess * (1 - guess) / counted.shots)
        weak = np.flatnonzero(1 - flips.sum(0) < LEAST)
        if len(weak):
            raise self.error(f"qubit {weak[0]} is read wrongly as often as rightly; more shots, or another qubit")
        confusion.flips, confusion.errors = flips, errors
