"""Circuits of the model's parts."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from hybrid_opt.backends.backend import Backend
from hybrid_opt.backends.noise import noise_of
from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.config import CircuitConfig
from hybrid_opt.layers.layer import CircuitLayer, acting

CIRCUITS = "statevector, lightning, aer, ibm:NAME and pennylane:NAME"


def check_backend(circuit: CircuitConfig, backend: Backend) -> None:
    """Raise ProblemError where the backend of a config runs no circuits."""
    if not backend.capabilities.circuits:
        raise ProblemError(f"circuit.backend={circuit.backend}: runs no circuits; {CIRCUITS} are accepted")


def acting_through(
    module: nn.Module, backend: Backend, circuit: CircuitConfig, noise: Mapping[str, Any]
) -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which the circuits of a module run on an open backend.

    noise: of the run, which a backend that takes noise simulates. That of the circuit itself is for training.
    """
    simulated = circuit.noise is None and backend.capabilities.noise
    return partial(acting, module, backend, circuit.shots, noise_of(noise) if simulated else None)


def circuit_layer(circuit: CircuitConfig) -> CircuitLayer:
    """Return the layer of a config, with as many inputs as its encoding takes. Raises ProblemError.

    It is simulated. A run whose circuit has a backend acts within `hybrid_opt.layers.layer.acting`, with its shots.
    """
    if circuit.backend != "statevector":
        circuit = replace(circuit, backend="statevector", shots=None)
    inputs = ENCODINGS.find(circuit.encoding, "circuit.encoding")().inputs(circuit.qubits)
    return CircuitLayer(inputs, **vars(circuit))
