"""Basis encoding: bits become a basis state."""

import math

from torch import Tensor

from hybrid_opt.circuits.encodings.encoding import Encoding
from hybrid_opt.circuits.gate import Gate
from hybrid_opt.errors import ProblemError


class Basis(Encoding):
    """Qubit q is |x_q>, with x_q 0 or 1. No gradient flows to the inputs, which are discrete."""

    once = True
    scaled = False

    def inputs(self, qubits: int) -> int:
        return qubits

    def gates(self, qubits: int) -> list[Gate]:
        return [Gate("flip", (q,), q) for q in range(qubits)]

    def angles(self, x: Tensor) -> Tensor:
        return math.pi * x.detach()

    def check(self, x: Tensor) -> None:
        wrong = x[(x != 0) & (x != 1)]
        if len(wrong):
            raise ProblemError(f"inputs={wrong[0].item():g}: 0 or 1 is accepted by encoding=basis")

    def fit(self, x: Tensor) -> Tensor:
        """1 where x is positive, else 0."""
        return (x > 0).to(x.dtype)

    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """1 where all bits are equal, else 0."""
        return (x == y).all(-1).to(x.dtype)
