"""Time of one update of the default run with each part of the model, beside that with its MLP or block GRU.

    OMP_NUM_THREADS=1 python benchmarks/model_parts.py [actor critic reward router cell] [--repeats 5] [--json PATH]

An update is all that the trainer does with a batch: losses, gradients, clipping, optimiser and slow critic, on random
windows of CartPole's shapes. All models take turns, so that a slow phase of the machine meets all of them. The ratio is
that of the fastest updates. Parameters are those that an update trains.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.harness import Table, in_turn, parse, write
from worldmodel.cli.compose import configured
from worldmodel.envs import ActionSpec, ObservationSpec
from worldmodel.kernels import for_agent
from worldmodel.launch import hardware
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Windows
from worldmodel.train.config import TrainConfig
from worldmodel.train.hybrid import make_optimizer
from worldmodel.train.update import Update

KINDS = ("circuit", "product", "frozen", "fourier", "narrow")
CELLS = ("circuit", "product", "frozen", "fourier", "mlp", "lstm")
PLACES = {
    **{head: {f"model.heads.{head}": [*KINDS]} for head in ("actor", "critic", "reward")},
    "router": {"model.router": ["linear", "mlp", *KINDS]},
    "cell": {"model.cell": [*CELLS]},
}
OBSERVATIONS, ACTIONS = {"observation": ObservationSpec("vector", (4,))}, ActionSpec("discrete", (2,))


def windows(agent: Agent, steps: int, rows: int) -> Windows:
    """Random windows [T, B] in the middle of an episode."""
    random = torch.Generator().manual_seed(0)
    no = torch.zeros(steps, rows, dtype=torch.bool)
    action = F.one_hot(torch.randint(ACTIONS.width, (steps, rows), generator=random), ACTIONS.width).float()
    observation = {"observation": torch.randn(steps, rows, 4, generator=random)}
    return Windows(observation, action, torch.ones(steps, rows), no, no, no, agent.initial(rows), torch.ones(rows))


def update(words: list[str]) -> tuple[Callable[[], object], int, int]:
    """An update of the run that the words make, and how many parameters it trains: of the part, and of all."""
    config = configured("train", TrainConfig, words)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        agent = for_agent(Agent(OBSERVATIONS, ACTIONS, config.size, config.loss, config.behavior, config.parts))
    optimizer = make_optimizer(config.optimizer, agent, torch.float32, config.seed, True, dict)
    batch = windows(agent, config.batch_length, config.batch_size)
    made = Update(agent, optimizer, torch.float32, torch.Generator().manual_seed(0))
    return lambda: made(batch), trained(part(agent, words)), trained(agent)


def part(agent: Agent, words: list[str]) -> nn.Module:
    """The module that the words choose; the whole agent if they choose none."""
    model, behavior = agent.world_model, agent.actor_critic
    places: dict[str, nn.Module] = {"actor": behavior.actor, "critic": behavior.critic, "reward": model.reward}
    places |= {"router": model.rssm.prior_net, "cell": model.rssm.cell}
    name = words[0].partition("=")[0].rpartition(".")[2] if words else ""
    return places.get(name, agent)


def trained(module: nn.Module) -> int:
    """How many parameters of a module are trained."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def main() -> None:
    """Time the updates in turn and print the table."""
    options = parse(__doc__, PLACES, label="PLACE", repeats=5, overrides=True)
    hardware.set_threads(1)
    hardware.keep_freed_memory()
    cases = {"default": update([*options.overrides])}
    for place in options.parts:
        for key, kinds in PLACES[place].items():
            for kind in kinds:
                cases[f"{place}={kind}"] = update([f"{key}={kind}", *options.overrides])
        if place == "cell":
            for kind in CELLS[:1]:
                words = [f"model.cell={kind}", "model.cell_options.base=gru", *options.overrides]
                cases[f"cell={kind}, base=gru"] = update(words)
    in_turn({name: case for name, (case, _, _) in cases.items()}, 2)  # compile
    times = in_turn({name: case for name, (case, _, _) in cases.items()}, options.repeats)
    fastest = {name: 1e3 * found[:, 1].min() for name, found in times.items()}
    table = Table("one update", "ms:>9.1f", "ratio:>7.2f", "part:>9,", "agent:>9,", label="parameters", width=26)
    figures = {}
    for name, (_, own, whole) in cases.items():
        ratio = fastest[name] / fastest["default"]
        table.row(name, fastest[name], ratio, own, whole)
        figures[name] = {"ms": fastest[name], "ratio": ratio, "part": own, "agent": whole}
    write(options, figures)


if __name__ == "__main__":
    main()
