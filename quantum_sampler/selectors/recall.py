"""Content-addressable recall: what resembles the present situation is replayed, found by amplitude amplification."""

from collections.abc import Sequence
from dataclasses import field
from math import isqrt
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.effect import refuse_idle
from quantum_sampler.amplitude.amplification import Search
from quantum_sampler.codes.kernel import KernelCodes, checked_overlap
from quantum_sampler.codes.projection import RandomProjection
from quantum_sampler.selector import Array, Floats, Ids, OptionError, Probe, Selection
from quantum_sampler.selectors.base.features import Features
from quantum_sampler.selectors.prioritized import Prioritized, PrioritizedConfig

CHUNK = 1 << 15  # items that are looked at or encoded at once, and about the most that the projection is fitted on
FAR = 255  # distance of an item without a code


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class RecallConfig(PrioritizedConfig):
    """Items that resemble what the agent is in now, found by amplitude amplification."""

    uses_features: ClassVar[bool] = True
    weight_exponent: Annotated[float, Field(ge=0, le=1)] = 0.0
    """importance weights to this power: 1 corrects the bias fully, 0 not at all"""
    bits: Annotated[int, Field(ge=1, le=64)] = 32
    """of a code"""
    radius: Annotated[int, Field(ge=0, le=64)] = 8
    """greatest Hamming distance at which an item counts as similar"""
    neighbours: Annotated[int, Field(ge=0)] = 64
    """the radius shrinks as long as so many items remain within it, 0 for never"""
    floor: Annotated[float, Field(gt=0, le=1)] = 0.25
    """share of draws by priority alone"""
    queries: Annotated[int, Field(ge=1)] | None = None
    """most oracle queries of a search; null: 9 sqrt(items)"""
    fit: Annotated[int, Field(ge=1)] = 256
    """visited items at which the codes are first fitted"""
    context: Literal["present", "random"] = "present"
    """or random: the control that looks for what resembles a random item"""
    similarity: str = "codes"
    """codes: binary ones; or a kernel, fidelity, projected, rbf or laplace, whose distance is (1 - k) bits"""
    kernel_options: dict[str, Any] = field(default_factory=dict)
    """of the kernel, such as 'replay.kernel_options={encoding: iqp, bandwidth: 0.5}'"""

    @model_validator(mode="after")
    def _has_a_kernel(self) -> Self:
        refuse_idle(self, "kernel_options", self.similarity == "codes", "similarity=fidelity, projected, rbf, laplace")
        if self.similarity != "codes":
            checked_overlap(self.similarity, self.kernel_options, "similarity")
        return self


class Recall(Prioritized):
    """Draws items whose codes are near that of the context, each draw by a quantum search over the whole buffer.

    A search starts from amplitudes sqrt(p_i) with p_i = score_i / total, amplifies the items within a Hamming radius of
    the context's code (of any of them, if there are several) without knowing how much is marked, and ends with a marked
    item, in proportion to its score, or after its queries without one. Then, without a context, without codes, and for
    a `floor` share of the batch, the sum tree draws by p_i. With P = sum of p_i over the marked, and S the chance that
    a search succeeds, the expected count of an item in a batch is exactly

        B p_i [1 - (1 - floor) S + (1 - floor) S / P if marked].

    The bias is wanted, so weights are 1 unless `weight_exponent` says otherwise. Items that were never visited have no
    code and are never marked. The outcomes are drawn from the exact law of the search in O(N), which a processor needs
    to find the marked items anyway; what a quantum computer would save is in the figures `queries` and
    `classical_scan`, what it would cost to load the amplitudes and codes in `loading`.

    Shapes: N items selectable now, B items in a batch, F features, E rows of the context.
    """

    def __init__(
        self,
        config: RecallConfig,
        capacity: int,
        seed: int | Sequence[int],
        feature_dim: int,
        probe: Probe | None = None,
    ) -> None:
        if feature_dim < 1:
            raise OptionError(f"replay.selector=recall: items need features, feature_dim={feature_dim} gives them none")
        self._known = Features(capacity, feature_dim)
        super().__init__(config, capacity, seed, feature_dim, probe, self._known)
        self._options = config
        self._projection: Any = self._coder(config, feature_dim, seed)
        self._codes: Array = self._projection.empty(capacity)  # by slot
        self._kept = np.int64 if self._codes.dtype == np.uint64 else np.float64  # as a tensor has them
        self._fitted = 0  # items with features when the projection was fitted
        self._held, self._arrived = 0, 0  # items at that time, and items that have come since
        self._end = 0  # no item with features had this slot or a later one
        self._draws, self._fallbacks = 0, 0  # all but those of the floor
        self._last = {"marked": 0.0, "marked_mass": 0.0, "radius": 0, "queries": 0, "classical_scan": 0.0}

    @property
    def sources(self) -> tuple[str, ...]:
        """Searches that succeeded, and the sum tree."""
        return ("recall", "tree")

    def select(self, batch_size: int, context: Array | None = None) -> Selection:
        """context [F] or [E, F]: the present latent, in the space of the features. Raises EmptyReplay; ValueError for a
        context of another shape, or one that is not finite.
        """
        self._check_batch(batch_size)
        queries = self._encoded(context)
        radius, marked = self._marked(queries)  # slots [M]
        bounds = np.cumsum(self.tree.values.take(marked))  # [M]
        mass = min(1.0, float(bounds[-1]) / self.tree.total) if marked.size else 0.0
        floor = self._options.floor
        searches = batch_size - int(floor * batch_size + self._rng.random())
        found, success = 0, 0.0
        self._last = {"marked": 0.0, "marked_mass": 0.0, "radius": 0, "queries": 0, "classical_scan": 0.0}
        if queries.size:
            search = Search.within(self._options.queries or isqrt(81 * len(self)))
            success = search.success(mass)
            outcomes, spent = search.run(self._rng, mass, searches)
            found = int(np.count_nonzero(outcomes))
            self._last = {
                "marked": marked.size / len(self),
                "marked_mass": mass,
                "radius": radius,
                "queries": int(spent.sum()),
                "classical_scan": min(float(len(self)), searches / mass) if mass else float(len(self)),
            }
        self._draws += searches
        self._fallbacks += searches - found
        points = self._rng.random(found) * (bounds[-1] if found else 1.0)
        recalled = marked.take(np.minimum(bounds.searchsorted(points, side="right"), marked.size - 1))
        drawn, _ = self.tree.draw(self._rng, batch_size - found, self._stratified)
        slots = np.concatenate([recalled, drawn])  # [B]
        outside = 1.0 - (1.0 - floor) * success
        inside = outside + ((1.0 - floor) * success / mass if mass else 0.0)

        def law(ids: Ids, batch_size: int) -> Floats:
            near = self._distance(ids % self._items.capacity, queries) <= radius
            return np.where(near, inside, outside) * self._law(ids, batch_size)

        ids = self._items.in_slots(slots)
        inclusion = law(ids, batch_size)
        exponent = self._weight_exponent
        weight = (inclusion * (len(self) / max(1, batch_size))) ** -exponent if exponent else np.ones(batch_size)
        source = np.repeat([0, 1], [found, batch_size - found])
        return Selection(ids, inclusion, weight, source, law=law)

    def prepare(self, step: int) -> None:
        """Fit the projection once there are enough items with features, again when there are twice as many, and
        whenever as many items have come as there were at the last fit."""
        super().prepare(step)
        moved_on = self._fitted and self._arrived >= self._held
        least = self._options.fit if moved_on else 2 * self._fitted or self._options.fit
        if np.count_nonzero(self._known.seen[: self._end]) < least:
            return
        seen = np.flatnonzero(self._known.seen)
        self._fitted, self._held, self._arrived = seen.size, len(self), 0
        self._projection.fit(self._known.values[seen[:: -(-seen.size // CHUNK)]])
        for start in range(0, seen.size, CHUNK):
            slots = seen[start : start + CHUNK]
            self._codes[slots] = self._projection.encode(self._known.values[slots])

    def metrics(self) -> dict[str, float]:
        """Beside those of `prioritized`, of the last batch: marked, the share of the items; marked_mass, of the law;
        radius; queries of the oracle, by all searches; classical_scan: what one scan, or rejection sampling, would
        take instead, whichever is less; loading: amplitudes and codes to load. fallback_rate: share of all searches so
        far, those that could not start included, that the sum tree stood in for.
        """
        own = {"loading": len(self), "fallback_rate": self._fallbacks / max(1, self._draws)}
        return {**super().metrics(), **self._last, **own}

    @staticmethod
    def _coder(config: RecallConfig, width: int, seed: int | Sequence[int]) -> RandomProjection | KernelCodes:
        if config.similarity == "codes":
            return RandomProjection(width, config.bits, [*np.atleast_1d(seed).tolist(), 1])
        overlap = checked_overlap(config.similarity, config.kernel_options, "replay.similarity")
        return KernelCodes(width, config.bits, overlap)

    def _encoded(self, context: Array | None) -> Array:
        """Codes [<= E] of the context; none where it cannot be recalled by."""
        if context is None:
            return self._codes[:0]
        rows = np.atleast_2d(context)
        if rows.ndim != 2 or rows.shape[1] != self._feature_dim or not np.isfinite(rows).all():
            accepted = f"finite values of shape [{self._feature_dim}] or [E, {self._feature_dim}]"
            raise ValueError(f"context must be {accepted}, not {rows.dtype} {list(np.shape(context))}")
        if not self._fitted:
            return self._codes[:0]
        if self._options.context == "random":
            seen = np.flatnonzero(self._known.seen)
            return np.unique(self._codes[self._rng.choice(seen, len(rows))], axis=0) if seen.size else self._codes[:0]
        codes: Array = self._projection.encode(rows)
        return np.unique(codes, axis=0)

    def _distance(self, slots: Ids | slice, queries: Array) -> NDArray[np.uint8]:
        """Hamming distance [n] of the items in some slots to the nearest of the codes, FAR of those without a code."""
        codes = self._codes[slots]
        distance = np.full(len(codes), FAR, np.uint8)
        for query in queries:
            np.minimum(distance, self._projection.distance(codes, query), out=distance)
        return np.where(self._known.seen[slots], distance, np.uint8(FAR))

    def _marked(self, queries: Array) -> tuple[int, Ids]:
        """The radius, and the slots [M] of the items within it."""
        radius, neighbours = self._options.radius, self._options.neighbours or np.inf
        counts = np.zeros(FAR + 1, np.int64)  # items found, by distance
        slots: list[Ids] = [np.empty(0, np.int64)]
        distances: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)]
        for start in range(0, self._end if queries.size else 0, CHUNK):
            distance = self._distance(slice(start, min(start + CHUNK, self._end)), queries)
            near = np.flatnonzero(distance <= radius)
            slots.append(near + start)
            distances.append(distance.take(near))
            counts += np.bincount(distances[-1], minlength=counts.size)
            radius = min(radius, int(counts.cumsum().searchsorted(neighbours)))
        found = np.concatenate(slots)
        return radius, found[np.concatenate(distances) <= radius]

    def _added(self, slots: Ids, priorities: Floats | None) -> None:
        super()._added(slots, priorities)
        self._arrived += slots.size

    def _featured(self, slots: Ids, features: Array) -> None:
        super()._featured(slots, features)
        self._end = max(self._end, int(slots.max(initial=-1)) + 1)
        if self._fitted:
            self._codes[slots] = self._projection.encode(features)

    def _state(self) -> dict[str, Any]:
        import torch

        slots = self._items.ids % self._items.capacity
        return {
            **super()._state(),
            "codes": torch.from_numpy(self._codes[slots].view(self._kept)),
            "projection": {key: leaf.clone() for key, leaf in self._projection.state_dict().items()},
            "fitted": [self._fitted, self._held, self._arrived],
            "draws": [self._draws, self._fallbacks],
            "last": dict(self._last),
        }

    def _load(self, state: dict[str, Any], slots: Ids) -> None:
        super()._load(state, slots)
        self._end = int(slots.max(initial=-1)) + 1
        self._codes[slots] = state["codes"].numpy().view(self._codes.dtype)
        self._projection.load_state_dict(state["projection"])
        self._fitted, self._held, self._arrived = state["fitted"]
        self._draws, self._fallbacks = state["draws"]
        self._last = dict(state["last"])
