"""Circuits of the model's parts."""

from hybrid_opt.circuits.encodings.registry import ENCODINGS
from hybrid_opt.layers.config import CircuitConfig
from hybrid_opt.layers.layer import CircuitLayer


def circuit_layer(circuit: CircuitConfig) -> CircuitLayer:
    """Return the layer of a config, with as many inputs as its encoding takes. Raises ProblemError."""
    inputs = ENCODINGS.find(circuit.encoding, "circuit.encoding")().inputs(circuit.qubits)
    return CircuitLayer(inputs, **vars(circuit))
