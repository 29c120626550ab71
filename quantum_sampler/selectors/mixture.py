"""A mixture of selectors: each draws its share of the batch."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from quantum_sampler.selector import Array, EmptyReplay, Floats, Ids, Selection, Selector, check_batch_size
from quantum_sampler.selectors.base.random_state import generator_state, load_generator


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class PartConfig:
    """One component: the selector, by default the one that its key names, its share of the batch, and its options."""

    selector: str
    share: Annotated[float, Field(gt=0)]
    options: dict[str, Any]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class MixtureConfig:
    """Each component draws its share of the batch."""

    components: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """by name: a relative share and the options of any selector of this group, or of fresh: what was never drawn,
    oldest first (selector: NAME, where the name is none)"""
    correction: Literal["inclusion", "component"] = "inclusion"
    """weights by the inclusion in the whole mixture; component: an item keeps the weight of the component that drew
    it"""


class Mixture:
    """Shares out the batch among selectors over the same items.

    The items that a component draws are expected share x B; where that is no integer, systematic rounding takes one of
    its two neighbours at random, so the expectation is exact for any B. The inclusion of an item is the sum of the laws
    of all components, whichever drew it; if the one that drew it knows its law for this draw only (a plan), times the
    ratio of that inclusion to its law. So sums stay exact whatever such a law says, as in multiple importance sampling
    with any weights. correction "inclusion": weight = B / (N x inclusion), the mean over the mixture is that of the
    buffer, with the small variance of the balance heuristic (Veach and Guibas 1995). "component": an item keeps the
    weight that the component that drew it gives.
    """

    def __init__(
        self,
        components: Mapping[str, tuple[float, Selector]],
        seed: int | Sequence[int],
        correction: Literal["inclusion", "component"] = "inclusion",
    ) -> None:
        self._names = tuple(components)
        self._components = tuple(selector for _, selector in components.values())
        total = sum(share for share, _ in components.values())
        self._shares = [share / total for share, _ in components.values()]
        self._edges = [0.0, *accumulate(self._shares[:-1]), 1.0]
        self._first = [0, *accumulate(len(selector.sources) for selector in self._components[:-1])]  # source of each
        self._correction = correction
        self._rng = np.random.default_rng(seed)
        self._drawn = [0] * len(self._names)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the components; those of a mixture inside the mixture are written outer/inner."""
        return tuple(
            name if len(component.sources) == 1 else f"{name}/{source}"
            for name, component in zip(self._names, self._components, strict=True)
            for source in component.sources
        )

    def __len__(self) -> int:
        return len(self._components[0])

    def add(self, ids: ArrayLike, priorities: ArrayLike | None = None, features: ArrayLike | None = None) -> None:
        for component in self._components:
            component.add(ids, priorities, features)

    def remove(self, ids: ArrayLike) -> None:
        for component in self._components:
            component.remove(ids)

    def update(self, ids: ArrayLike, priorities: ArrayLike, features: ArrayLike | None = None) -> None:
        for component in self._components:
            component.update(ids, priorities, features)

    def select(self, batch_size: int, context: Array | None = None) -> Selection:
        check_batch_size(batch_size)
        if not len(self):
            raise EmptyReplay("nothing to select: the replay holds no items yet")
        counts = self._allot(batch_size)
        parts = [component.select(count, context) for component, count in zip(self._components, counts, strict=True)]
        self._drawn = [drawn + count for drawn, count in zip(self._drawn, counts, strict=True)]
        ids = np.concatenate([part.ids for part in parts])
        source = np.concatenate([part.source + first for part, first in zip(parts, self._first, strict=True)])

        def law(ids: Ids, batch_size: int) -> Floats:
            inclusion = np.zeros(ids.size)
            for part, share in zip(parts, self._shares, strict=True):
                for count, probability in _neighbours(_snapped(batch_size * share)):
                    inclusion += probability * part.law(ids, count)
            return inclusion

        ratios = [part.inclusion / part.law(part.ids, part.ids.size) for part in parts]
        inclusion = law(ids, batch_size) * np.concatenate(ratios)
        if self._correction == "inclusion":
            weight = batch_size / (len(self) * inclusion)
        else:
            weight = np.concatenate([part.weight for part in parts])
        return Selection(ids, inclusion, weight, source, max(part.plan_age for part in parts), law=law)

    def prepare(self, step: int) -> None:
        for component in self._components:
            component.prepare(step)

    def metrics(self) -> dict[str, float]:
        """items and ignored once; NAME/share of all items drawn so far, and NAME/... of each component."""
        own = {key: self._components[0].metrics()[key] for key in ("items", "ignored")}
        total = max(1, sum(self._drawn))
        for name, component, drawn in zip(self._names, self._components, self._drawn, strict=True):
            own[f"{name}/share"] = drawn / total
            own |= {f"{name}/{key}": value for key, value in component.metrics().items() if key not in own}
        return own

    def close(self) -> None:
        for component in self._components:
            component.close()

    def state_dict(self) -> dict[str, Any]:
        return {
            "random": generator_state(self._rng),
            "drawn": list(self._drawn),
            "components": {
                name: component.state_dict() for name, component in zip(self._names, self._components, strict=True)
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_generator(self._rng, state["random"])
        self._drawn = list(state["drawn"])
        for name, component in zip(self._names, self._components, strict=True):
            component.load_state_dict(state["components"][name])

    def _allot(self, batch_size: int) -> list[int]:
        """How many items each component draws, by systematic rounding."""
        start = self._rng.random()
        positions = [_snapped(batch_size * edge) for edge in self._edges]
        edges = [math.floor(position) + (position % 1.0 + start >= 1.0) for position in positions]
        return [upper - lower for lower, upper in pairwise(edges)]


def _snapped(expected: float) -> float:
    """Free of the rounding error by which a share of a batch misses an integer."""
    whole = round(expected)
    return whole if abs(expected - whole) < 1e-9 else expected


def _neighbours(expected: float) -> list[tuple[int, float]]:
    """The integers that systematic rounding takes for an expected count, with their probabilities."""
    below = math.floor(expected)
    return [(below, below + 1 - expected), (below + 1, expected - below)] if expected > below else [(below, 1.0)]
