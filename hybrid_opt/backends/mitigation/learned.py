"""Learned mitigation: a line from noisy to exact means, fitted on circuits that are simulated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.backends.ledger.serialization import circuit_hash
from hybrid_opt.backends.local.gates import TURNS, Angle
from hybrid_opt.backends.local.statevector import Statevector
from hybrid_opt.backends.mitigation.technique import Expansion, Technique, spread, values

Floats = NDArray[np.float64]
CANDIDATES = 16  # near-Clifford circuits for each one that is chosen
KEPT = 0.25  # of a near-Clifford circuit's angles stay what they are
LEAST = 1e-12  # variance of noisy means, below which a slope cannot be told


@checked_dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class LearnedConfig:
    """A slope and an offset for each observable."""

    per: Literal["layer", "circuit"] = "layer"
    """layer: one fit for all parameter sets, on random ones; circuit: one for each set, on near-Clifford circuits"""
    circuits: Annotated[int, Field(ge=3)] = 40
    """training circuits of a fit"""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """of a program's shots for training"""
    shots: Annotated[int, Field(ge=1)] | None = None
    """for per=layer: of all training in place of a share, on top of the first program's; later ones use its fit"""

    @model_validator(mode="after")
    def _checked(self) -> "LearnedConfig":
        if self.shots is not None and self.per == "circuit":
            raise ValueError(f"shots={self.shots}: has an effect with per=layer only; share is accepted")
        if self.shots is not None and self.shots < self.circuits:
            raise ValueError(f"shots={self.shots}: fewer than circuits={self.circuits}")
        return self


class Learned(Technique):
    """Correct each mean by the line that fits exact means of training circuits best.

    per=layer: the circuit itself at random angles. Damping by noise hardly depends on angles, so that one fit serves a
    whole `CircuitLayer`, and its shots are paid once. per=circuit: most angles are moved to multiples of pi/2, and the
    circuits with the largest ideal means are chosen, as most others are 0. Ideals are simulated: 20 qubits at most.
    Twin: zne, which needs no simulation. Cost: training, and a variance that grows by the slope squared. Source:
    Czarnik et al. 2021, arXiv 2005.10189.
    """

    name, rank, Config = "learned", 3, LearnedConfig

    def __init__(self, config: Any) -> None:
        self.config = config
        self._fits = dict[Any, Line]()

    def expand(self, program: CircuitProgram, seed: int) -> Expansion:
        """Return the training programs, unless their fit is there, and the program."""
        n = program.circuit.num_qubits
        if n > 20:
            raise self.error(f"{n} qubits: ideal means are simulated, on 20 qubits at most")
        rng = np.random.default_rng(seed)
        if self.config.per == "circuit":
            return self._per_circuit(program, rng)
        if not program.circuit.num_parameters:
            raise self.error("the circuit has no parameters; per=circuit is accepted")
        key = circuit_hash(program), str(program.observables), id(program.noise), program.layout
        if key in self._fits:
            fit = self._fits[key]
            return Expansion((program,), lambda results: fit.corrected(results[0]), {"calibration_shots": 0})
        count = self.config.circuits
        angles = rng.uniform(-np.pi, np.pi, (count, program.circuit.num_parameters))
        training = replace(program, parameters=angles)
        if self.config.shots is None:
            programs, rest, used = self._divided(program, training)
        else:
            used = self.config.shots if program.shots is not None else 0
            programs, rest = (spread(training, used) if used else [training]), program

        def combine(results: Sequence[Result]) -> Result:
            means, errors = _joined(results[:-1])
            fit = fitted(means, errors, exact(training))
            if self.config.shots is not None:
                self._fits[key] = fit
            return fit.corrected(results[-1])

        return Expansion((*programs, rest), combine, {"calibration_shots": used})

    def _per_circuit(self, program: CircuitProgram, rng: np.random.Generator) -> Expansion:
        freed = with_free_angles(program)
        if not freed.circuit.num_parameters:
            raise self.error("the circuit has no angles, so there is nothing to learn from")
        count, sets = self.config.circuits, len(program.parameters)
        training = replace(freed, parameters=near_clifford(freed, count, rng))  # [P T, angles]
        programs, rest, used = self._divided(program, training)

        def combine(results: Sequence[Result]) -> Result:
            means, errors = (part.reshape(sets, count, -1).swapaxes(0, 1) for part in _joined(results[:-1]))
            ideals = exact(training).reshape(sets, count, -1).swapaxes(0, 1)  # [T, P, m]
            return fitted(means, errors, ideals).corrected(results[-1])

        return Expansion((*programs, rest), combine, {"calibration_shots": used})

    def _divided(
        self, program: CircuitProgram, training: CircuitProgram
    ) -> tuple[list[CircuitProgram], CircuitProgram, int]:
        """Training programs, the program with the shots that are left, and the shots of training."""
        if program.shots is None:
            return [training], program, 0
        sets, count = len(program.parameters), len(training.parameters)
        left = min(program.shots - 1, round((1 - self.config.share) * program.shots))
        used = sets * (program.shots - left)
        if left < 1 or used < count:
            given = f"shots={program.shots} for {sets} parameter sets"
            raise self.error(f"{given}: fewer than the {count} training circuits need; circuits= fewer is accepted")
        return spread(training, used), replace(program, shots=left), used


@dataclass(frozen=True)
class Line:
    """Exact mean = slope * noisy mean + offset, for each output; arrays are [m], or [P, m].

    middle, scatter: mean, and sum of squared distances from it, of the noisy training means. variance: of what remains.
    misfit: its part that shots do not explain. count: of training circuits.
    """

    slope: Floats
    offset: Floats
    middle: Floats
    scatter: Floats
    variance: Floats
    misfit: Floats
    count: int

    def corrected(self, result: Result) -> Result:
        """Return a result on the line, with the errors of the means, of the fit and of the misfit."""
        means, errors = values(result)
        place = (means - self.middle) ** 2 / np.maximum(self.scatter, LEAST)
        square = (self.slope * errors) ** 2 + self.variance * (1 / self.count + place) + self.misfit
        return Result(means=self.slope * means + self.offset, errors=np.sqrt(square))


def fitted(noisy: Floats, errors: Floats, ideal: Floats) -> Line:
    """Fit by least squares over the first axis."""
    count, middle = len(noisy), noisy.mean(0)
    scatter = ((noisy - middle) ** 2).sum(0)
    known = scatter > LEAST
    slope = np.where(known, ((noisy - middle) * ideal).sum(0) / np.where(known, scatter, 1.0), 1.0)
    offset = ideal.mean(0) - slope * middle
    variance = ((ideal - slope * noisy - offset) ** 2).sum(0) / (count - 2)
    explained = np.mean(np.where(np.isfinite(errors), slope * errors, 0.0) ** 2, axis=0)
    return Line(slope, offset, middle, scatter, variance, np.maximum(variance - explained, 0.0), count)


def exact(program: CircuitProgram) -> Floats:
    """The means [P, m] without noise and shots."""
    ideal = CircuitProgram(program.circuit, program.parameters, None, program.observables)
    means: Floats = Statevector().submit(ideal, "ideal").result().means
    return means


def with_free_angles(program: CircuitProgram) -> CircuitProgram:
    """A program whose angles are parameters of their own, at the same values."""
    from qiskit.circuit import Parameter

    circuit, order = program.circuit, {each: index for index, each in enumerate(program.circuit.parameters)}
    made, columns = circuit.copy_empty_like(), dict[Any, Floats]()
    for item in circuit.data:
        operation = item.operation
        if operation.name in TURNS and operation.params:
            angles = [Parameter(f"angle{len(columns) + place:06}") for place in range(len(operation.params))]
            for angle, value in zip(angles, operation.params, strict=True):
                columns[angle] = Angle(value, order)(program.parameters)
            operation = type(operation)(*angles)
        made.append(operation, item.qubits)
    names = list(made.parameters)
    rows = np.stack([columns[name] for name in names], 1) if names else np.empty((len(program.parameters), 0))
    return replace(program, circuit=made, parameters=rows)


def near_clifford(program: CircuitProgram, count: int, rng: np.random.Generator) -> Floats:
    """Angles [P count, A] near those of each set: most are multiples of pi/2, and each output has large ideals."""
    sets, width = program.parameters.shape
    tries = CANDIDATES * count
    angles = np.repeat(program.parameters[:, None], tries, 1)  # [P, tries, A]
    turns = angles / (np.pi / 2)
    snapped = np.floor(turns + rng.random(angles.shape)) * (np.pi / 2)  # the nearer multiple is the likelier
    tried = np.where(rng.random(angles.shape) < KEPT, angles, snapped)
    ideals = np.abs(exact(replace(program, parameters=tried.reshape(-1, width)))).reshape(sets, tries, -1)
    chosen = np.empty((sets, count), int)
    for row in range(sets):
        left = ideals[row].copy()
        for place in range(count):
            chosen[row, place] = best = int(left[:, place % left.shape[1]].argmax())
            left[best] = -1.0
    return np.take_along_axis(tried, chosen[:, :, None], 1).reshape(-1, width)


def _joined(results: Sequence[Result]) -> tuple[Floats, Floats]:
    means, errors = zip(*map(values, results), strict=True)
    return np.concatenate(means), np.concatenate(errors)
