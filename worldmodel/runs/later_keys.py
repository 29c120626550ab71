"""Keys that the configurations of earlier versions did not have, with what those versions did."""

from dataclasses import asdict
from typing import Any

from hybrid_opt.layers.config import CircuitConfig

ADDED: dict[str, Any] = {"eval.environments": "own", "size.fan_in": "block"}
REMOVED = {"normaliser": "pool", "normaliser_queries": 1024}  # keys of earlier versions, and what is done still
_MEMORY = {"slots": 64, "amplitudes": 16, "values": 32, "beta": 2, "merge": 0.95}
_MODEL: dict[str, Any] = {f"heads.{head}": "mlp" for head in ("actor", "critic", "reward", "continuation", "prior")}
_MODEL |= {
    "agent": "dreamer",
    "cell": "gru",
    "cell_options.base": "lstm",
    "front": "linear",
    "router": "none",
    "experts": 4,
    "expert": "mlp",
    "memory": "none",
    **{f"memory_options.{key}": value for key, value in _MEMORY.items()},
}
_MODEL |= {f"front_options.{key}": value for key, value in (("every", 500), ("rows", 1024), ("units", 64))}
_MODEL |= {"front_options.weight": 1.0, "router_options.readout": "softmax", "router_options.balance": 0.01}
_CONTROL = {"noise": 0.2, "random": 0.1, "hold": 16.0, "target_noise": 0.2, "returns": 3, "period": 250, "critics": 2}
ADDED |= {f"control.{key}": value for key, value in (_CONTROL | {"pre_activation": 1e-5}).items()}
ADDED |= {"optimizer.angles": 10.0, **{f"model.{key}": value for key, value in _MODEL.items()}}
ADDED["noise.name"] = "none"
ADDED |= {f"circuit.{key}": value for key, value in asdict(CircuitConfig()).items()}
DRAWN = ("size.fan_in",)  # those of them that say how a run begins: none of an earlier run's weights is drawn again
