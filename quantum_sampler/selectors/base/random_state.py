"""The state of a numpy generator, in leaves that a checkpoint can hold."""

from typing import Any

import numpy as np


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """State of a PCG64 generator; its 128-bit integers are written in decimal."""
    state = dict(generator.bit_generator.state)
    return {**state, "state": {key: str(value) for key, value in state["state"].items()}}


def load_generator(generator: np.random.Generator, state: dict[str, Any]) -> None:
    """Continue from a state made by `generator_state`."""
    words = {key: int(value) for key, value in state["state"].items()}
    generator.bit_generator.state = {**state, "state": words}
