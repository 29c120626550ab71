"""The configuration of the probe of circuits."""

from dataclasses import field
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.config import CircuitConfig
from worldmodel.model.factory import Factory

Positive = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=2, le=12)]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True), kw_only=True)
class ProbeCircuitConfig:
    """What is measured, and on how many draws."""

    circuit: CircuitConfig = field(default_factory=CircuitConfig)
    """the circuit"""
    draws: Annotated[int, Field(ge=8)] = 64
    """random parameters, over which variances and dimensions are taken"""
    inputs: Annotated[int, Field(ge=2)] = 64
    """random inputs of each"""
    pairs: Annotated[int, Field(ge=100)] = 4096
    """pairs of states, whose fidelities tell the expressibility"""
    data: Annotated[int, Field(ge=10_000)] = 10_000
    """data that the effective dimension is for; with fewer it exceeds the number of parameters"""
    widths: tuple[Width, ...] = (2, 4, 6)
    """qubits for which the variance of gradients is measured; []: none"""
    depths: tuple[Positive, ...] = (2,)
    """layers for which it is"""
    deep: Annotated[int, Field(ge=0)] = 6
    """layers for each qubit of a further one that is deep; 0: none"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of all draws"""
    logdir: str = "runs/probe-circuit"
    """where table.json and probe.svg go"""

    def check(self) -> None:
        """Raise ProblemError for a circuit that cannot be probed."""
        Factory(circuit=self.circuit).check()
        if self.circuit.encoding == "basis":
            raise ProblemError("circuit.encoding=basis: takes bits, which have no slopes; any other is accepted")
        if self.circuit.shots is not None or self.circuit.noise or self.circuit.backend != "statevector":
            raise ProblemError("circuit: shots=null, noise=null and backend=statevector are accepted by the probe")
