"""The same agents on a CUDA device. Without one `test_capture.py` and `model/test_device.py` stand in."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hybrid_opt import CircuitLayer
from tests.worldmodel.model.agents import by_operators, generator, make_windows
from tests.worldmodel.model.test_device import on_meta
from tests.worldmodel.train.runs import rows, train
from tests.worldmodel.train.test_capture import AGENTS
from worldmodel.train.laprop import LaProp
from worldmodel.train.update import Update

CUDA = torch.device("cuda")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
]


def on_cuda(value: Any) -> Any:
    return on_meta(value, CUDA)


@pytest.mark.parametrize("name", AGENTS)
def test_captured_updates_are_eager_ones(name: str) -> None:
    agents, updates = [], []
    for capture in (False, True):
        agents.append(AGENTS[name]().to(CUDA))
        optimizer = LaProp([p for p in agents[-1].parameters() if p.requires_grad], lr=1e-3, warmup=0)
        random = torch.Generator(CUDA)
        random.manual_seed(0)
        updates.append(Update(agents[-1], optimizer, torch.float32, random, capture))
    for number in range(5):
        windows = make_windows(AGENTS[name](), seed=number)
        eager, captured = (update(on_cuda(windows), number / 5) for update in updates)
        torch.testing.assert_close(captured, eager, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", AGENTS)
def test_the_model_loss_is_that_of_the_processor(name: str) -> None:
    """On average: each device draws latents of its own."""
    agent = AGENTS[name]()
    agent = agent if name.startswith("control") else by_operators(agent)
    windows = make_windows(agent, steps=2, batch=64)
    expected = agent.model_loss(windows, generator()).mean()
    found = agent.to(CUDA).model_loss(on_cuda(windows), torch.Generator(CUDA)).mean()
    torch.testing.assert_close(found.cpu(), expected, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("noise", [None, 0.02])
def test_circuits_on_both_devices(noise: float | None) -> None:
    layer = CircuitLayer(4, 4, qubits=4, layers=2, noise=noise)
    x = torch.randn(2048, 4, generator=generator())
    expected = layer(x)
    expected.square().mean().backward()
    assert layer.weights.grad is not None
    before, layer.weights.grad = layer.weights.grad.clone(), None
    layer.to(CUDA)
    found = layer(x.to(CUDA))
    found.square().mean().backward()
    if noise is None:
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.weights.grad.cpu(), before, rtol=1e-3, atol=1e-5)
    else:
        torch.testing.assert_close(found.mean(0).cpu(), expected.mean(0), rtol=0, atol=0.05)


@pytest.mark.parametrize("compile", [False, True])
def test_a_run_and_its_continuation(tmp_path: Path, compile: bool) -> None:
    words = ("device=cuda", f"compile={str(compile).lower()}", f"logdir={tmp_path / 'run'}", "eval.episodes=1")
    assert train(*words, "steps=100") == 0
    assert train(*words, "steps=160") == 0
    assert max(row["step"] for row in rows(tmp_path / "run")) == 160
