"""Shots of the simulation: how often each basis state is read, rightly or wrongly."""

import torch
from torch import Tensor

SEARCHES = 4  # shots for each basis state from which binomials are faster than a search for each shot


def counts(laws: Tensor, shots: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw `shots` basis states of each row's law [N, 2^n], and return how often each came, [N, 2^n]."""
    laws = laws.clamp_min(0)
    if shots < SEARCHES * laws.shape[1] or laws.is_meta:
        states = laws.multinomial(shots, True, generator=generator)  # [N, shots]
        return torch.zeros_like(laws).scatter_add_(1, states, torch.ones_like(states, dtype=laws.dtype))
    found = torch.full_like(laws[:, :1], shots)
    for level in range(laws.shape[1].bit_length() - 1):  # of the highest bit first: it shares out what there is so far
        low, high = laws.view(len(laws), 1 << level, 2, -1).sum(-1).unbind(-1)
        share = torch.where(low > 0, low / (low + high), 0.0)
        zeros = torch.binomial(found, share, generator=generator)
        found = torch.stack([zeros, found - zeros], -1).flatten(1)
    return found


def misread(laws: Tensor, zero: float, one: float) -> Tensor:
    """Return the probabilities of what is read, [N, 2^n], from those of the basis states.

    zero, one: the chances to read 0 as 1, and 1 as 0, of each qubit alone.
    """
    for q in range(laws.shape[1].bit_length() - 1):
        low, high = laws.view(len(laws), -1, 2, 1 << q).unbind(2)
        turned = torch.stack([(1 - zero) * low + one * high, zero * low + (1 - one) * high], 2)
        laws = turned.view(len(laws), -1)
    return laws
