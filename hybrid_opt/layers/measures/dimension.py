"""Effective dimension: how many directions of the parameters a model's predictions tell apart."""

import math

import torch
from torch import Tensor

from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.measures.states import States

FEWEST = 10_000  # data, below which the measure may exceed the number of parameters
NEVER = 1e-14  # a probability that rounding alone leaves


def effective_dimension(scores: Tensor, data: int) -> float:
    """Return the effective dimension (Abbas et al. 2021, arXiv 2011.00027, eq. 4), in [0, D] of D parameters.

    2 log(mean over T of sqrt(det(1 + k F))) / log k, with k = data / (2 pi log data) and F scaled to a mean trace D.
    scores [T, M, D]: at T random parameters, factors of the Fisher matrix F = scores' scores, from `of_bits` or
    `of_classes`. Their M rows bound it, too. data: at least `FEWEST`.
    """
    if data < FEWEST:
        raise ProblemError(f"data={data}: at least {FEWEST} is accepted; with fewer, it exceeds the parameters")
    draws, rows, size = scores.shape
    scaled = scores.double() * math.sqrt(size * draws / float(scores.double().square().sum()))
    k = data / (2 * math.pi * math.log(data))
    gram = scaled @ scaled.mT if rows < size else scaled.mT @ scaled  # 1 + k times either has the same determinant
    halves = torch.linalg.slogdet(torch.eye(len(gram[0]), dtype=torch.float64) + k * gram).logabsdet / 2
    return float(2 * (halves.logsumexp(0) - math.log(draws)) / math.log(k))


@torch.no_grad()
def of_bits(states: States, weights: Tensor, data: Tensor) -> Tensor:
    """Return the scores [X 2^n, W] of the measured bits, at weights [W] and angles of the data [X, R].

    The derivative of a state in an angle is half the state at that angle + pi, since gates are exp(-i theta P / 2).
    Raises ProblemError where gates share weights.
    """
    count, structure = len(weights), states.structure
    if len(structure.trained) != count:
        raise ProblemError("ansatz: gates share weights; one weight for each gate is accepted")
    turned = torch.cat([weights[None], weights + math.pi * torch.eye(count, dtype=weights.dtype)])  # [1 + W, W]
    psi = torch.stack([states(turned, row.expand(count + 1, -1)) for row in data])  # [X, 1 + W, 2^n]
    rises = (psi[:, :1].conj() * psi[:, 1:]).real  # of probabilities, [X, W, 2^n]
    laws = psi[:, :1].abs().square()
    scores = torch.where(laws > NEVER, rises / laws.clamp(min=NEVER).sqrt(), 0.0) / math.sqrt(len(data))
    return scores.mT.flatten(0, 1)


def of_classes(logits: Tensor, slopes: Tensor) -> Tensor:
    """Return the scores [X K, D] of softmax(logits [X, K]); slopes [X, K, D]: of the logits in D parameters."""
    laws = logits.softmax(-1)
    centred = slopes - torch.einsum("xk,xkd->xd", laws, slopes)[:, None]
    return ((laws / len(laws)).sqrt()[..., None] * centred).flatten(0, 1)
