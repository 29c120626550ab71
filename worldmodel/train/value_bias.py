"""Overestimation: values that an agent predicts where episodes start, against the discounted returns that follow."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldmodel.envs import Episode, Records
from worldmodel.envs.environments import Step


class ValueBias:
    """Watches an evaluation. A truncated episode goes on with the value of its last state but one.

    Shapes: N streams.
    """

    def __init__(self, value: Callable[[Any], NDArray[np.float32]], discount: float) -> None:
        """value: predicted values [N] of what the agent carries; discount: of a step of the agent."""
        self._value, self._discount = value, discount
        self._pairs: dict[int, list[tuple[float, float]]] = {}  # stream -> predicted and realised, of each episode
        self._start = self._return = self._weight = np.zeros(0)  # [N], of the running episodes

    def see(self, before: Records, memory: Any, step: Step) -> None:
        """Take a step of all streams in. before, memory: what the agent saw, and what it then carried."""
        first, ended = before.is_first, step.ended
        cut = ended.truncated & ~ended.terminated
        if not self._start.size:
            self._start, self._return, self._weight = (np.zeros(len(before)) for _ in range(3))
        value = self._value(memory) if first.any() or cut.any() else None
        if value is not None:
            self._start[first], self._return[first], self._weight[first] = value[first], 0.0, 1.0
        gained = step.current.reward.astype(np.float64)
        gained[ended.stream] = ended.reward
        if value is not None:
            gained[ended.stream[cut]] = value[ended.stream[cut]]
        self._return += self._weight * gained
        self._weight *= self._discount
        for stream in ended.stream.tolist():
            self._pairs.setdefault(stream, []).append((float(self._start[stream]), float(self._return[stream])))

    def metrics(self, played: Sequence[Episode]) -> dict[str, float]:
        """The mean value, and by how much it exceeds what was got, over the episodes that count."""
        counts = Counter(episode.stream for episode in played)
        pairs = np.array([pair for stream, count in counts.items() for pair in self._pairs[stream][:count]])
        predicted, realised = pairs.mean(0)
        return {"eval/value": float(predicted), "eval/value_bias": float(predicted - realised)}
