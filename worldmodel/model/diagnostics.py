"""Numbers that tell why an agent does not learn: the rank of its latents, and how its policy spreads."""

import torch
from torch import Tensor

from worldmodel.model.actor import Normals, Policy

ROWS = 64  # states that a rank is told of: the time grows with their cube
CERTAIN = 0.98  # probability, or distance of a mean from the centre of [-1, 1], beyond which a policy is decided


@torch.no_grad()
def effective_rank(latents: Tensor) -> Tensor:
    """Count the directions that latents [N, D] vary in: e to the entropy of their normalised singular values.

    After Roy and Vetterli (2007), of at most 64 rows, evenly spaced. Latents that are all alike have rank 0.
    """
    rows = latents[:: -(-len(latents) // ROWS)].double()  # which autocast leaves alone
    rows = rows - rows.mean(0)
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows  # its eigenvalues are their squares
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    values = values * (values > 1e-6 * values[-1])  # below that is rounding
    share = values / values.sum().clamp(min=1e-30)
    rank: Tensor = torch.special.entr(share).sum().exp() * (values[-1] > 1e-6)
    return rank


@torch.no_grad()
def spread(policy: Policy) -> dict[str, Tensor]:
    """How far actions scatter, and in which share of their components they are decided.

    action_std: of normals; decided: the mean at a bound of [-1, 1], or one class with nearly all probability.
    """
    if isinstance(policy, Normals):
        return {"action_std": policy.std.mean(), "decided": (policy.mean.abs() > CERTAIN).float().mean()}
    sure = torch.stack([(probs.amax(-1) > CERTAIN).float().mean() for probs in policy.probs])
    return {"decided": sure.mean()}
