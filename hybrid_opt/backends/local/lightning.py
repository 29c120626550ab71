"""PennyLane's lightning.qubit: a fast state vector."""

from typing import Any

from hybrid_opt.backends.local.pennylane import PennyLane, PennyLaneConfig


class Lightning(PennyLane):
    """The device `lightning.qubit` under a name of its own."""

    Config, devices = PennyLaneConfig, "none"

    def __init__(self, config: Any = None) -> None:
        super().__init__("lightning.qubit", config, "lightning")
