"""Greedy evaluation on environments of its own, with fixed seeds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from envs import Environments, Episode
from worldmodel.atomic_file import atomic_file
from worldmodel.player import Player

SEED = 7_777_777  # evaluation episodes are the same for every run, whatever its seed


def evaluate(
    player: Player,
    environments: Environments,
    episodes: int,
    between: Callable[[], None] = lambda: None,
    record: Callable[[np.ndarray], None] | None = None,
) -> list[Episode]:
    """Play `episodes` episodes greedily; returns them in the order of stream and number.

    Every stream plays its share, so that short episodes are not favoured. `between` is called after each step and may
    raise to break off. `record` gets the frames of the first stream.
    """
    quota = [episodes // environments.num + (i < episodes % environments.num) for i in range(environments.num)]
    played: list[list[Episode]] = [[] for _ in quota]
    current = environments.reset()
    memory = player.initial(environments.num)
    while any(len(done) < share for done, share in zip(played, quota, strict=True)):
        if record is not None and len(played[0]) < quota[0]:
            record(environments.render()[0])
        memory = player.act(current.observation, current.is_first, memory, greedy=True)
        step = environments.step(player.action(memory))
        for episode in step.episodes:
            if len(played[episode.stream]) < quota[episode.stream]:
                played[episode.stream].append(episode)
        current = step.current
        between()
    return [episode for stream in played for episode in stream]


def write_evaluation(folder: Path, played: list[Episode], step: int, checkpoint: Path) -> dict[str, Any]:
    """Write evaluation.json; returns what is in it."""
    returns = np.array([episode.ret for episode in played])
    result = {
        "returns": returns.tolist(),
        "mean": float(returns.mean()),
        "std": float(returns.std()),
        "episodes": len(played),
        "step": step,
        "checkpoint": str(checkpoint.relative_to(folder)),
    }
    with atomic_file(folder / "evaluation.json") as file:
        file.write(json.dumps(result, indent=1).encode() + b"\n")
    return result
