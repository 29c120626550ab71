"""A sum tree in numpy: draws slots in proportion to values that change all the time."""

import numpy as np

from quantum_sampler.selector import Floats, Ids

SHIFT = 4
FAN_OUT = 1 << SHIFT
TOP = 4096  # nodes that are searched by one cumulative sum; below them every step of the descent is a matrix product
LARGEST = 1e290  # no sum of values overflows
LEFT_OF = np.tril(np.ones((FAN_OUT, FAN_OUT)), -1)  # [i, j]: child j stands left of child i


class SumTree:
    """Non-negative values by slot, their sums 16 at a time, and the sums of those, up to at most 4,096 nodes.

    `set` and `draw` take arrays and cost a few passes over [n, 16]. Sums are made anew from what they add, never by
    differences, so nothing drifts and a tree filled in any order is the same to the bit. 8.5 bytes a slot.
    """

    def __init__(self, slots: int) -> None:
        self._levels = [np.zeros(slots)]  # from the leaves upwards; each is padded to whole groups of children
        while self._levels[-1].size > TOP:
            parents = -(-self._levels[-1].size // FAN_OUT)
            self._levels[-1] = np.zeros(parents * FAN_OUT)
            self._levels.append(np.zeros(parents))
        self._groups = [level.reshape(-1, FAN_OUT) for level in self._levels[:-1]]  # views: [parents, 16]
        self._bounds = np.zeros(self._levels[-1].size + 1)  # cumulative sums of the top level, led by 0
        self._stale = False

    @property
    def values(self) -> Floats:
        """The value of each slot, a view; slots beyond those asked for are 0."""
        return self._levels[0]

    @property
    def total(self) -> float:
        """Sum of all values."""
        self._refresh()
        return float(self._bounds[-1])

    def set(self, slots: Ids, values: Floats | float) -> None:
        """Change the values of slots; of a slot that repeats, the last counts. Values saturate at 1e290."""
        self._levels[0][slots] = np.minimum(values, LARGEST)
        for groups, parents in zip(self._groups, self._levels[1:], strict=True):
            slots = slots >> SHIFT
            parents[slots] = np.einsum("ij->i", groups.take(slots, axis=0))  # the same for a row, whatever the others
        self._stale = True

    def draw(self, rng: np.random.Generator, count: int, stratified: bool = True) -> tuple[Ids, Floats]:
        """Draw slots [count], and their values; slot i is expected count x value_i / total times.

        stratified: one draw from each of `count` equal parts of the total (less variance, slots come sorted); otherwise
        the draws are independent. A slot of value 0 is never drawn. Raises ValueError if all values are 0.
        """
        total = self.total
        if not total > 0.0:
            raise ValueError("nothing to draw: all values are 0")
        column = np.arange(count)
        rest = rng.random(count)  # of the total, then: mass to the left of the point, within the node
        if stratified:
            rest += column
            rest *= total / max(1, count)
        else:
            rest *= total
        node = self._bounds[1:-1].searchsorted(rest, side="right")
        rest -= self._bounds.take(node)
        for groups in reversed(self._groups):
            left = LEFT_OF @ groups.take(node, axis=0).T  # [16, count] mass to the left of each child
            child = np.add.reduce((left[1:] <= rest).view(np.int8), axis=0, dtype=np.int8)
            if groups is not self._groups[0]:
                rest -= left[child, column]
            node <<= SHIFT
            node += child
        values = self.values.take(node)
        if not values.all():
            node = self._nearest(node)
            values = self.values.take(node)
        return node, values

    def _refresh(self) -> None:
        if self._stale:
            np.cumsum(self._levels[-1], out=self._bounds[1:])
            self._stale = False

    def _nearest(self, slots: Ids) -> Ids:
        """Slots of value 0, where rounding led past the end of the mass, replaced by the nearest on the left."""
        positive = np.flatnonzero(self.values)
        return positive.take(np.maximum(positive.searchsorted(slots, side="right") - 1, 0))
