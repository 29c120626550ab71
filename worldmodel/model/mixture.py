"""A mixture of experts as the prior: probabilities are mixed, so that the KL stays that of a distribution."""

import torch
from torch import Tensor, nn

from worldmodel.model.heads.head import Head
from worldmodel.model.observer import joined
from worldmodel.model.routers.router import Router

LEAST = 1e-30  # a probability whose logarithm float32 can tell


class Mixture(Head):
    """Log of the mean of the experts' probabilities, weighted by a router.

    Shapes: N rows of D inputs, E experts, S latents of K classes; [N, D] -> [N, K S], normalised over K.
    """

    observes = True

    def __init__(self, router: Router, experts: list[Head], classes: int, balance: float) -> None:
        """balance: weight of the loss that balances the experts' load."""
        super().__init__()
        self.router, self.experts, self.classes, self.balance = router, nn.ModuleList(experts), classes, balance

    def forward(self, x: Tensor) -> Tensor:
        weights = self.router(x).float()  # [..., E]
        logits = torch.stack([expert(x).float() for expert in self.experts], -2)  # [..., E, K S]
        chances = logits.unflatten(-1, (self.classes, -1)).softmax(-2)  # [..., E, K, S]
        return torch.einsum("...e,...eks->...ks", weights, chances).clamp(min=LEAST).log().flatten(-2)

    def auxiliary(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Add the load balance loss E sum_i f_i P_i (Switch Transformer, arXiv 2101.03961, section 2.2).

        f_i: the share of rows whose greatest weight is expert i's; P_i: its mean weight. A dead expert has no row.
        """
        weights = self.router(x).float().flatten(0, -2)  # [N, E]
        count, mean = weights.shape[-1], weights.mean(0)
        share = nn.functional.one_hot(weights.argmax(-1), count).float().mean(0)
        balance = count * (share * mean).sum()
        losses, metrics = joined(self._observers(), x)
        losses["balance"] = self.balance * balance
        metrics |= {
            "balance": balance,
            "routing_entropy": -torch.special.xlogy(weights, weights).sum(-1).mean(),
            "dead_experts": (share == 0).float().sum(),
        }
        return losses, metrics

    def refit(self, x: Tensor) -> None:
        for part in self._observers().values():
            part.refit(x)

    def _observers(self) -> dict[str, Head | Router]:
        experts = {f"expert{number}": expert for number, expert in enumerate(self.experts)}
        return {"router": self.router, **experts}  # type: ignore[dict-item]
