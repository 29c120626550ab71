"""The control of planned selectors: items are planned with each other's features."""

from typing import Any

import numpy as np

from quantum_sampler.selector import Array, Ids
from quantum_sampler.selectors.base.features import Features


class Borrowed(Features):
    """Shows items with the latest features of each other: another problem of the same kind.

    An item whose first features come changes places with a random one (the Fisher-Yates shuffle as items arrive), and
    one that goes leaves the features that it was shown with to the item that had its own. So who has whose is a
    uniformly random permutation at any time, and changes for no other reason.
    """

    def __init__(self, capacity: int, width: int, rng: np.random.Generator) -> None:
        super().__init__(capacity, width)
        self._rng = rng
        self._lender: Ids = np.arange(capacity)  # by slot: the slot whose features its item is shown with
        self._borrower: Ids = np.arange(capacity)  # by slot: the one whose item is shown with its features

    def shown(self, slots: Ids) -> Array:
        return self.values[self._lender[slots]]

    def set(self, slots: Ids, features: Array) -> None:
        for slot in dict.fromkeys(slots[~self.seen[slots]].tolist()):
            self.seen[slot] = True
            other = self._rng.choice(np.flatnonzero(self.seen))
            self._lender[slot], self._lender[other] = self._lender[other], slot
            self._borrower[self._lender[[slot, other]]] = slot, other
        super().set(slots, features)

    def clear(self, slots: Ids) -> None:
        for slot in slots[self._lender[slots] != slots]:
            lender, borrower = self._lender[slot], self._borrower[slot]
            self._lender[borrower], self._borrower[lender] = lender, borrower
            self._lender[slot] = self._borrower[slot] = slot
        super().clear(slots)

    def state_dict(self, slots: Ids) -> dict[str, Any]:
        import torch

        return {**super().state_dict(slots), "lenders": torch.from_numpy(self._lender[slots])}

    def load_state_dict(self, state: dict[str, Any], slots: Ids) -> None:
        super().load_state_dict(state, slots)
        self._lender = np.arange(self._lender.size)
        self._lender[slots] = state["lenders"].numpy()
        self._borrower = np.argsort(self._lender)
