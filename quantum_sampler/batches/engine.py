"""What an engine gives, and how batches with known inclusion are made of it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from threading import Event
from typing import Any, NamedTuple, Protocol

import numpy as np

from quantum_sampler.batches.law import BatchLaw
from quantum_sampler.selector import Floats, Ids


class Reads(NamedTuple):
    """Batches of one law: members int64 [R, k], indices into its pool, without repeats in a row; R may be 0.

    inclusion: float64 [N], where the engine knows how likely each item is in one of its batches; else None.
    """

    members: Ids
    inclusion: Floats | None = None


class Draw(NamedTuple):
    """members int64 [batches, k], indices into the pool; inclusion float64 [N] of every item of the pool in each."""

    members: Ids
    inclusion: Floats


class Engine(Protocol):
    """Draws whole batches from pools."""

    def draw(self, laws: Sequence[BatchLaw], batches: int, rng: np.random.Generator, stop: Event) -> list[Reads]:
        """Reads of each law. Once `stop` is set it may end early, with the reads of the first laws only.

        batches: how many are wanted of each law; an engine that knows its inclusion draws no more than these.
        """
        ...

    def check(self, pool: int, size: int) -> None:
        """Raise OptionError where it cannot draw `size` of `pool` items."""
        ...

    def metrics(self) -> dict[str, float]:
        """Figures of what it has drawn so far."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What it has learned from the laws, if it does. Leaves are tensors or Python scalars."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from such a state."""
        ...

    def close(self) -> None:
        """Release what it has opened."""
        ...


class Local(ABC):
    """Base of the engines that run right here: nothing to check, to count or to release. They take law by law.

    reads: batches of one law, where it samples; sweeps: of each, where it anneals.
    """

    def __init__(self, reads: int = 256, sweeps: int = 16) -> None:
        self._count, self._sweeps = reads, sweeps

    @abstractmethod
    def reads(self, law: BatchLaw, batches: int, rng: np.random.Generator) -> Reads:
        """Reads of one law; see `Engine.draw`."""

    def draw(self, laws: Sequence[BatchLaw], batches: int, rng: np.random.Generator, stop: Event) -> list[Reads]:
        return [self.reads(law, batches, rng) for law in laws if not stop.is_set()]

    def check(self, pool: int, size: int) -> None:  # noqa: B027 - nothing to do
        """Any pool is accepted."""

    def metrics(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - nothing to do
        """Nothing is learned."""

    def close(self) -> None:  # noqa: B027 - nothing to do
        """Nothing to release."""


def drawn(law: BatchLaw, reads: Reads, batches: int, floor: float, rng: np.random.Generator) -> Draw:
    """Batches made of reads: with probability `floor` k of the N items uniformly, otherwise one of the reads.

    The inclusion is (1 - floor) x (the share of the reads that an item is in) + floor k / N. Given the reads, that is
    exact: a batch is one of them, each as likely as the others. So sum(g / inclusion) has the sum of g over the pool as
    its mean for any number of reads, and whatever law they follow; that they are few or follow another law shows in the
    variance only. (Estimated from the other reads alone, the inclusion would not be that of the draw, and biased.) An
    engine that knows its inclusion takes the place of the share. Batches of one call are different reads where there
    are enough. Without reads every batch is uniform.
    """
    size, pool = law.size, len(law)
    count = len(reads.members)
    share = floor if count else 1.0
    inclusion: Floats = np.full(pool, share * size / pool)
    if count:
        known = reads.inclusion
        if known is None:
            known = np.bincount(reads.members.ravel(), minlength=pool) / count
        inclusion += (1.0 - share) * known
    uniform = rng.random(batches) < share
    members = np.empty((batches, size), np.int64)
    places = np.flatnonzero(~uniform)
    if count:
        members[places] = reads.members[rng.choice(count, places.size, replace=count < places.size)]
    members[uniform] = subsets(pool, size, int(uniform.sum()), rng)
    return Draw(members, inclusion)


def subsets(pool: int, size: int, count: int, rng: np.random.Generator) -> Ids:
    """Uniform subsets of `size` of range(pool), int64 [count, size]."""
    return filled(np.zeros((count, pool)), size, rng)


def filled(bits: Floats, size: int, rng: np.random.Generator) -> Ids:
    """Members int64 [R, size] of the nearest sets of that size to bits [R, N], at random where there are several."""
    if size == bits.shape[1]:
        return np.tile(np.arange(size), (len(bits), 1))
    members: Ids = np.argpartition(-(bits + rng.random(bits.shape)), size - 1, axis=1)[:, :size]
    return members
