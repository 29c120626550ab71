"""What a router is. A kind of routers is one file beside this one, `routers/NAME.py`."""

import torch
from torch import Tensor

from worldmodel.model.observer import Observer


class Router(Observer):
    """Weighs experts by a state. It is made by `Router(inputs, experts)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return weights [..., experts] at states [..., inputs]. None is negative, and they sum to 1."""
        raise NotImplementedError


def shares(logits: Tensor) -> Tensor:
    """Return the softmax of logits [..., experts], in float32 at least."""
    return logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
