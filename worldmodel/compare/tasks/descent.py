"""A training of a small task: steps, gradient-equivalents, processor time and held-out losses."""

import time
from typing import Self

import numpy as np
import torch

from hybrid_opt.direction.adapter import adapted
from worldmodel.compare.tasks.losses import Task

LAST = 3  # held-out losses whose mean counts


class Descent:
    """Trains a task with an optimiser, whose held-out loss is noted every so many steps.

    equivalents: gradients of a batch; three losses count as one gradient, those of a sub-batch by their share. seconds:
    of this process's processor time, evaluations left out. curve: (equivalents, seconds, held-out loss) so far.
    """

    def __init__(self, task: Task, seed: int, optimizer: torch.optim.Optimizer) -> None:
        self.task, self.optimizer, self._adapter = task, optimizer, adapted(optimizer)
        self.equivalents, self.seconds, self.steps = 0.0, 0.0, 0
        self.curve: list[tuple[float, float, float]] = []
        self._rng, self._noise = np.random.default_rng((seed, 1)), torch.Generator().manual_seed(seed)

    def step(self) -> None:
        """Make one step on a new batch."""
        batch = self.task.batch(self._rng)
        some = self.task.some(batch)
        begin = time.process_time()  # of this process: other work on the machine does not count
        self.optimizer.zero_grad()
        self.task.loss(self.task.parameters, batch, self._noise).backward()
        self.steps += 1
        self._adapter.step(some)
        self.equivalents = self.steps + self._adapter.equivalents * self.task.share
        self.seconds += time.process_time() - begin

    def metrics(self) -> dict[str, float]:
        """Updates, seconds, and what the optimiser adds."""
        return {"updates": float(self.steps), "time/seconds": self.seconds, **self._adapter.metrics()}

    def until(self, equivalents: float, seconds: float = 0.0, every: int = 20) -> Self:
        """Train until both are spent."""
        while self.equivalents < equivalents or self.seconds < seconds:
            self.step()
            if self.steps % every == 0:
                self.note()
        return self

    def note(self) -> float:
        """Note the held-out loss; returns it."""
        self.curve.append((self.equivalents, self.seconds, self.task.test()))
        return self.curve[-1][2]

    def at(self, column: int, value: float) -> float:
        """The mean of the last three losses noted by then: column 0, so many equivalents, or 1, so many seconds."""
        rows = [row[2] for row in self.curve if row[column] <= value]
        return float(np.mean(rows[-LAST:])) if rows else float("nan")
