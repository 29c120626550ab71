"""What parts learn beside their task, from the states that are replayed."""

from collections.abc import Mapping

from torch import Tensor, nn


class Observer(nn.Module):
    """A part that may have losses of its own, or adapt to its inputs without a gradient. Most have neither."""

    observes = False  # whether it has any

    def auxiliary(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return losses [] to add, and metrics [], by name. x [..., inputs]: its inputs at replayed states."""
        return {}, {}

    def refit(self, x: Tensor) -> None:
        """Adapt to its inputs [..., inputs] at replayed states, after an update. No gradient is wanted."""


def joined(parts: Mapping[str, Observer], x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the losses and metrics of several parts with the same inputs, named PART/NAME."""
    losses: dict[str, Tensor] = {}
    metrics: dict[str, Tensor] = {}
    for name, part in parts.items():
        if part.observes:
            for found, own in zip((losses, metrics), part.auxiliary(x), strict=True):
                found |= {f"{name}/{key}": value for key, value in own.items()}
    return losses, metrics
