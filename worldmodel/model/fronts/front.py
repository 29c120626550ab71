"""What a front is. A kind of fronts is one file beside this one, `fronts/NAME.py`."""

from collections.abc import Callable

from torch import Tensor

from hybrid_opt.errors import ProblemError
from worldmodel.model.observer import Observer


class Front(Observer):
    """Brings a feature to the few numbers that an encoding takes. It is made by `Front(inputs, outputs, options)`.

    options: the run's `FrontOptions`.
    """

    raw = False  # whether its numbers enter as they are; else the encoding fits them into its range

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Let the task train nothing of it."""
        self.requires_grad_(False)


MakeFront = Callable[[int, int], Front]


def check_width(name: str, inputs: int, outputs: int) -> None:
    """Raise ProblemError where a front has fewer inputs than outputs."""
    if inputs < outputs:
        raise ProblemError(
            f"model.front={name}: takes {outputs} numbers for the circuit from {inputs}; linear is accepted"
        )
