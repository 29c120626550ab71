"""QAOA in PyTorch, for CUDA: mixers as small matrices, of up to 32 levels a pass over memory."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.simulator.product import Pairs, Reflection, Step

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
LEVELS = 32


class Group(NamedTuple):
    """Neighbouring axes that are mixed by one matrix."""

    levels: int
    inner: int
    steps: tuple[Step, ...]  # the fastest axis first


class Tensors:
    """States under QAOA with a mixer of steps: the contract of Product, on a device of PyTorch."""

    def __init__(
        self, costs: Floats, goals: Floats, first: Floats, steps: list[Step], dtype: DTypeLike, device: str
    ) -> None:
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ProblemError(f"device={device}: PyTorch finds no CUDA device here; cpu is accepted")
        if any(isinstance(step, Pairs) and step.levels > LEVELS for step in steps):
            raise ProblemError(
                f"device={device}: a cardinality needs a mixer that runs on the processor; cpu is accepted"
            )
        self.real = torch.float32 if np.dtype(dtype).itemsize == 4 else torch.float64
        self.complex = torch.complex64 if self.real == torch.float32 else torch.complex128
        self.device = device
        self.costs = torch.as_tensor(costs, dtype=self.real, device=device)
        self.goals = torch.as_tensor(goals, dtype=self.real, device=device)
        self.first = torch.as_tensor(first, dtype=self.complex, device=device)
        self._groups = _grouped(steps)

    def forward(self, gammas: Floats, betas: Floats) -> None:
        """Run the circuits of angles [B, p]."""
        import torch

        self._angles = gammas, betas
        state = self.first.repeat(len(gammas), 1)  # [B, N]
        for layer in range(gammas.shape[1]):
            state *= self._phase(gammas[:, layer])
            for group in self._groups:
                state = _apply(self._matrix(group, betas[:, layer])[0], state, group)
        self._state: torch.Tensor = state

    def backward(self, roofs: Floats, slope: float) -> tuple[Floats, Floats, Floats]:
        """<slope * min(goal - roof, 0)> [B] of the states and its derivatives [B, p]. The states are used up."""
        import torch

        gammas, betas = self._angles
        roof = torch.as_tensor(roofs, dtype=self.real, device=self.device)[:, None]
        ket = self._state
        bra = ket * ((self.goals - roof).clamp(max=0) * slope)
        value = (ket.conj() * bra).real.sum(-1, dtype=torch.float64).cpu().numpy()
        by_gamma, by_beta = np.zeros_like(gammas), np.zeros_like(betas)
        for layer in reversed(range(gammas.shape[1])):
            for group in reversed(self._groups):
                matrix, slope_ = self._matrix(group, betas[:, layer])
                derivative = (bra.conj() * _apply(slope_, ket, group)).real.sum(-1, dtype=torch.float64)
                by_beta[:, layer] += 2 * derivative.cpu().numpy()
                ket, bra = (_apply(matrix.mH, state, group) for state in (ket, bra))
            derivative = ((bra.conj() * ket).imag * self.costs).sum(-1, dtype=torch.float64)
            by_gamma[:, layer] = 2 * derivative.cpu().numpy()
            phase = self._phase(-gammas[:, layer])
            ket, bra = ket * phase, bra * phase
        del self._state
        return value, by_gamma, by_beta

    def probabilities(self) -> Floats:
        """Of the states after `forward`, [B, N]."""
        import torch

        squares: Floats = (
            (self._state.real.to(torch.float64) ** 2 + self._state.imag.to(torch.float64) ** 2).cpu().numpy()
        )
        return squares

    def _phase(self, gammas: Floats) -> "torch.Tensor":
        import torch

        angles = torch.as_tensor(-gammas, dtype=self.real, device=self.device)[:, None] * self.costs
        return torch.polar(torch.ones_like(angles), angles)

    def _matrix(self, group: Group, betas: Floats) -> tuple["torch.Tensor", "torch.Tensor"]:
        """The mixer's matrix V(beta) of a group and V' V^+, complex [B, G, G]."""
        import torch

        matrix = np.ones((len(betas), 1, 1), np.complex128)
        slope = np.zeros((len(betas), 1, 1), np.complex128)
        for step in group.steps:
            one, derivative = _small(step, betas)
            k = one.shape[-1]
            old = matrix.shape[-1]
            matrix = np.einsum("bij,bkl->bikjl", one, matrix).reshape(len(betas), k * old, k * old)
            eyes = np.eye(k), np.eye(old)
            slope = np.einsum("bij,kl->bikjl", derivative, eyes[1]) + np.einsum("ij,bkl->bikjl", eyes[0], slope)
            slope = slope.reshape(len(betas), k * old, k * old)
        return tuple(torch.as_tensor(m, dtype=self.complex, device=self.device) for m in (matrix, slope))  # type: ignore[return-value]


def _apply(matrix: "torch.Tensor", state: "torch.Tensor", group: Group) -> "torch.Tensor":
    view = state.view(len(state), -1, group.levels, group.inner)
    return (matrix[:, None] @ view).view(state.shape)


def _grouped(steps: list[Step]) -> list[Group]:
    groups: list[Group] = []
    for step in steps:
        levels = len(step.amplitudes) if isinstance(step, Reflection) else step.levels
        if groups and groups[-1].levels * levels <= LEVELS:
            last = groups.pop()
            groups.append(Group(last.levels * levels, last.inner, (*last.steps, step)))
        else:
            groups.append(Group(levels, step.inner, (step,)))
    return groups


def _small(step: Step, betas: Floats) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """V(beta) and V' V^+ of one axis, [B, K, K]."""
    if isinstance(step, Reflection):
        projector = np.outer(step.amplitudes, step.amplitudes)
        factor = np.exp(2j * betas) - 1
        eye = np.eye(len(projector))
        return eye + factor[:, None, None] * projector, np.broadcast_to(2j * projector, (len(betas), *projector.shape))
    matrix = np.broadcast_to(np.eye(step.levels, dtype=np.complex128), (len(betas), step.levels, step.levels))
    slope = np.zeros_like(matrix)
    for a, b in step.pairs:
        turn = matrix * 0 + np.eye(step.levels)
        turn[:, a, a] = turn[:, b, b] = np.cos(betas)
        turn[:, a, b] = turn[:, b, a] = 1j * np.sin(betas)
        hop = np.zeros((step.levels, step.levels))
        hop[a, b] = hop[b, a] = 1
        slope = 1j * hop + turn @ slope @ turn.conj().swapaxes(-1, -2)
        matrix = turn @ matrix
    return matrix, slope
