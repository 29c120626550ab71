"""The parts of a model, made as the sections `model` and `circuit` name them."""

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hybrid_opt.backends import check_name
from hybrid_opt.backends.noise import noise_of
from hybrid_opt.circuits.ansatz.registry import ANSATZE
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.cells import CELLS
from worldmodel.model.config import ModelConfig
from worldmodel.model.fronts import FRONTS
from worldmodel.model.heads import HEADS
from worldmodel.model.memories import MEMORIES
from worldmodel.model.routers import ROUTERS

if TYPE_CHECKING:
    from worldmodel.model.size import ModelSize

BORN = ("circuit", "product")  # routers with probabilities to read


@dataclass(frozen=True)
class Factory:
    """Makes parts by their places. A part gets the run's circuit and the options that its `__init__` takes."""

    model: ModelConfig = field(default_factory=ModelConfig)
    circuit: CircuitConfig = field(default_factory=CircuitConfig)

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each part by its place."""
        model = self.model
        kinds = {"cell": model.cell, **{f"heads.{place}": kind for place, kind in asdict(model.heads).items()}}
        if model.router != "none":
            kinds["heads.prior"] = f"router {model.router} of {model.experts} experts {model.expert}"
        kinds["memory"] = model.memory
        return kinds

    @property
    def context(self) -> int:
        """Numbers of a context, which heads see beside the model state."""
        return self.model.memory_options.values if self.model.memory != "none" else 0

    @property
    def remembered(self) -> int:
        """Numbers that the replay stores of each step for the memory."""
        options = self.model.memory_options
        return options.amplitudes + options.values if self.model.memory != "none" else 0

    def check(self) -> None:
        """Raise ProblemError, with the key, where a part is not known or does not go with another."""
        model = self.model
        if model.agent == "control" and self.kinds != (usual := Factory().kinds):
            place = next(place for place, kind in self.kinds.items() if kind != usual[place])
            name = "router" if model.router != "none" and place == "heads.prior" else place
            raise ProblemError(
                f"model.{name}: belongs to model.agent=dreamer, and model.agent=control has no such part"
            )
        CELLS.find(model.cell, "model.cell")
        for place in asdict(model.heads):
            self._head(place)
        FRONTS.find(model.front, "model.front")
        ENCODINGS.find(self.circuit.encoding, "circuit.encoding")
        ANSATZE.find(self.circuit.ansatz, "circuit.ansatz")
        noise_of(self.circuit.noise, "circuit.noise")
        try:
            check_name(self.circuit.backend)
        except ProblemError as error:  # it begins with backend=
            raise ProblemError(f"circuit.{error}") from error
        HEADS.find(model.expert, "model.expert")
        MEMORIES.find(model.memory, "model.memory")
        model.memory_options.check()
        if model.router == "none":
            return
        if self._is_router(model.router):
            ROUTERS.find(model.router, "model.router")
        else:
            self._head_router()
        if model.heads.prior != "mlp":
            raise ProblemError(
                f"model.heads.prior={model.heads.prior}: mlp is accepted with model.router={model.router}, whose "
                "experts are of model.expert"
            )

    def cell(self, size: "ModelSize", action: int) -> Any:
        """Make the recurrent cell, a `Cell`."""
        return self._made(CELLS.find(self.model.cell, "model.cell"), size, action, **vars(self.model.cell_options))

    def memory(self, feature: int, embed: int) -> Any:
        """Make the episodic memory, a `Memory`. feature, embed: widths of model states and embedded observations."""
        kind = MEMORIES.find(self.model.memory, "model.memory")
        return self._made(kind, feature, embed, options=self.model.memory_options)

    def head(self, place: str, inputs: int, units: int, layers: int, outputs: int, scale: float = 1.0) -> Any:
        """Make the `Head` of a place: actor, critic, reward, continuation or prior."""
        return self._made(self._head(place), inputs, units, layers, outputs, scale)

    def prior(self, size: "ModelSize") -> Any:
        """Make the `Head` of the latents' prior, or the mixture of experts in its place."""
        model, outputs = self.model, size.stoch * size.classes
        if model.router == "none":
            return self.head("prior", size.deter, size.hidden, 2, outputs)
        from worldmodel.model.mixture import Mixture

        kind, units = HEADS.find(model.expert, "model.expert"), -(-size.hidden // 2)
        experts = [self._made(kind, size.deter, units, 2, outputs) for _ in range(model.experts)]
        return Mixture(self.router(size.deter, size.hidden), experts, size.classes, model.router_options.balance)

    def router(self, inputs: int, units: int) -> Any:
        """Make the `Router`. units: the width of its hidden layer if it is an MLP."""
        name, experts = self.model.router, self.model.experts
        if self._is_router(name):
            return self._made(ROUTERS.find(name, "model.router"), inputs, experts)
        head = self._head_router()
        if self.model.router_options.readout == "probabilities":
            from worldmodel.model.routers.base.born import BornRouter

            circuit = replace(self.circuit, entangle="none") if name == "product" else self.circuit
            return BornRouter(inputs, experts, circuit, self._front())
        from worldmodel.model.routers.base.headed import HeadRouter

        return HeadRouter(self._made(head, inputs, units, 1, experts))

    @staticmethod
    def _is_router(name: str) -> bool:
        """Whether a name is that of a router's class, and not that of a head which becomes one."""
        return name in ROUTERS or ":" in name

    def _head_router(self) -> Any:
        """The kind of head that a router is of. Raises ProblemError where it is none, or has no probabilities."""
        name, experts, qubits = self.model.router, self.model.experts, self.circuit.qubits
        head = HEADS.find(name, "model.router", beside=("none", *ROUTERS))
        if self.model.router_options.readout == "probabilities":
            if name not in BORN:
                raise ProblemError(
                    f"model.router_options.readout=probabilities: softmax is accepted with model.router={name}; "
                    f"{' and '.join(BORN)} have probabilities"
                )
            if experts & (experts - 1) or experts > 1 << qubits:
                raise ProblemError(
                    f"model.experts={experts}: a power of two up to 2^circuit.qubits={1 << qubits} is accepted with "
                    "model.router_options.readout=probabilities"
                )
        return head

    def _head(self, place: str) -> Any:
        return HEADS.find(getattr(self.model.heads, place), f"model.heads.{place}")

    def _front(self) -> Callable[[int, int], Any]:
        return partial(FRONTS.find(self.model.front, "model.front"), options=self.model.front_options)

    def _made(self, kind: Callable[..., Any], *args: Any, **options: Any) -> Any:
        known = inspect.signature(kind).parameters
        offered = {"circuit": self.circuit, "front": self._front(), **options}
        return kind(*args, **{name: value for name, value in offered.items() if name in known})


DEFAULT = Factory()
