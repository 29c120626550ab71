"""The local pivotal method: batches spread in feature space, inclusions in proportion to size; the strict control."""

from typing import Any

import numpy as np

from hybrid_opt.simd.registers import cached
from quantum_sampler.batches.engine import Local, Reads
from quantum_sampler.batches.law import BatchLaw
from quantum_sampler.batches.proportional import proportional
from quantum_sampler.selector import Floats, Ids

compiled = cached()


class Pivotal(Local):
    """Neighbours fight for their inclusion until everyone's is 0 or 1, so that similar items seldom come together.

    The inclusions are those of systematic sampling, exactly. Source: Grafstroem, Lundstroem and Schelin 2012, method 1
    without the condition that the neighbours are mutual (LPM2).
    """

    def reads(self, law: BatchLaw, batches: int, rng: np.random.Generator) -> Reads:
        inclusion = proportional(np.exp(law.fields), law.size)
        members = np.empty((batches, law.size), np.int64)
        for batch in members:
            batch[:] = _fight(inclusion, law.similarity, rng)
        return Reads(members, inclusion)


@compiled
def _fight(inclusion: Floats, similarity: Floats, rng: Any) -> Ids:
    chance = inclusion.copy()
    open_ = np.flatnonzero((chance > 0.0) & (chance < 1.0))  # the first `count` are undecided
    count = len(open_)
    while count > 1:
        a = int(rng.random() * count)
        i = open_[a]
        b, best = -1, -1.0
        start = int(rng.random() * count)  # of equally similar ones, a random one
        for step in range(count):
            place = (start + step) % count
            if place != a and similarity[i, open_[place]] > best:
                b, best = place, similarity[i, open_[place]]
        j = open_[b]
        both = chance[i] + chance[j]
        if both < 1.0:
            won = rng.random() * both < chance[i]
            chance[i], chance[j] = (both, 0.0) if won else (0.0, both)
        else:
            won = rng.random() * (2.0 - both) < 1.0 - chance[j]
            chance[i], chance[j] = (1.0, both - 1.0) if won else (both - 1.0, 1.0)
        for place in (max(a, b), min(a, b)):
            value = chance[open_[place]]
            if value < 1e-9 or value > 1.0 - 1e-9:
                chance[open_[place]] = round(value)
                count -= 1
                open_[place] = open_[count]
    if count == 1:  # its chance is 0 or 1 but for rounding
        chance[open_[0]] = round(chance[open_[0]])
    return np.flatnonzero(chance > 0.5)
