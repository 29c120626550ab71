"""The law by which items are replayed whose codes a chain visits."""

from typing import Protocol

import numpy as np

from quantum_sampler.selector import Floats, Ids

REACH = 3.0  # standard deviations of the energy beyond which a code is not raised any more


class LawConfig(Protocol):
    """How the law depends on energies and scores."""

    @property
    def novelty(self) -> float: ...
    @property
    def tilt(self) -> float: ...
    @property
    def floor(self) -> float: ...


class CodeLaw:
    """An item of code v, with a score, has the probability (1 - floor) exp(novelty z(v)) score^tilt / mass, and floor
    score / sum of scores beside it; items without a code have the second alone.

    z: the energy of the code, less its mean over the items, by its standard deviation over them, within -3..3. log_law:
    float64 [2^n], of codes. Those that no item has share `floor` equally: whoever stands on one draws by the scores. If
    items have all codes, a coin decides on such draws. mass: sum over the items of exp(novelty z) score^tilt.

    codes: int64 [M], of the first M items; scores: [N], > 0, of all; energies: [2^n], of codes.
    """

    def __init__(self, codes: Ids, scores: Floats, energies: Floats, config: LawConfig) -> None:
        counts = np.bincount(codes, minlength=energies.size)
        mean = counts @ energies / codes.size
        spread = np.sqrt(counts @ (energies - mean) ** 2 / codes.size)
        z = np.clip((energies - mean) / spread, -REACH, REACH) if spread > 1e-12 else np.zeros(energies.size)
        self.energies = energies
        self.bonus: Floats = config.novelty * z  # log of what a code adds to an item's score
        self.log_likelihood = float(-mean - np.log(np.exp(-energies + energies.min()).sum()) + energies.min())
        self.codes = int(np.count_nonzero(counts))

        self._order = np.argsort(codes, kind="stable")  # items by code
        self._raised = np.exp(self.bonus[codes]) * scores[: codes.size] ** config.tilt
        self._bounds = np.concatenate([[0.0], np.cumsum(self._raised[self._order])])
        self._first = np.concatenate([[0], np.cumsum(counts)])  # places of a code's items in that order
        self.mass = float(self._bounds[-1])
        self._scores, self._floor = np.cumsum(scores), config.floor
        self._plain = scores / self._scores[-1]
        self._present = counts > 0
        self._missing = counts.size - self.codes
        masses = np.bincount(codes, self._raised, energies.size) / self.mass
        share = 1 - config.floor if self._missing else 1.0
        with np.errstate(divide="ignore"):
            absent = np.log(config.floor / max(1, self._missing))
            self.log_law: Floats = np.where(self._present, np.log(share * masses), absent)

    def start(self, replicas: int, chains: int, rng: np.random.Generator) -> Ids:
        """Codes int64 [replicas, chains] of items drawn uniformly."""
        last = self._first[-1]
        codes = np.searchsorted(self._first, rng.integers(last, size=(replicas, chains)), side="right") - 1
        return np.asarray(codes, np.int64)

    def items(self, codes: Ids, rng: np.random.Generator) -> Ids:
        """One item, by its index, for each of the visited codes int64 [B]."""
        plain = ~self._present[codes] if self._missing else rng.random(codes.size) < self._floor
        places = rng.random(codes.size)
        first, last = self._first[codes], self._first[codes + 1]
        low, high = self._bounds[first], self._bounds[last]
        place = self._bounds.searchsorted(low + places * (high - low), side="right") - 1
        chosen = self._order[np.clip(place, first, np.maximum(first, last - 1)) % self._order.size]
        by_score = self._scores[:-1].searchsorted(places * self._scores[-1], side="right")
        return np.where(plain, by_score, chosen)

    def inclusion(self, items: Ids, batch_size: int) -> Floats:
        """Expected number of times that the items, by their indices, are in a batch."""
        with_code = items < self._raised.size
        raised = np.where(with_code, self._raised[np.where(with_code, items, 0)], 0.0) / self.mass
        return np.asarray(batch_size * ((1 - self._floor) * raised + self._floor * self._plain[items]))
