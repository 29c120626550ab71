"""Greedy evaluation on environments of its own, with fixed seeds."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from worldmodel.envs import Environments, Episode, Records
from worldmodel.envs.environments import Step

EVERY = 30.0  # seconds between two lines about an evaluation
STREAMS = 10  # at most; fixed, since the episodes depend on it
SEED = 7_777_777  # evaluation episodes are the same for every run, whatever its seed


class Plays(Protocol):
    """What can be evaluated: a Player, or anything that acts like one."""

    def initial(self, rows: int) -> Any:
        """Memory at the start."""

    def act(
        self, observation: Mapping[str, NDArray[Any]], is_first: NDArray[np.bool_], memory: Any, greedy: bool
    ) -> Any:
        """See observations [N, ...] and choose actions; both are in the new memory."""

    def action(self, memory: Any) -> NDArray[np.float32]:
        """The chosen actions as an array, float32 [N, A]."""


def evaluate(
    player: Plays,
    environments: Environments,
    episodes: int,
    between: Callable[[], None] = lambda: None,
    record: Callable[[np.ndarray], None] | None = None,
    note: Callable[[str], None] = lambda _: None,
    see: Callable[[Records, Any, Step], None] = lambda *_: None,
) -> list[Episode]:
    """Play `episodes` episodes greedily; returns them in the order of stream and number.

    Every stream plays its share, so that short episodes are not favoured. `between` is called after each step and may
    raise to break off. `record` gets the frames of the first stream, `note` a line now and then. `see` gets
    what the agent saw, what it then carried, and what its actions brought.
    """
    quota = [episodes // environments.num + (i < episodes % environments.num) for i in range(environments.num)]
    played: list[list[Episode]] = [[] for _ in quota]
    current = environments.reset()
    memory = player.initial(environments.num)
    steps, told = 0, time.monotonic()
    while any(len(done) < share for done, share in zip(played, quota, strict=True)):
        if record is not None and len(played[0]) < quota[0]:
            record(environments.render()[0])
        memory = player.act(current.observation, current.is_first, memory, greedy=True)
        step = environments.step(player.action(memory))
        see(current, memory, step)
        for episode in step.episodes:
            if len(played[episode.stream]) < quota[episode.stream]:
                played[episode.stream].append(episode)
        current = step.current
        steps += 1
        if time.monotonic() - told >= EVERY:
            told = time.monotonic()
            done = sum(map(len, played))
            each = steps * environments.action_repeat
            note(f"evaluating: {done} of {episodes} episodes, {each} steps of each stream")
        between()
    return [episode for stream in played for episode in stream]
