"""Which parts a model is made of."""

from dataclasses import asdict, field
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from worldmodel.model.cells import CELLS
from worldmodel.model.heads import HEADS

_strict = ConfigDict(extra="forbid", frozen=True)


@dataclass(config=_strict)
class HeadsConfig:
    """The kind of each head; see `worldmodel/model/heads`."""

    actor: str = "mlp"
    critic: str = "mlp"
    reward: str = "mlp"
    continuation: str = "mlp"
    prior: str = "mlp"


@dataclass(config=_strict)
class ModelConfig:
    """The parts of the model, each by its name or as `module:Class`."""

    cell: str = "gru"
    heads: HeadsConfig = field(default_factory=HeadsConfig)

    def check(self) -> None:
        """Raise ProblemError, with the key, where a part is not known."""
        CELLS.find(self.cell, "model.cell")
        for name in asdict(self.heads):
            self.head(name)

    def head(self, name: str) -> Any:
        """Return the class of the head of this name."""
        return HEADS.find(getattr(self.heads, name), f"model.heads.{name}")


DEFAULT = ModelConfig()
