"""Do explanations find what was planted, and are those of agents with re-drawn weights refused?

    python benchmarks/explain.py [--agents 5] [--states 100] [--json PATH]

Two of eight observations decide what an agent does and what a state is worth (`planted.py`). Found: both have the
largest contributions. Missed: the most that contributions miss of what they explain. Refused: explanations by
re-drawn weights, judged on the agent, do not pass deletion and insertion. Riemann: the largest difference from a plain
sum of 2,000 points at a tolerance of 1e-5, from the mean of the observations, relative to the largest contribution.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Option, Table, mean, parse, share, write
from benchmarks.planted import PLANTED, SIZE, observations, planted
from worldmodel.envs import Episode
from worldmodel.explain.explanation import GRADIENTS, OCCLUSION, Explanation, explain
from worldmodel.explain.gradients import gradients, integrated_gradients
from worldmodel.explain.states import Played, States
from worldmodel.explain.targets import Targets

EPISODES = 10  # in which the states stand for the tests' intervals


def played(targets: Targets, count: int, seed: int) -> Played:
    """States of the planted environment, and what the agent does in them."""
    rows = observations(count, torch.Generator().manual_seed(1000 + seed))
    deter = torch.zeros(count, SIZE.deter)
    with torch.no_grad():
        action = targets.chosen(rows, deter).float()
    episode = np.arange(count) * EPISODES // count
    states = States(rows, deter, action, np.zeros(count), episode, np.arange(count), [])
    return Played([Episode(0, count // EPISODES, 0.0)] * EPISODES, states, rows.mean(0))


def both_found(values: Tensor) -> list[bool]:
    """Whether the planted features have the largest contributions [N, 8], state by state."""
    wanted = torch.tensor(sorted(PLANTED))
    return [bool(torch.equal(row.abs().topk(len(PLANTED)).indices.sort().values, wanted)) for row in values]


def riemann(targets: Targets, found: Explanation, told: Played, points: int = 2000) -> float:
    """The largest difference of gradients from a sum over the middles of equal pieces."""
    states = told.states
    function = targets.function(found.target, states.kept, states.action)
    way, places = states.rows[:8] - told.mean, (torch.arange(points) + 0.5) / points
    rows = (told.mean + places[:, None, None] * way).flatten(0, 1)
    slopes = gradients(function, rows, torch.arange(8).repeat(points)).view(points, 8, -1)
    plain = slopes.double().mean(0) * way
    exact = integrated_gradients(function, states.rows[:8], told.mean, 1e-5).values
    return float((plain - exact).abs().max() / plain.abs().max())


def judged(seed: int, count: int) -> dict[str, Any]:
    """What the explanations of one agent are worth."""
    targets, inputs = planted(seed)
    told = played(targets, count, seed)
    found: dict[str, Any] = {}
    for each in explain(targets, inputs, told, 10, 10, lambda line: None):
        label = f"{each.target}, {each.baseline}, {each.method}"
        found[label] = {
            "found": both_found(each.values),
            "missed": each.missed,
            "holds": each.holds,
            "faults": each.faults,
            "refused": not each.control.better,
            "signed": each.correlations["all"]["signed"],
            "sizes": each.correlations["all"]["sizes"],
            "redrawn": [each.control.deletion.value, each.gains.deletion.value],
            "riemann": riemann(targets, each, told) if each.method == GRADIENTS and each.baseline == "mean" else None,
        }
    return found


def main() -> None:
    """Print a row for each explanation, over all agents."""
    given = parse(__doc__, agents=Option(5), states=Option(100))
    agents = [judged(seed, given.states) for seed in range(given.agents)]
    columns = ("found:>8.3f", "missed:>9.2%", "holds:>7", "refused:>9", "rank:>8.2f", "sizes:>8.2f", "riemann:>10.1e")
    table = Table(f"{given.agents} agents, {given.states} states of each", *columns, width=42)
    for label in agents[0]:
        own = [agent[label] for agent in agents]
        hits = share([hit for each in own for hit in each["found"]])["share"]
        whole = OCCLUSION not in label
        table.row(
            label,
            hits,
            max(each["missed"] for each in own) if whole else None,
            f"{sum(each['holds'] for each in own)}/{len(own)}",
            f"{sum(each['refused'] for each in own)}/{len(own)}",
            mean([each["signed"] for each in own])["mean"],
            mean([each["sizes"] for each in own])["mean"],
            None if own[0]["riemann"] is None else max(each["riemann"] for each in own),
        )
    write(given, agents)


if __name__ == "__main__":
    main()
