"""The latest features of items, by slot."""

from typing import Any

import numpy as np

from quantum_sampler.selector import Array, Ids, Mask


class Features:
    """Keeps by slot the features that came last, and whether any did.

    A new item has none, whatever was in its slot. Shapes: n slots, F features.
    """

    def __init__(self, capacity: int, width: int) -> None:
        self.values = np.zeros((capacity, width), np.float32)  # by slot
        self.seen: Mask = np.zeros(capacity, bool)  # by slot: has features

    def shown(self, slots: Ids) -> Array:
        """Return the features [..., F] of the items of slots [...], zeros where none came."""
        return self.values[slots]

    def set(self, slots: Ids, features: Array) -> None:
        """Keep features [n, F]; of a slot that repeats, the last ones count."""
        self.seen[slots] = True
        self.values[slots] = features

    def clear(self, slots: Ids) -> None:
        """Forget the features of slots whose items are new or gone."""
        self.seen[slots] = False
        self.values[slots] = 0.0

    def state_dict(self, slots: Ids) -> dict[str, Any]:
        """Return what is kept of the items of slots, in their order."""
        import torch

        return {"features": torch.from_numpy(self.values[slots]), "seen": torch.from_numpy(self.seen[slots])}

    def load_state_dict(self, state: dict[str, Any], slots: Ids) -> None:
        """Keep what a state says of the items of slots, and nothing else."""
        self.values.fill(0.0)
        self.seen.fill(False)
        self.values[slots] = state["features"].numpy()
        self.seen[slots] = state["seen"].numpy()
