"""Small agents and batches of windows for the tests."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from worldmodel.envs import ActionSpec, ObservationSpec
from worldmodel.kernels import for_agent
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Carry, Windows
from worldmodel.model.config import BehaviorConfig, LossConfig
from worldmodel.model.control.agent import ControlAgent
from worldmodel.model.factory import DEFAULT, Factory
from worldmodel.model.size import ModelSize

SIZE = ModelSize(deter=16, hidden=8, classes=4, units=20, depth=2, stoch=3, blocks=4)
LOSS = {
    "reconstruction": 1.0,
    "vectors": 1.0,
    "reward": 1.0,
    "continuation": 1.0,
    "dynamics": 1.0,
    "representation": 0.1,
    "free_nats": 1.0,
}
BEHAVIOR = {
    "horizon": 3,
    "discount_horizon": 333.0,
    "return_lambda": 0.95,
    "entropy": 3e-4,
    "final_entropy": 3e-4,
    "center_advantages": False,
    "replay_value": 0.3,
    "slow_rate": 0.02,
    "slow_regularizer": 1.0,
    "return_rate": 0.01,
}
VECTOR = {"observation": ObservationSpec("vector", (3,))}
KEYS = {
    "state/position": ObservationSpec("vector", (2,)),
    "image": ObservationSpec("image", (16, 32, 3)),
    "state/place": ObservationSpec("categorical", (2,), (3, 5)),
    "map": ObservationSpec("image", (16, 16, 1)),
}
DISCRETE = ActionSpec("discrete", (4,))
COMPONENTS = ActionSpec("discrete", (3, 2))
CONTINUOUS = ActionSpec("continuous", (1, 1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_agent(
    observations: Mapping[str, ObservationSpec] = VECTOR,
    action: ActionSpec = DISCRETE,
    seed: int = 0,
    parts: Factory = DEFAULT,
    **options: Any,
) -> Agent:
    """An agent with weights drawn from `seed`; options are keys of the loss or the behaviour."""
    loss = LossConfig(**LOSS | {key: options.pop(key) for key in set(options) & set(LOSS)})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return for_agent(Agent(observations, action, SIZE, loss, BehaviorConfig(**BEHAVIOR | options), parts))


def by_operators(agent: Agent) -> Agent:
    """The same agent without its compiled kernels."""
    agent.kernels = agent.world_model.rssm.loops = None
    return agent


def observations(
    specs: Mapping[str, ObservationSpec], shape: tuple[int, ...], generator: torch.Generator
) -> dict[str, Tensor]:
    """Random observations of keys [*shape, ...]."""
    result = {}
    for key, spec in specs.items():
        if spec.kind == "vector":
            result[key] = 2 * torch.randn(*shape, *spec.shape, generator=generator)
        elif spec.kind == "image":
            result[key] = torch.randint(256, (*shape, *spec.shape), generator=generator, dtype=torch.uint8)
        else:
            entries = [torch.randint(n, shape, generator=generator, dtype=torch.int32) for n in spec.classes]
            result[key] = torch.stack(entries, -1)
    return result


def actions(spec: ActionSpec, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random actions [*shape, A]."""
    if spec.kind == "continuous":
        return 2 * torch.rand(*shape, spec.width, generator=generator) - 1
    parts = [torch.randint(n, shape, generator=generator) for n in spec.sizes]
    hot = [torch.nn.functional.one_hot(part, n) for part, n in zip(parts, spec.sizes, strict=True)]
    return torch.cat(hot, -1).float()


def make_windows(
    agent: Agent | ControlAgent, steps: int = 5, batch: int = 3, seed: int = 0, **fields: Tensor
) -> Windows:
    """Random windows [T, B] in the middle of an episode; `fields` replace what is given.

    A memory is empty before them, and every step takes a slot of its own.
    """
    random = generator(seed)
    shape = (steps, batch)
    nothing = torch.zeros(shape, dtype=torch.bool)
    codes = -1 - torch.arange(steps, dtype=torch.int16).unsqueeze(-1).expand(shape)
    windows = Windows(
        observations(agent.observations, shape, random),
        actions(agent.action, shape, random),
        torch.randn(shape, generator=random),
        nothing,
        nothing,
        nothing,
        Carry(agent.initial(batch).state, actions(agent.action, (batch,), random)),
        torch.ones(batch),
        codes,
    )
    return windows._replace(**fields)  # type: ignore[arg-type]


def flag(*where: tuple[int, int], steps: int, batch: int = 1) -> Tensor:
    """Flags [steps, batch] that are set somewhere."""
    flags = torch.zeros(steps, batch, dtype=torch.bool)
    for index in where:
        flags[index] = True
    return flags
