"""A router of any kind of head: softmax of what it predicts."""

from torch import Tensor

from worldmodel.model.heads.head import Head
from worldmodel.model.routers.router import Router, shares


class HeadRouter(Router):
    """Softmax of a head with an output for each expert."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head, self.observes = head, head.observes

    def forward(self, x: Tensor) -> Tensor:
        return shares(self.head(x))

    def auxiliary(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.head.auxiliary(x)

    def refit(self, x: Tensor) -> None:
        self.head.refit(x)
