"""The captured update without a GPU: what a CUDA graph would hold is recorded from operators, and replayed.

As on CUDA, a replay runs the recorded operators on the memory that they had, and no Python of ours: what is not in it,
or stands at a number of the first batch, makes the weights differ from those of eager updates.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from hybrid_opt.layers import engine
from hybrid_opt.layers.config import CircuitConfig
from tests.worldmodel.model.agents import (
    COMPONENTS,
    CONTINUOUS,
    DISCRETE,
    KEYS,
    VECTOR,
    by_operators,
    generator,
    make_agent,
    make_windows,
)
from tests.worldmodel.model.control.test_agent import control_agent
from worldmodel.model import layers
from worldmodel.model.config import HeadsConfig, ModelConfig
from worldmodel.model.factory import Factory
from worldmodel.train.laprop import LaProp
from worldmodel.train.update import Update


class Recording(TorchDispatchMode):
    """Stands in for torch.cuda.CUDAGraph: keeps each operator with its tensors, and runs them again."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def register_generator_state(self, generator: torch.Generator) -> None:
        """Replays draw on from the state of a registered generator, as the recorded operators do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "_local_scalar_dense" not in str(func), "asks for a number while it is captured"
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            pairs = zip(pytree.tree_leaves(result), pytree.tree_leaves(func(*args, **kwargs)), strict=True)
            for old, new in pairs:
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.detach().copy_(new)  # into the memory that later operators read


@contextmanager
def recorded(graph: Recording) -> Iterator[None]:
    with graph:
        yield


def one_hot(x: Tensor, classes: int) -> Tensor:
    """PyTorch's own on CUDA, where it does not look whether the numbers fit."""
    return x.new_zeros(*x.shape, classes).scatter_(-1, x.unsqueeze(-1), 1)


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Update's own code of capture, on the CPU; as on CUDA it has no compiled loops and passes."""

    class Stream:
        def wait_stream(self, other: Any) -> None: ...

    for name, stand_in in (("CUDAGraph", Recording), ("graph", recorded), ("Stream", Stream)):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(layers.NormAct, "passes", staticmethod(layers.norm_silu_operators))
    monkeypatch.setattr(engine, "_suits", lambda *given: False)
    monkeypatch.setattr(torch.nn.functional, "one_hot", one_hot)


def with_parts(**parts: Any) -> Any:
    heads = HeadsConfig(**parts.pop("heads", {}))
    return make_agent(VECTOR, parts=Factory(ModelConfig(heads=heads, **parts), CircuitConfig(qubits=3, layers=1)))


AGENTS: dict[str, Callable[[], Any]] = {
    "vector": lambda: make_agent(VECTOR, DISCRETE),
    "keys": lambda: make_agent(KEYS, COMPONENTS, entropy=3e-3),
    "continuous": lambda: make_agent(VECTOR, CONTINUOUS),
    "heads": lambda: with_parts(heads={"actor": "circuit", "critic": "fourier", "prior": "product"}),
    "router": lambda: with_parts(router="circuit", experts=2),
    "lstm": lambda: with_parts(cell="lstm"),
    "cell": lambda: with_parts(cell="circuit"),
    "control": lambda: control_agent(CONTINUOUS),
    "control_discrete": lambda: control_agent(DISCRETE),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS)
def test_a_captured_update_is_an_eager_one(name: str, without_gpu: None) -> None:
    """Over five batches, with slow copies, return scales and random numbers moving on."""
    agents, updates = [], []
    for capture in (False, True):
        agent = AGENTS[name]()
        agents.append(agent if name.startswith("control") else by_operators(agent))
        optimizer = LaProp([p for p in agent.parameters() if p.requires_grad], lr=1e-3, warmup=0)
        updates.append(Update(agent, optimizer, torch.float32, generator(), capture))
    for number in range(5):
        eager, captured = (update(make_windows(agents[0], seed=number), number / 5) for update in updates)
        torch.testing.assert_close(captured, eager, rtol=1e-5, atol=1e-6)
    for (key, one), other in zip(agents[0].state_dict().items(), agents[1].state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")
    assert torch.equal(updates[0].generator.get_state(), updates[1].generator.get_state())


def test_the_recording_sees_a_number_of_the_first_batch(without_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that is put in: a loss that Python scales by what it saw while it was captured."""
    losses, calls = type(make_agent()).losses, []

    def scaled(self: Any, *args: Any) -> Any:
        calls.append(None)
        found = losses(self, *args)
        return found._replace(total=found.total * len(calls))

    monkeypatch.setattr(type(make_agent()), "losses", scaled)
    with pytest.raises(AssertionError, match="not close"):
        test_a_captured_update_is_an_eager_one("vector", without_gpu)
