"""The loss as a pairwise function of choices, from losses at trial points or from curvature."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybrid_opt.direction.buffers import buffers_kept
from hybrid_opt.direction.moves import Blocks, Floats, Moves, Span, Tensors
from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo

Loss = Callable[[Mapping[str, Tensor], Any, torch.Generator], Tensor]
"""loss(parameters, batch, generator): a scalar tensor; all that is random in it is drawn from the generator."""


class NoReference(Exception):
    """The loss, or its gradient, is not finite where the parameters are: there is nothing to model."""


WORST = 10.0  # a loss that is not finite counts as this many ranges above the largest that is


class Trials:
    """Losses of a batch at trial points around the parameters, all under the same random numbers.

    The generator is seeded anew for every point, and so are torch's own. Their states, and the buffers of modules, are
    put back: training sees nothing of it. chunk: points evaluated at once by torch.func.vmap, which takes the memory of
    as many copies of the parameters. modules: those that the loss may use without calling them.

    Counts `forwards` and `gradients`.
    """

    def __init__(
        self,
        loss: Loss,
        blocks: Blocks,
        batch: Any,
        seed: int,
        chunk: int = 1,
        modules: Sequence[torch.nn.Module] = (),
    ) -> None:
        self.loss, self.blocks, self.batch, self.seed, self.chunk = loss, blocks, batch, seed, chunk
        self._modules = modules
        self.origin = blocks.values
        self._fixed = {name: value.detach() for name, value in blocks.parameters.items()}
        self._device = self.origin[0].device
        self.forwards, self.gradients = 0, 0

    def at(self, points: Sequence[Tensors]) -> Floats:
        """Losses at explicit values of the parameters in blocks, float64 [S]; infinite where they are not finite."""
        with torch.no_grad():
            values = torch.stack([self._tried(point) for point in points])
        return _finite(values.double().cpu().numpy())

    def losses(self, span: Span, offsets: Floats) -> Floats:
        """Losses at offsets [S, B, D] in a span, float64 [S]; infinite where they are not finite."""
        if not len(offsets):
            return np.zeros(0)
        with torch.no_grad():
            if self.chunk == 1:
                parts = [self._tried(span.displaced(self.origin, row))[None] for row in offsets]
            else:
                parts = [
                    self._together(span, offsets[begin : begin + self.chunk])
                    for begin in range(0, len(offsets), self.chunk)
                ]
        return _finite(torch.cat(parts).double().cpu().numpy())

    def gradient(self, span: Span, offsets: Floats) -> Floats:
        """Derivatives along the directions of a span at offsets [B, D], float64 [B, D]."""
        # Until the gradient is taken, which may need the buffers as they were.
        with torch.enable_grad(), buffers_kept(self._modules):
            point = [tensor.detach().requires_grad_() for tensor in span.displaced(self.origin, offsets)]
            value = self._evaluate(point)
            slopes = torch.autograd.grad(value, point, allow_unused=True)
        self.forwards, self.gradients = self.forwards - 1, self.gradients + 1
        return span.projected([torch.zeros_like(at) if g is None else g for at, g in zip(point, slopes, strict=True)])

    def _tried(self, point: Tensors) -> Tensor:
        with buffers_kept(self._modules):
            return self._evaluate(point)

    def _evaluate(self, point: Tensors) -> Tensor:
        self.forwards += 1
        with _untouched(self._device) as own:
            generator = self._seeded(own)
            value = self.loss(
                {**self._fixed, **dict(zip(self.blocks.names, point, strict=True))}, self.batch, generator
            )
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ProblemError(f"loss: gave {type(value).__name__}; a tensor with one number is accepted")
        return value.reshape(())

    def _seeded(self, own: list[torch.Generator]) -> torch.Generator:
        """A generator with the seed of all trials, which torch's own get too."""
        for other in own:
            other.manual_seed(self.seed)
        return torch.Generator(self._device).manual_seed(self.seed)

    def _together(self, span: Span, offsets: Floats) -> Tensor:
        points = [span.displaced(self.origin, row) for row in offsets]
        names = self.blocks.names
        stacked = {name: torch.stack(same) for name, same in zip(names, zip(*points, strict=True), strict=True)}

        def one(parameters: dict[str, Tensor]) -> Tensor:
            return self.loss({**self._fixed, **parameters}, self.batch, generator).reshape(())

        self.forwards += len(points)
        with _untouched(self._device) as own, buffers_kept(self._modules):
            generator = self._seeded(own)
            values: Tensor = torch.func.vmap(one, randomness="same")(stacked)
        return values


def by_losses(trials: Trials, moves: Moves) -> tuple[Qubo, float]:
    """The pairwise model from the losses where one block, or two, do not take the base step, and the loss of the base.

    Exact for all choices that differ from the base step in at most two blocks: with Delta the change of the loss,
    E(x) = L(base) + sum_b Delta(b) + sum_{b<c} (Delta(b, c) - Delta(b) - Delta(c)), the second-order expansion around
    the base step in the sense of functional ANOVA (cut-HDMR; Rabitz and Alis 1999). B blocks of K moves take
    1 + B (K - 1) + B (B - 1) / 2 (K - 1)^2 losses.
    """
    blocks, others = moves.moving, [k for k in range(len(moves.names)) if k != moves.base]
    singles = [((b, k),) for b in range(len(blocks)) for k in others]
    pairs = [
        ((b, k), (c, m)) for b, c in combinations(range(len(blocks)), 2) for k, m in product(others, repeat=2)
    ]  # fmt: skip
    levels = np.full((1 + len(singles) + len(pairs), trials.blocks.count), moves.base)
    for row, changes in enumerate([(), *singles, *pairs]):
        for b, k in changes:
            levels[row, blocks[b]] = k
    losses = _bounded(trials.losses(moves.span, moves.offsets_of(levels)))
    base, change, count = losses[0], losses - losses[0], len(moves.names)
    matrix = np.zeros((len(blocks) * count,) * 2)
    alone = {}
    for row, ((b, k),) in enumerate(singles, 1):
        alone[b, k] = matrix[b * count + k, b * count + k] = change[row]
    for row, (one, two) in enumerate(pairs, 1 + len(singles)):
        (b, k), (c, m) = one, two
        matrix[b * count + k, c * count + m] = change[row] - alone[one] - alone[two]
    return _choice(matrix, base, moves), float(base)


class Curvature(NamedTuple):
    """base + slope a + a hessian a / 2 for offsets a [n] of the moving blocks, n = B D, blocks first."""

    base: float
    slope: Floats
    hessian: Floats


def curvature(trials: Trials, moves: Moves, step: float = 1.0) -> Curvature:
    """The quadratic model within the span, from gradients where each direction of each block is followed for `step`
    lengths.

    The secant of the gradient along direction j is column j of the Hessian within the span, exactly so for a quadratic
    loss; averaged with its transpose. B blocks of D directions take 1 + B D gradients, and nothing is differentiated
    twice. Raises NoReference where it is not finite.
    """
    span = moves.span
    shape = (trials.blocks.count, len(span.directions))
    base = float(trials.losses(span, np.zeros((1, *shape)))[0])
    places = [(int(b), d) for b in moves.moving for d in range(shape[1])]
    slope = trials.gradient(span, np.zeros(shape))
    columns = []
    for b, d in places:
        offsets = np.zeros(shape)
        offsets[b, d] = step
        columns.append((trials.gradient(span, offsets) - slope) / step)
    at = tuple(np.array(places, np.int64).reshape(-1, 2).T)
    hessian = np.array([column[at] for column in columns]).reshape(len(places), len(places))
    if not (np.isfinite(base) and np.isfinite(slope[at]).all() and np.isfinite(hessian).all()):
        raise NoReference
    return Curvature(base, slope[at], (hessian + hessian.T) / 2)


def by_curvature(trials: Trials, moves: Moves, step: float = 1.0) -> tuple[Qubo, float]:
    """The quadratic model (see `curvature`) of all choices, whatever K is, and the loss of the base."""
    model = curvature(trials, moves, step)
    spread = np.kron(np.eye(len(moves.moving)), moves.offsets)  # [B K, B D]: the offsets of every choice
    pairwise = spread @ model.hessian @ spread.T
    linear = spread @ model.slope + np.diag(pairwise) / 2
    blocks = np.arange(len(linear)) // len(moves.names)
    matrix = np.where(blocks[:, None] < blocks[None], pairwise, 0.0) + np.diag(linear)
    return _choice(matrix, model.base, moves), model.base


def subsets(trials: Trials, span: Span, places: Sequence[tuple[int, int, float]]) -> tuple[Qubo, float]:
    """The pairwise model of all subsets of n displacements, and the loss without any.

    places: (block, direction, multiple) of each. It takes 1 + n (n + 1) / 2 losses, and is exact up to two of them.
    """
    n = len(places)
    chosen: list[tuple[int, ...]] = [(), *((i,) for i in range(n)), *combinations(range(n), 2)]
    bits = np.zeros((len(chosen), n), np.uint8)
    for row, some in enumerate(chosen):
        bits[row, list(some)] = 1
    losses = _bounded(trials.losses(span, sums(bits, places, (trials.blocks.count, len(span.directions)))))
    change = losses - losses[0]
    matrix = np.diag(change[1 : n + 1])
    for row, (i, j) in enumerate(combinations(range(n), 2), n + 1):
        matrix[i, j] = change[row] - change[1 + i] - change[1 + j]
    return Qubo(matrix, losses[0]), float(losses[0])


def sums(bits: NDArray[Any], places: Sequence[tuple[int, int, float]], shape: tuple[int, int]) -> Floats:
    """The offsets [S, B, D] of subsets of displacements, bits [S, n]."""
    vectors = np.zeros((len(places), *shape))
    for number, (block, direction, multiple) in enumerate(places):
        vectors[number, block, direction] = multiple
    return np.tensordot(bits.astype(np.float64), vectors, axes=1).astype(np.float64, copy=False)


def _choice(matrix: Floats, base: float, moves: Moves) -> Qubo:
    """The problem of one move for each moving block."""
    count = len(moves.names)
    one_hot = [tuple(range(b * count, (b + 1) * count)) for b in range(len(moves.moving))]
    labels = [(int(b), name) for b in moves.moving for name in moves.names]
    return Qubo(matrix, base, one_hot=one_hot, labels=labels)


def _finite(values: NDArray[Any]) -> Floats:
    return np.where(np.isfinite(values), values, np.inf)


def _bounded(losses: Floats) -> Floats:
    """Infinite losses as large ones. Raises NoReference where the first of them, the reference, is infinite."""
    finite = losses[np.isfinite(losses)]
    if not np.isfinite(losses[0]):
        raise NoReference
    return np.where(np.isfinite(losses), losses, finite.max() + WORST * (np.ptp(finite) or 1.0))


@contextmanager
def _untouched(device: torch.device) -> Iterator[list[torch.Generator]]:
    """torch's own generators that a loss may draw from, whose states are put back."""
    own = [torch.default_generator]
    if device.type == "cuda":
        own.append(torch.cuda.default_generators[device.index or 0])
    states = [generator.get_state() for generator in own]
    try:
        yield own
    finally:
        for generator, state in zip(own, states, strict=True):
            generator.set_state(state)
