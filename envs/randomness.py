"""The global random states of a process: of Python, of NumPy, and of PyTorch where it was imported."""

import random
import sys
from typing import Any

import numpy as np

States = tuple[Any, Any, Any]


def seed_globals(seed: int) -> None:
    """Seed all of them."""
    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


class OwnRandom:
    """Global random states of its own for some code: `with` puts them in the place of the process's, and back.

    They begin as those of the process.
    """

    def __init__(self) -> None:
        self._inside: States | None = None
        self._outside = _states()

    def __enter__(self) -> None:
        self._outside = _states()
        if self._inside is not None:
            _put(self._inside)

    def __exit__(self, *error: object) -> None:
        self._inside = _states()
        _put(self._outside)


def _states() -> States:
    torch = sys.modules.get("torch")
    return random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state() if torch else None


def _put(states: States) -> None:
    python, numpy, torch = states
    random.setstate(python)
    np.random.set_state(numpy)
    if torch is not None:
        sys.modules["torch"].set_rng_state(torch)
