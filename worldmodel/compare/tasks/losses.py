"""Small trainings on fixed data: an MLP on digits, a transformer on a text, and world models on recorded steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from worldmodel.cli.compose import UsageError
from worldmodel.compare.tasks.objectives import check_installed

Loss = Callable[[Mapping[str, Tensor], Any, torch.Generator], Tensor]


@dataclass
class Task:
    """A model, its loss, batches drawn by a generator, and the held-out loss.

    some: the sub-batch of a batch on which HybridOptimizer models the loss; share: how large it is, of a batch.
    measure: what is told of the held-out data instead of their loss.
    """

    model: nn.Module
    loss: Loss
    batch: Callable[[np.random.Generator], Any]
    some: Callable[[Any], Any]
    share: float
    held_out: Any
    measure: Loss | None = None

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def test(self) -> float:
        """The held-out loss, with fixed random numbers."""
        with torch.no_grad():
            return float((self.measure or self.loss)(self.parameters, self.held_out, torch.Generator().manual_seed(0)))


def digits(seed: int) -> Task:
    """Classification of scikit-learn's digits (1,797 images of 8 x 8) by an MLP of 64-64-64-10."""
    check_installed("digits")
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))  # one split for all seeds
    x, y = x[order], y[order]
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def loss(parameters: Mapping[str, Tensor], batch: Any, generator: torch.Generator) -> Tensor:
        return F.cross_entropy(functional_call(model, dict(parameters), (batch[0],)), batch[1])

    def batch(rng: np.random.Generator) -> Any:
        rows = torch.from_numpy(rng.integers(1400, size=64))
        return x[rows], y[rows]

    return Task(model, loss, batch, lambda b: (b[0][:32], b[1][:32]), 0.5, (x[1400:], y[1400:]))


class Transformer(nn.Module):
    """Two layers of width 32 with 2 heads over 32 characters."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(characters, 32), nn.Parameter(0.02 * torch.randn(32, 32))
        layers = [nn.TransformerEncoderLayer(32, 2, 64, 0.0, batch_first=True, norm_first=True) for _ in range(2)]
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(32, characters)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(32))

    def forward(self, text: Tensor) -> Tensor:
        x = self.embedding(text) + self.position
        for layer in self.layers:
            x = layer(x, src_mask=self.mask)
        logits: Tensor = self.head(x)
        return logits


def transformer(seed: int) -> Task:
    """The next character of the licence's text by a transformer; the last fifth of the text is held out."""
    text = _licence()
    letters = sorted(set(text))
    codes = torch.tensor([letters.index(letter) for letter in text])
    cut = len(codes) * 4 // 5
    torch.manual_seed(seed)
    model = Transformer(len(letters))

    def loss(parameters: Mapping[str, Tensor], batch: Tensor, generator: torch.Generator) -> Tensor:
        logits = functional_call(model, dict(parameters), (batch[:, :-1],))
        return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())

    def pieces(starts: Any) -> Tensor:
        return torch.stack([codes[start : start + 33] for start in starts])

    held = pieces(range(cut, len(codes) - 33, 33))
    return Task(model, loss, lambda rng: pieces(rng.integers(cut - 33, size=16)), lambda b: b[:8], 0.5, held)


def _licence() -> str:
    """The text of this project's licence, from the checkout or the installed package."""
    file = Path(__file__).parents[3] / "LICENSE"
    if file.exists():
        return file.read_text(encoding="utf-8")
    text = distribution("worldmodel").read_text("licenses/LICENSE")
    if text is None:
        raise UsageError("task=transformer: the installed package has no licenses/LICENSE, whose text is learned")
    return text


@cache
def _recorded(name: str) -> Any:
    """6,000 steps of random actions as a batch of windows of 16 steps."""
    from worldmodel.envs import EnvConfig, Environments
    from worldmodel.model.batch import Carry, State, Windows

    environments = Environments(EnvConfig(id=name, num=1), 1, 0)
    environments.reset()
    rng, width = np.random.default_rng(0), environments.action_spec.width
    rows: list[tuple[Any, ...]] = []
    while len(rows) < 6000:
        now = environments.current
        action = rng.uniform(-1, 1, (1, width)).astype(np.float32)
        if environments.action_spec.kind == "discrete":
            action = np.eye(width, dtype=np.float32)[rng.integers(width, size=1)]
        rows.append(({k: v[0] for k, v in now.observation.items()}, action[0], now.reward[0], now.is_first[0],
                     now.terminated[0], now.truncated[0]))  # fmt: skip
        ended = environments.step(action).ended
        if len(ended):
            rows.append(({k: v[0] for k, v in ended.observation.items()}, 0 * action[0], ended.reward[0],
                         ended.is_first[0], ended.terminated[0], ended.truncated[0]))  # fmt: skip
    specs = environments.observation_specs, environments.action_spec
    environments.close()
    count = len(rows) // 16

    def stacked(values: list[Any]) -> Tensor:
        array = torch.from_numpy(np.stack(values[: 16 * count]))
        return array.view(count, 16, *array.shape[1:]).transpose(0, 1)

    columns = list(zip(*rows, strict=True))
    observation = {key: stacked([row[key] for row in columns[0]]) for key in columns[0][0]}
    actions, reward, is_first, terminated, truncated = (stacked(list(column)) for column in columns[1:])
    nothing = Carry(State(torch.zeros(count, 1), torch.zeros(count, 1, 1)), torch.zeros(count, width))
    ends = is_first, terminated, truncated
    return specs, Windows(observation, actions.float(), reward.float(), *ends, nothing, torch.ones(count))


def world_model(name: str) -> Callable[[int], Task]:
    """The loss of a world model (deter 128) on windows of 16 recorded steps."""

    def make(seed: int) -> Task:
        from worldmodel.cli.compose import configured
        from worldmodel.kernels import for_agent
        from worldmodel.model.agent import Agent
        from worldmodel.model.batch import Carry
        from worldmodel.train.config import TrainConfig
        from worldmodel.train.hybrid import WORLD_MODEL, model_loss, some

        config = configured("train", TrainConfig, ["size.deter=128", "size.hidden=32", "size.units=32"])
        (observations, actions), data = _recorded(name)
        torch.manual_seed(seed)
        agent = for_agent(Agent(observations, actions, config.size, config.loss, config.behavior))
        for parameter_name, parameter in agent.named_parameters():
            parameter.requires_grad_(parameter_name.startswith(WORLD_MODEL))
        count = len(data.weight)
        data = data._replace(before=agent.initial(count))
        parts = {key: value for key, value in data._asdict().items() if isinstance(value, Tensor) and value.ndim > 1}

        def rows(keep: Tensor) -> Any:
            return data._replace(
                **{key: value[:, keep] for key, value in parts.items()},
                observation={key: value[:, keep] for key, value in data.observation.items()},
                before=Carry(type(data.before.state)(*(s[keep] for s in data.before.state)), data.before.action[keep]),
                weight=data.weight[keep],
            )

        def batch(rng: np.random.Generator) -> Any:
            return rows(torch.from_numpy(rng.integers(count - 64, size=16)))

        loss = model_loss(agent, torch.float32, 10**6)
        return Task(agent, loss, batch, lambda b: some(b, 4), 0.25, rows(torch.arange(count - 64, count)))

    return make


TASKS: dict[str, Callable[[int], Task]] = {
    "digits": digits,
    "transformer": transformer,
    "cartpole": world_model("CartPole-v1"),
    "pendulum": world_model("Pendulum-v1"),
}
