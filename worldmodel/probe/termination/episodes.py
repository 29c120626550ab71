"""States of episodes played now, and how many steps were left from each."""

from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from worldmodel.envs import ActionSpec, Environments, ObservationSpec
from worldmodel.model.player import Player

Floats = NDArray[np.float64]
ENDLESS = 20  # steps for each state that is wanted, after which no more are played


def labelled(
    environments: Environments, player: Player | None, count: int, within: int, seed: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """Play until `count` states of ended episodes are there, [N, d], and whether each ended within so many steps.

    player: None plays at random. An episode that was cut off by a time limit did not end: none of its states counts as
    positive, and the last `within` of them, of which nobody knows, are left out.
    """
    rows: list[Floats] = []
    labels: list[NDArray[np.bool_]] = []
    running: list[list[Floats]] = [[] for _ in range(environments.num)]
    rng, total = np.random.default_rng(seed), 0
    with closing(environments):
        current = environments.reset()
        memory = None if player is None else player.initial(environments.num)
        for _ in range(ENDLESS * count):
            if total >= count:
                break
            for stream, row in enumerate(_flat(current.observation, environments.observation_specs)):
                running[stream].append(row)
            if player is None or memory is None:
                action = _random(environments.action_spec, environments.num, rng)
            else:
                memory = player.act(current.observation, current.is_first, memory, greedy=True)
                action = player.action(memory)
            step = environments.step(action)
            for stream, terminated in zip(step.ended.stream.tolist(), step.ended.terminated.tolist(), strict=True):
                states, running[stream] = np.stack(running[stream]), []
                left = np.arange(len(states), 0, -1)
                kept = np.ones(len(left), bool) if terminated else left > within
                rows.append(states[kept])
                labels.append((left <= within)[kept])
                total += int(kept.sum())
            current = step.current
    if not rows:
        return np.empty((0, 1)), np.empty(0, bool)
    return np.concatenate(rows), np.concatenate(labels)


def _flat(observation: dict[str, NDArray[np.generic]], specs: dict[str, ObservationSpec]) -> Floats:
    """Vectors and one-hots side by side, [E, d]."""
    parts = []
    for key, spec in specs.items():
        if spec.kind == "categorical":
            parts += [np.eye(n)[observation[key][:, i].astype(int)] for i, n in enumerate(spec.classes)]
        else:
            parts.append(observation[key].astype(np.float64))
    return np.concatenate(parts, 1)


def _random(spec: ActionSpec, rows: int, rng: np.random.Generator) -> NDArray[np.float32]:
    if spec.kind == "continuous":
        return rng.uniform(-1, 1, (rows, spec.width)).astype(np.float32)
    parts = [np.eye(size, dtype=np.float32)[rng.integers(size, size=rows)] for size in spec.sizes]
    return np.concatenate(parts, 1)
