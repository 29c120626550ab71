"""How near a circuit's states come to random ones."""

import numpy as np
import torch
from torch import Tensor

from hybrid_opt.layers.measures.states import States

BINS = 75


def expressibility(states: States, pairs: int, generator: torch.Generator | None = None) -> tuple[float, float]:
    """Return the divergence of the law of fidelities from that of Haar-random states: complex ones, and real ones.

    KL(histogram of |<psi|phi>|^2 || law), in nats, over pairs at random angles (Sim et al. 2019, arXiv 1905.10876).
    Fidelities of complex states follow Beta(1, N - 1), those of real ones Beta(1/2, (N - 1) / 2), with N = 2^n. Real
    gates never reach the first. The estimate is too large by about `BINS` / (2 pairs).
    """
    from scipy.stats import beta

    fidelities = torch.cat([_fidelities(states, part) for part in states.parts(states.random(2 * pairs, generator))])
    edges, size = np.linspace(0, 1, BINS + 1), 1 << states.qubits
    observed = np.histogram(fidelities.numpy(), edges)[0] / len(fidelities)
    seen = observed > 0
    found = []
    for law in (beta(1, size - 1), beta(0.5, (size - 1) / 2)):
        expected = -np.diff(law.sf(edges))  # which, unlike differences of cdf, stay exact near 1
        found.append(float(np.sum(observed[seen] * np.log(observed[seen] / expected[seen]))))
    return found[0], found[1]


@torch.no_grad()
def _fidelities(states: States, weights: Tensor) -> Tensor:
    even = weights[: len(weights) // 2 * 2]
    first, second = states(even[::2]), states(even[1::2])
    return (first.conj() * second).sum(1).abs().square().clamp(max=1.0)
