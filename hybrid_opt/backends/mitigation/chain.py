"""Techniques in their order: what a program becomes, and what its results are together."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.backends.local.observables import Basis, bases
from hybrid_opt.backends.mitigation.measurement import Confusion, Measured
from hybrid_opt.backends.mitigation.readout import Readout
from hybrid_opt.backends.mitigation.technique import Expansion, Technique
from hybrid_opt.backends.mitigation.twirling import Twirling
from hybrid_opt.backends.mitigation.virtual import Virtual
from hybrid_opt.backends.programs import spawn
from hybrid_opt.errors import ProblemError
from hybrid_opt.parts import Parts

TECHNIQUES = Parts("technique", "hybrid_opt.backends.mitigation", "Technique")
ORDER = "twirling+readout+(pec, zne or virtual)+learned"
WIDEST = 62  # qubits, whose states have a number of 64 bits

Native = Callable[[CircuitProgram], CircuitProgram]


def parsed(text: str) -> tuple[Technique, ...]:
    """Return the techniques of `readout+zne(fit=exponential,scales=1/3/5)`. Raises ProblemError, one line."""
    found = list[Technique]()
    if not isinstance(text, str):
        raise ProblemError(f"mitigation={text!r}: names joined by + are accepted, as in readout+zne")
    for part in re.split(r"\+(?![^(]*\))", text):
        match = re.fullmatch(r"([\w.:]+)(?:\(([^()]*)\))?", part)
        if match is None:
            raise ProblemError(f"mitigation={text}: NAME or NAME(key=value,key=value), joined by +, is accepted")
        name, options = match[1], [option.partition("=") for option in (match[2] or "").split(",") if option]
        for key, equals, _ in options:
            if not equals:
                raise ProblemError(f"mitigation={text}: ({key}): NAME(key=value,key=value) is accepted")
        given = {key: value for key, _, value in options}
        kind, config = TECHNIQUES.configured(name, "mitigation", given, f"mitigation.{name}")
        found.append(kind(config))
    return checked(found, text)


def checked(techniques: Sequence[Technique], text: str) -> tuple[Technique, ...]:
    """Return techniques that can stand together in this order. Raises ProblemError."""
    for inner, outer in pairwise(techniques):
        if inner.name == outer.name:
            raise ProblemError(f"mitigation={text}: {inner.name} twice; {ORDER} is accepted")
        if inner.rank == outer.rank:
            both = f"{inner.name} and {outer.name}"
            raise ProblemError(f"mitigation={text}: {both} exclude each other; {ORDER} is accepted")
        if inner.rank > outer.rank:
            raise ProblemError(f"mitigation={text}: {outer.name} comes before {inner.name}; {ORDER} is accepted")
    names = {technique.name for technique in techniques}
    if {"virtual", "learned"} <= names:
        raise ProblemError(f"mitigation={text}: virtual and learned exclude each other; pec or zne is accepted")
    return tuple(techniques)


class Chain:
    """Techniques, the innermost first."""

    def __init__(self, techniques: Sequence[Technique]) -> None:
        self.techniques = techniques
        self._twirling = next((each for each in techniques if isinstance(each, Twirling)), None)
        self._readout = next((each for each in techniques if isinstance(each, Readout)), None)
        self._virtual = next((each for each in techniques if isinstance(each, Virtual)), None)
        inner = (self._twirling, self._readout, self._virtual)
        self._outer = [each for each in reversed(techniques) if each not in inner]

    def expand(self, program: CircuitProgram, native: Native, seed: int) -> Expansion:
        """Return what runs on the device, and how its results are combined. Raises ProblemError.

        native: puts a program into the device's gates.
        """
        if not program.observables:
            means = [each for each in self.techniques if each is not self._twirling]
            if means:
                raise means[0].error("corrects means of observables; this program asks for samples or probabilities")
            return self._measured(native(program), {}, Confusion(0), seed)
        if self._virtual is None:
            return self._calibrated(native(program), seed)
        doubles = self._virtual.expand(program, seed)
        parts = [self._calibrated(native(each), spawn(seed, i)) for i, each in enumerate(doubles.programs)]
        return joined(doubles, parts)

    def _calibrated(self, program: CircuitProgram, seed: int) -> Expansion:
        """Expand a native program, whose read-out is calibrated once for all that it becomes."""
        n = program.circuit.num_qubits
        if n > WIDEST:
            raise self.techniques[0].error(f"{n} qubits: {WIDEST} at most are accepted")
        confusion, known = Confusion(n), dict[int, list[Basis]]()
        if self._readout is None:
            return self._nested(program, self._outer, known, confusion, seed)
        readout = self._readout
        first = readout.expand(program, seed)
        *calibrations, rest = first.programs
        inner = self._nested(rest, self._outer, known, confusion, seed)

        def combine(results: Sequence[Result]) -> Result:
            readout.learn(confusion, results[:2])
            flips, errors = confusion.flips, confusion.errors
            middle = inner.combine(results[2:])
            square = np.zeros_like(middle.means)
            for place in np.argwhere(errors > 0):  # the calibration's errors are those of all means together
                confusion.flips = flips.copy()
                confusion.flips[tuple(place)] += errors[tuple(place)]
                moved = inner.combine(results[2:])
                assert moved.means is not None and middle.means is not None
                square += (moved.means - middle.means) ** 2
            confusion.flips = flips
            middle = inner.combine(results[2:])  # so that what was learned is of the right confusion
            assert middle.errors is not None
            return replace(middle, errors=np.sqrt(middle.errors**2 + square))

        return Expansion((*calibrations, *inner.programs), combine, together(first, [inner]))

    def _nested(
        self,
        program: CircuitProgram,
        outer: Sequence[Technique],
        known: dict[int, list[Basis]],
        confusion: Confusion,
        seed: int,
    ) -> Expansion:
        if not outer:
            return self._measured(program, known, confusion, seed)
        first, *rest = outer
        found = first.expand(program, seed)
        parts = [
            self._nested(each, rest, known, confusion, spawn(seed, index)) for index, each in enumerate(found.programs)
        ]
        return joined(found, parts)

    def _measured(
        self, program: CircuitProgram, known: dict[int, list[Basis]], confusion: Confusion, seed: int
    ) -> Expansion:
        """Expand into circuits that are measured: one for each basis, then its random copies."""
        if not program.observables:
            return self._twirled(program, seed)
        key = id(program.observables)  # the same for all that one program became
        if key not in known:
            known[key] = bases(program.observables)
        found = known[key]
        circuits = [basis.rotate(program.circuit) for basis in found]
        programs = tuple(replace(program, circuit=circuit, observables=()) for circuit in circuits)
        measured = Expansion(programs, Measured(program, found, confusion).combine)
        if self._twirling is None:
            return measured
        return joined(measured, [self._twirled(each, spawn(seed, index)) for index, each in enumerate(programs)])

    def _twirled(self, program: CircuitProgram, seed: int) -> Expansion:
        if self._twirling is None:
            return Expansion((program,), lambda results: results[0])
        return self._twirling.expand(program, seed)


def joined(outer: Expansion, inner: Sequence[Expansion]) -> Expansion:
    """Expand each program of `outer` by `inner`; results are combined from the inside out."""
    ends = np.cumsum([len(each.programs) for each in inner])

    def combine(results: Sequence[Result]) -> Result:
        begins = [0, *ends[:-1]]
        parts = [each.combine(results[a:b]) for each, a, b in zip(inner, begins, ends, strict=True)]
        return outer.combine(parts)

    programs = tuple(program for each in inner for program in each.programs)
    return Expansion(programs, combine, together(outer, inner))


def together(outer: Expansion, inner: Sequence[Expansion]) -> dict[str, Any]:
    """What is said of a result: calibration shots sum up, and the largest overhead counts."""
    about = [outer.about, *(each.about for each in inner)]
    found: dict[str, Any] = {}
    for key, merge in (("calibration_shots", sum), ("overhead", max)):
        given = [each[key] for each in about if key in each]
        if given:
            found[key] = merge(given)
    return found
