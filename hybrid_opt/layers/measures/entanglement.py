"""How entangled a circuit's states are."""

import torch
from torch import Tensor

from hybrid_opt.layers.measures.states import States


def meyer_wallach(states: Tensor) -> Tensor:
    """Return Q in [0, 1] of states, complex [N, 2^n]: 0 for products, 1 where each qubit is as mixed as can be.

    Q = 2 (1 - mean over qubits of Tr rho_q^2) (Meyer and Wallach 2002; this form: Brennen 2003, quant-ph/0305094).
    """
    qubits = states.shape[1].bit_length() - 1
    purities = []
    for q in range(qubits):
        low, high = states.view(len(states), -1, 2, 1 << q).unbind(2)
        zero, one = low.abs().square().sum((1, 2)), high.abs().square().sum((1, 2))
        across = (low.conj() * high).sum((1, 2)).abs().square()
        purities.append(zero.square() + one.square() + 2 * across)
    return (2 * (1 - torch.stack(purities).mean(0))).clamp(min=0.0)


@torch.no_grad()
def entanglement(states: States, rows: int, generator: torch.Generator | None = None) -> tuple[float, float]:
    """Return mean and standard deviation of Q over random angles."""
    found = torch.cat([meyer_wallach(states(part)) for part in states.parts(states.random(rows, generator))])
    return float(found.mean()), float(found.std())
