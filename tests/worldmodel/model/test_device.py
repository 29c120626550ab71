"""The update on a device that is not the host's, by shapes alone: on the meta device, without a GPU.

A CUDA graph holds no copy between devices, and nothing in it may wait for a number or bring one from the host.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from hybrid_opt.layers.config import CircuitConfig
from tests.worldmodel.model.agents import COMPONENTS, CONTINUOUS, DISCRETE, KEYS, VECTOR, make_agent, make_windows
from tests.worldmodel.model.control.test_agent import control_agent
from worldmodel.envs import ActionSpec, ObservationSpec
from worldmodel.model import layers
from worldmodel.model.config import HeadsConfig, ModelConfig
from worldmodel.model.factory import Factory
from worldmodel.model.returns import lambda_return

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "repeat_interleave.Tensor")


class OneDevice(TorchDispatchMode):
    """Refuses operators that copy between devices, or whose result the host waits for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        # A scalar of the host may enter an operator as a number, but not be copied.
        assert len({t.device.type for t in tensors}) <= 1 or "copy" not in str(func), f"{func} between devices"
        assert not any(name in str(func) for name in WAITS), f"{func} waits for the device"
        return result


class NoConstants(TorchFunctionMode):
    """Refuses to make tensors of the host's numbers: they would be copied from memory that is not pinned."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy):
            assert args and isinstance(args[0], Tensor), f"{func.__name__}({args}) copies from the host"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiled pass, which is for the CPU."""
    monkeypatch.setattr(layers.NormAct, "passes", staticmethod(layers.norm_silu_operators))


def on_meta(value: Any, device: Any = "meta") -> Any:
    return pytree.tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, value)


def test_the_modes_see_the_faults_that_they_are_for() -> None:
    value = torch.zeros(3, device="meta")
    with pytest.raises(AssertionError, match="copies from the host"), NoConstants():
        torch.as_tensor(0.95, device=value.device)
    with pytest.raises(AssertionError, match="waits for the device"), OneDevice():
        torch.ones(3)[torch.ones(3) > 0].nonzero()


@pytest.mark.parametrize("mix", [0.95, torch.full((4, 2), 0.95, device="meta")])
def test_returns_bring_no_number_from_the_host(mix: float | Tensor) -> None:
    reward = torch.zeros(4, 2, device="meta")
    with OneDevice(), NoConstants():
        assert lambda_return(reward, reward, reward, mix).shape == (3, 2)


PARTS: dict[str, dict[str, Any]] = {
    "usual": {},
    "heads": {"heads": HeadsConfig(actor="circuit", critic="fourier", reward="frozen", prior="product")},
    "router": {"router": "circuit", "experts": 2, "expert": "circuit"},
    "cell": {"cell": "circuit"},
    "lstm": {"cell": "lstm", "router": "linear"},
}


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("action", [DISCRETE, COMPONENTS, CONTINUOUS], ids=["discrete", "components", "continuous"])
@pytest.mark.parametrize("specs", [VECTOR, KEYS], ids=["vector", "keys"])
def test_an_update_stays_on_the_device(
    specs: Mapping[str, ObservationSpec], action: ActionSpec, parts: str, as_on_cuda: None
) -> None:
    factory = Factory(ModelConfig(**PARTS[parts]), CircuitConfig(qubits=3, layers=1))
    agent = make_agent(specs, action, parts=factory)
    windows, agent = on_meta(make_windows(agent)), agent.to("meta")
    agent.losses(windows).total.backward()  # as before a capture: constants come to the device
    with OneDevice(), NoConstants():
        agent.losses(windows).total.backward()
        agent.actor_critic.update_slow_critic()
        observation = {key: value[0] for key, value in windows.observation.items()}
        agent.act(observation, windows.is_first[0], agent.initial(3))
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in agent.parameters() if p.requires_grad)


@pytest.mark.parametrize("action", [DISCRETE, COMPONENTS, CONTINUOUS], ids=["discrete", "components", "continuous"])
def test_an_update_of_the_agent_for_control_stays_on_the_device(action: ActionSpec, as_on_cuda: None) -> None:
    agent = control_agent(action)
    windows, agent = on_meta(make_windows(agent)), agent.to("meta")
    with OneDevice(), NoConstants():
        agent.losses(windows).total.backward()
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in agent.parameters() if p.requires_grad)
