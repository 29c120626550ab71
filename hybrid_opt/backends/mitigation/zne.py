"""Zero-noise extrapolation: more noise on purpose, and a fit back to none."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.backends.mitigation.channels import drawn, overhead, places_of
from hybrid_opt.backends.mitigation.technique import Expansion, Technique, values, weighted
from hybrid_opt.backends.programs import spawn

Floats = NDArray[np.float64]
SURE = 2.0  # standard errors by which a mean has to differ from 0 to take its logarithm


def _listed(value: Any) -> Any:
    return value.split("/") if isinstance(value, str) else value


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class ZneConfig:
    """Zero-noise extrapolation."""

    scales: Annotated[tuple[float, ...], BeforeValidator(_listed)] = (1.0, 3.0)
    """factors of the noise, from 1; odd ones for folding"""
    fit: Literal["linear", "richardson", "exponential"] = "linear"
    """how means are carried on to no noise"""
    amplify: Literal["folding", "noise"] = "folding"
    """folding: each gate G becomes G G^-1 G; noise: more of a known Pauli noise is drawn"""
    p: Annotated[float, Field(ge=0, le=0.5)] | None = None
    """with amplify=noise: as that of pec"""

    @model_validator(mode="after")
    def _checked(self) -> "ZneConfig":
        scales = self.scales
        if len(scales) < 2 or scales[0] != 1 or any(a >= b for a, b in pairwise(scales)):
            raise ValueError(f"scales={_written(scales)}: two or more, growing from 1, are accepted")
        if self.amplify == "folding" and any(scale % 2 != 1 for scale in scales):
            raise ValueError(f"scales={_written(scales)}: folding takes odd integers; amplify=noise takes others")
        if self.amplify == "folding" and self.p is not None:
            raise ValueError(f"p={self.p}: has an effect with amplify=noise only")
        return self


class Zne(Technique):
    """Run a circuit at several strengths of its noise, and extrapolate each mean to none.

    Gates are folded after the circuit was compiled, and run as they are. An exponential fit is a e^(-b scale); where
    means change sign, or are within 2 standard errors of 0, it is the linear one. Shots go to scales in proportion to
    their linear coefficients, which makes the error least. Twin: the raw mean. Cost: the variance grows by
    (sum of |coefficients|)^2, which is 4 for scales 1/3, and 12.25 for Richardson's fit to 1/3/5. Source: Temme,
    Bravyi, Gambetta 2017, arXiv 1612.02058.
    """

    name, rank, Config = "zne", 2, ZneConfig

    def __init__(self, config: Any) -> None:
        self.config = config
        scales = np.array(config.scales)
        if config.fit == "richardson":
            self._coefficients = richardson(scales)
        else:  # of a straight line by least squares, at 0
            centred = scales - scales.mean()
            self._coefficients = 1 / len(scales) - centred * scales.mean() / (centred @ centred)

    def expand(self, program: CircuitProgram, seed: int) -> Expansion:
        """Return the circuit at all scales."""
        scales, parts = self.config.scales, [program.shots] * len(self.config.scales)
        if program.shots is not None:
            parts = list(self.shared(program.shots, np.maximum(np.abs(self._coefficients), 1e-3)))
        programs = [replace(program, shots=shots) for shots in parts]
        if self.config.amplify == "folding":
            folds = [
                replace(each, circuit=folded(self, each.circuit, int(scale)))
                for each, scale in zip(programs, scales, strict=True)
            ]
            return Expansion(tuple(folds), self._combine)
        places = places_of(self, program, self.config.p)
        louder = list[Expansion]()
        for index, (each, scale) in enumerate(zip(programs, scales, strict=True)):
            weights = [place.weights(scale - 1.0) for place in places]
            if overhead(weights) > 1 + 1e-9:
                raise self.error(f"scales={_written(scales)}: this noise cannot be amplified by {scale:g}")
            louder.append(drawn(self, each, places, weights, spawn(seed, index)))
        ends = np.cumsum([len(each.programs) for each in louder])[:-1]

        def combine(results: Sequence[Result]) -> Result:
            begins, ends_ = [0, *ends], [*ends, len(results)]
            parts = zip(louder, begins, ends_, strict=True)
            return self._combine([each.combine(results[begin:end]) for each, begin, end in parts])

        return Expansion(tuple(program for each in louder for program in each.programs), combine)

    def _combine(self, results: Sequence[Result]) -> Result:
        """Extrapolate means, and propagate their errors."""
        means, errors = (np.stack(each) for each in zip(*map(values, results), strict=True))  # [scales, P, m]
        mean, error = weighted(list(means), list(errors), list(self._coefficients))
        if self.config.fit == "exponential":
            usable = (np.abs(means) > SURE * errors).all(0) & (np.abs(np.sign(means).sum(0)) == len(means))
            safe = np.where(usable, means, 1.0)
            logs, log_error = weighted(
                list(np.log(np.abs(safe))), list(errors / np.abs(safe)), list(self._coefficients)
            )
            found = np.sign(safe[0]) * np.exp(logs)
            usable &= np.abs(found) <= np.abs(means).max(0) * np.exp(1.0)  # a fit beyond e times the data is none
            mean, error = np.where(usable, found, mean), np.where(usable, np.abs(found) * log_error, error)
        return Result(means=mean, errors=error)


def richardson(scales: Floats) -> Floats:
    """Coefficients of the polynomial through all points, at 0."""
    others = [np.delete(scales, i) for i in range(len(scales))]
    return np.array([np.prod(rest / (rest - scale)) for scale, rest in zip(scales, others, strict=True)])


def folded(technique: Technique, circuit: Any, scale: int) -> Any:
    """Replace each gate G by G (G^-1 G)^((scale - 1) / 2)."""
    if scale == 1:
        return circuit
    made = circuit.copy_empty_like()
    for item in circuit.data:
        made.append(item)
        if item.operation.name in ("barrier", "delay", "id"):
            continue
        for _ in range((scale - 1) // 2):
            _undo(technique, made, item)
            made.append(item)
    return made


def _undo(technique: Technique, circuit: Any, item: Any) -> None:
    from qiskit.exceptions import QiskitError

    if item.operation.name == "sx":  # of one pulse, as sx is; its inverse is no gate of most devices
        circuit.rz(np.pi, item.qubits)
        circuit.append(item)
        circuit.rz(np.pi, item.qubits)
        return
    try:
        circuit.append(item.operation.inverse(), item.qubits)
    except (QiskitError, AttributeError, NotImplementedError) as error:
        raise technique.error(f"{item.operation.name} cannot be folded; gates with an inverse can") from error


def _written(scales: Sequence[float]) -> str:
    return "/".join(f"{scale:g}" for scale in scales)
