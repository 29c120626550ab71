"""Controls of update directions that know no bits, or leave them again: continuous solves."""

from collections.abc import Sequence
from threading import Event
from typing import Any

import numpy as np
from scipy.optimize import minimize

from hybrid_opt import Qubo
from hybrid_opt.cost import SolverCost
from hybrid_opt.direction.loss_model import NoReference, Trials, curvature
from hybrid_opt.direction.moves import Tensors
from hybrid_opt.direction.optimizer import HybridOptimizer
from hybrid_opt.solvers import Solution, Solver


class Relaxation(Solver):
    """The continuous solve of the identical problem: local minima over mixtures of moves from `starts`, rounded."""

    name = "relaxation"

    def __init__(self, starts: int = 4) -> None:
        super().__init__(None)
        self.starts = starts

    def _solve(self, qubos: Sequence[Qubo], seed: int, key: str, stop: Event) -> list[Solution]:
        return [Solution.of(qubo, self._rounded(qubo, seed), SolverCost()) for qubo in qubos]

    def _rounded(self, qubo: Qubo, seed: int) -> Any:
        matrix, shape = qubo.matrix, (len(qubo.one_hot), -1)
        scale = np.abs(matrix).max() or 1.0

        def value(logits: Any) -> tuple[float, Any]:
            z = np.exp(logits.reshape(shape) - logits.reshape(shape).max(1, keepdims=True))
            p = z / z.sum(1, keepdims=True)
            slope = ((matrix + matrix.T) @ p.ravel()).reshape(p.shape)
            back = p * (slope - (p * slope).sum(1, keepdims=True))
            return float(p.ravel() @ matrix @ p.ravel()) / scale, back.ravel() / scale

        starts = np.random.default_rng(seed).normal(size=(self.starts, qubo.n))
        ends = [minimize(value, start, jac=True, method="L-BFGS-B").x.reshape(shape) for start in starts]
        return np.stack([np.eye(end.shape[1], dtype=np.uint8)[end.argmax(1)].ravel() for end in ends])


class Continuous(HybridOptimizer):
    """The control without a Qubo: real coefficients of the same directions of the same blocks.

    The curvature model of the loss is minimised, from the base step on, in the box of 0 to 1 + trust base steps and
    trust lengths of it back and forth along the others. What is taken is decided as for moves.
    """

    def _ask(self, trials: Trials, start: Tensors) -> None:
        moves = self._moves(trials, start)
        directions, count, accepted = len(moves.span.directions), len(moves.moving), False
        if count:
            self.counts.asked += 1
            try:
                model = curvature(trials, moves)
            except NoReference:
                self.counts.undefined += 1
            else:
                slope, hessian = model.slope, model.hessian
                bounds = count * [(-1.0, self.trust), *(directions - 1) * [(-self.trust, self.trust)]]
                scale = np.abs(hessian).max() or 1.0  # whatever the unit of the loss is

                def value(a: Any) -> tuple[float, Any]:
                    return float(slope @ a + a @ hessian @ a / 2) / scale, (slope + hessian @ a) / scale

                found = minimize(value, np.zeros(slope.size), jac=True, method="L-BFGS-B", bounds=bounds)
                offsets = np.zeros((trials.blocks.count, directions))
                offsets[moves.moving] = found.x.reshape(count, directions)
                gain = -scale * float(found.fun)
                accepted = self._try(trials, start, moves.span, offsets, gain, self.counts.steps)
        self._decided(trials, accepted)
