"""What heads of angles share: a front, a circuit or what stands in its place, and a linear read-out."""

from functools import partial
from typing import Any

from torch import Tensor

from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.config import FrontOptions
from worldmodel.model.fronts.front import MakeFront
from worldmodel.model.fronts.linear import LinearFront
from worldmodel.model.heads.head import Head
from worldmodel.model.layers import Linear, Scale
from worldmodel.model.observer import Observer

CIRCUIT = CircuitConfig()
LINEAR: MakeFront = partial(LinearFront, options=FrontOptions())


class Angles(Observer):
    """A front, then a body: a circuit, or what stands in its place. [..., inputs] -> [..., body.outputs]."""

    def __init__(self, inputs: int, body: Any, front: MakeFront) -> None:
        """body: a module that has `inputs`, `outputs`, and the `encoding` that its inputs must suit."""
        super().__init__()
        self.front, self.body = front(inputs, body.inputs), body
        self.observes = self.front.observes

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y: Tensor = self.body(x if self.front.raw else self.body.encoding.fit(x))
        return y

    def freeze(self) -> None:
        """Leave front and body as they were drawn."""
        self.front.freeze()
        self.body.requires_grad_(False)

    def auxiliary(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.front.auxiliary(x)

    def refit(self, x: Tensor) -> None:
        self.front.refit(x)


class ReadoutHead(Head):
    """Angles, a learned scale of each expectation, and a linear map of them. Shapes: [..., inputs] -> [..., outputs].

    Without the scale, expectations in [-1, 1] would bound the outputs by the small initial weights of the map. Kinds of
    heads differ in their `body`, and in whether what comes before the scale is trained.
    """

    trained = True

    def __init__(
        self,
        inputs: int,
        units: int,
        layers: int,
        outputs: int,
        scale: float = 1.0,
        circuit: CircuitConfig = CIRCUIT,
        front: MakeFront = LINEAR,
    ) -> None:
        super().__init__()
        body = self.body(circuit)
        self.angles = Angles(inputs, body, front)
        self.gain, self.out = Scale(body.outputs), Linear(body.outputs, outputs, scale)
        if not self.trained:
            self.angles.freeze()
        self.observes = self.angles.observes

    @staticmethod
    def body(circuit: CircuitConfig) -> Any:
        """Make the body, a module that has `inputs`, `outputs`, and the `encoding` that its inputs must suit."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.gain(self.angles(x)))
        return y

    def auxiliary(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.angles.auxiliary(x)

    def refit(self, x: Tensor) -> None:
        self.angles.refit(x)
