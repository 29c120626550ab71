"""The parts of a model, made as the sections `model` and `circuit` name them."""

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.cells import CELLS
from worldmodel.model.config import ModelConfig
from worldmodel.model.heads import HEADS

if TYPE_CHECKING:
    from worldmodel.model.size import ModelSize


@dataclass(frozen=True)
class Factory:
    """Makes parts by their places. A part gets the run's circuit and the options that its `__init__` takes."""

    model: ModelConfig = field(default_factory=ModelConfig)
    circuit: CircuitConfig = field(default_factory=CircuitConfig)

    def check(self) -> None:
        """Raise ProblemError, with the key, where a part is not known."""
        CELLS.find(self.model.cell, "model.cell")
        for place in asdict(self.model.heads):
            self._head(place)

    def cell(self, size: "ModelSize", action: int) -> Any:
        """Make the recurrent cell, a `Cell`."""
        return self._made(CELLS.find(self.model.cell, "model.cell"), size, action, **vars(self.model.cell_options))

    def head(self, place: str, inputs: int, units: int, layers: int, outputs: int, scale: float = 1.0) -> Any:
        """Make the `Head` of a place: actor, critic, reward, continuation or prior."""
        return self._made(self._head(place), inputs, units, layers, outputs, scale)

    def _head(self, place: str) -> Any:
        return HEADS.find(getattr(self.model.heads, place), f"model.heads.{place}")

    def _made(self, kind: Callable[..., Any], *args: Any, **options: Any) -> Any:
        offered = {"circuit": self.circuit, **options}
        known = inspect.signature(kind).parameters
        return kind(*args, **{name: value for name, value in offered.items() if name in known})


DEFAULT = Factory()
