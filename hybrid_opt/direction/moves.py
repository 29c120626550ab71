"""Candidate moves of parameter blocks: short lists of displacements to choose from."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybrid_opt.direction.config import MoveName
from hybrid_opt.errors import ProblemError

Floats = NDArray[np.float64]
Tensors = list[Tensor]


class Blocks:
    """Parameters by name, and which of them move together.

    parameters: in their order. blocks: how many parts of about equal size that order is cut into (fewer, where single
    tensors are larger), or the names in each; parameters in no block always take the base step.

    Raises ProblemError for names that are not there, or twice.
    """

    def __init__(self, parameters: Mapping[str, Tensor], blocks: int | Sequence[Sequence[str]]) -> None:
        self.parameters = dict(parameters)
        groups = _cut(self.parameters, blocks) if isinstance(blocks, int) else [list(names) for names in blocks]
        self.names = [name for group in groups for name in group]
        unknown = [name for name in self.names if name not in self.parameters]
        if unknown or len(set(self.names)) != len(self.names) or not all(groups) or not groups:
            raise ProblemError(f"blocks: {unknown or self.names}; non-empty, disjoint lists of parameters are accepted")
        self.of = [number for number, group in enumerate(groups) for _ in group]  # the block of each tensor
        self.count = len(groups)
        self._of = torch.tensor(self.of)

    @property
    def tensors(self) -> Tensors:
        """The parameters that are in blocks, in the order of `names`."""
        return [self.parameters[name] for name in self.names]

    @property
    def values(self) -> Tensors:
        """The same without gradients; they share the memory of the parameters."""
        return [parameter.detach() for parameter in self.tensors]

    def dots(self, left: Tensors, right: Tensors) -> Floats:
        """Inner products of two displacements, block by block: float64 [B]."""
        products = torch.stack([(a * b).sum(dtype=torch.float64) for a, b in zip(left, right, strict=True)]).cpu()
        sums: Floats = torch.zeros(self.count, dtype=torch.float64).index_add_(0, self._of, products).numpy()
        return sums

    def norms(self, tensors: Tensors) -> Floats:
        """Euclidean norms of a displacement, block by block: float64 [B]."""
        squares = torch.stack(torch._foreach_norm(tensors)).cpu().double().square()
        sums = torch.zeros(self.count, dtype=torch.float64).index_add_(0, self._of, squares)
        norms: Floats = sums.sqrt().numpy()
        return norms


class Span:
    """The displacements sum_d offsets[b, d] directions[d] of each block b, with directions of chosen lengths.

    lengths [B, D]: how long direction d counts in block b, in the norm of the parameters; a direction that is zero
    there stays zero.
    """

    def __init__(self, blocks: Blocks, directions: Sequence[Tensors], lengths: Floats) -> None:
        self.blocks, self.directions = blocks, list(directions)
        norms = np.stack([blocks.norms(direction) for direction in self.directions], axis=1)  # [B, D]
        present = np.isfinite(norms) & (norms > 0)
        self.scale: Floats = np.where(present, lengths / np.where(present, norms, 1.0), 0.0)

    def displaced(self, origin: Tensors, offsets: Floats) -> Tensors:
        """origin plus the displacement of offsets [B, D]; tensors that do not move are those of `origin`."""
        moved, weights = list(origin), offsets * self.scale
        for d, direction in enumerate(self.directions):
            places = [i for i, block in enumerate(self.blocks.of) if weights[block, d]]
            if places:
                steps = torch._foreach_mul(
                    [direction[i] for i in places], [float(weights[self.blocks.of[i], d]) for i in places]
                )
                sums = torch._foreach_add([moved[i] for i in places], list(steps))
                for i, tensor in zip(places, sums, strict=True):
                    moved[i] = tensor
        return moved

    def projected(self, gradient: Tensors) -> Floats:
        """The derivatives along all directions, float64 [B, D]."""
        dots = [self.blocks.dots(gradient, direction) for direction in self.directions]
        return np.stack(dots, axis=1) * self.scale


class Moves:
    """K candidate moves for each of B blocks, as offsets [B, K, D] from where the base step leads.

    skip, half and base are the base step times 0, 1/2 and 1. double adds `trust` lengths of it along itself; momentum
    and last are `trust` lengths of it along the mean step since the last choice, and along the last accepted move. With
    trust 1 that is the base step at 0, 1/2, 1 and 2, and the two others at its length.

    step: the base step. history: momentum and last, as far as there are any; the moves of others are left out.
    """

    def __init__(
        self,
        blocks: Blocks,
        names: Sequence[MoveName],
        step: Tensors,
        history: Mapping[str, Tensors],
        trust: float,
    ) -> None:
        self.names = [name for name in names if name not in ("momentum", "last") or name in history]
        kinds = [name for name in self.names if name in history]
        length = blocks.norms(step)
        directions = [step, *(history[kind] for kind in kinds)]
        self.span = Span(blocks, directions, np.repeat(length[:, None], len(directions), axis=1))
        along = {"skip": 0.0, "half": 0.5, "base": 1.0, "double": 1.0 + trust}
        wanted = np.zeros((len(self.names), len(directions)))
        for k, name in enumerate(self.names):
            if name in along:
                wanted[k, 0] = along[name]
            else:
                wanted[k, 1 + kinds.index(name)] = trust
        self.offsets: Floats = wanted - np.eye(1, len(directions))  # [K, D]
        self.base = self.names.index("base")
        self.moving = np.flatnonzero(length > 0)  # the blocks that there is anything to choose for

    def offsets_of(self, levels: NDArray[np.int64]) -> Floats:
        """levels [S, B] -> offsets [S, B, D]."""
        return self.offsets[levels]


def _cut(parameters: Mapping[str, Tensor], count: int) -> list[list[str]]:
    """The names in their order, in at most `count` parts: a tensor belongs where its middle lies."""
    total = sum(parameter.numel() for parameter in parameters.values())
    parts: list[list[str]] = [[] for _ in range(count)]
    before = 0
    for name, parameter in parameters.items():
        middle = before + parameter.numel() / 2
        parts[min(count - 1, int(middle * count / max(1, total)))].append(name)
        before += parameter.numel()
    return [part for part in parts if part]
