"""Error mitigation at equal shots: `OMP_NUM_THREADS=1 python benchmarks/mitigation.py [known torino]`.

The error of 96 means: of 24 random circuits on 4 qubits, with 8 layers of RY and RZ, and chains of CZ between them, all
four <Z>. `known`: depolarising noise, with chance 1 % after each CZ, and .1 % after each run of gates on one qubit, and
bits that are read wrongly, 0 as 1 with chance 1 %, and 1 as 0 with 3 %. `torino`: the noise of `ibm:fake_torino`, where
circuits are compiled first. Figures are root mean squares over all means and repeats, which draw circuits anew.

The shots of a circuit are the same in each row of a table. They include calibration, but for the row of `learned` whose
training is paid once for a whole layer, and listed beside.
"""

from collections.abc import Sequence
from threading import Event
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from benchmarks.harness import Option, Table, middle, parse, resampled, write
from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import Bits, Capabilities, CircuitProgram
from hybrid_opt.backends.local.circuit_backend import CircuitBackend
from hybrid_opt.backends.local.compiled import CircuitConfig
from hybrid_opt.backends.local.gates import Angle

Floats = NDArray[np.float64]
Chance = Annotated[float, Field(ge=0, le=0.5)]
QUBITS, LAYERS, CIRCUITS = 4, 8, 24
TRAINING = 1_000_000  # shots of the fit of a layer
NAME = "benchmarks.mitigation:Depolarising"
KNOWN = {
    "": "none",
    "readout": "readout",
    "readout+zne": "readout, ZNE 1/3 linear",
    "readout+pec(p=0.01)": "readout, PEC",
    f"learned(shots={TRAINING})": "learned per layer, once",
    "zne": "ZNE 1/3 linear",
    "readout+zne(scales=1/3/5,fit=richardson)": "readout, ZNE 1/3/5 Richardson",
    "readout+zne(fit=exponential)": "readout, ZNE 1/3 exponential",
    "readout+zne(amplify=noise,p=0.01)": "readout, ZNE by known noise",
    "readout+virtual": "readout, virtual distillation",
    "learned": "learned per layer, within",
    "learned(per=circuit,circuits=10)": "learned per circuit, within",
    "readout+zne+learned": "readout, ZNE, learned",
}
TARGETS = dict(zip(list(KNOWN)[:5], (0.061, 0.047, 0.0185, 0.0124, 0.0151), strict=True))  # at 20,000 shots
TORINO = [
    *("", "readout", "readout+zne", "twirling+readout+zne", "readout+zne(fit=exponential)"),
    *(f"learned(shots={TRAINING})", f"twirling+learned(shots={TRAINING})", "learned"),
]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class DepolarisingConfig(CircuitConfig):
    """Depolarising noise and a read-out that errs."""

    p: Chance = 0.01
    """chance of an error of a gate on two qubits; a tenth of it for ry"""
    zero: Chance = 0.01
    """chance to read 1 for 0"""
    one: Chance = 0.03
    """chance to read 0 for 1"""


class Depolarising(CircuitBackend):
    """Density matrices as real vectors of Pauli means [P, 4, ..., 4], all parameter sets at once; qubit 0 is axis 1.

    Other gates on one qubit are free: they stand for those that are merged with their neighbours.
    """

    Config, devices, capabilities = DepolarisingConfig, "none", Capabilities(circuits=True, observables=True)

    def __init__(self, config: Any = None) -> None:
        super().__init__("depolarising", config)
        self._matrices = dict[Any, Floats]()

    def _compile(self, circuit: Any, program: CircuitProgram) -> Any:
        return circuit

    def _depth(self, compiled: Any) -> int:
        return int(compiled.depth())

    def _samples(self, compiled: Any, program: CircuitProgram, seed: int, stop: Event) -> Sequence[Bits]:
        rng, n = np.random.default_rng(seed), compiled.num_qubits
        laws = np.maximum(self._laws(compiled, program.parameters), 0)
        counts = rng.multinomial(program.shots or 0, laws / laws.sum(1, keepdims=True))  # [P, 2^n]
        bits = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.uint8)
        return [np.repeat(bits, row, 0) for row in counts]

    def _laws(self, circuit: Any, parameters: Floats) -> Floats:
        """Probabilities [P, 2^n] of what is read."""
        n, order = circuit.num_qubits, {each: index for index, each in enumerate(circuit.parameters)}
        state: Any = np.zeros((len(parameters), *[4] * n))
        state[:, *np.ix_(*[[0, 3]] * n)] = 1.0
        for item in circuit.data:
            qubits = [circuit.find_bit(qubit).index for qubit in item.qubits]
            if item.operation.name in ("ry", "rz"):
                a, b = (1, 3) if item.operation.name == "ry" else (2, 1)
                _turn(np.moveaxis(state, 1 + qubits[0], 0), a, b, Angle(item.operation.params[0], order)(parameters))
            else:
                axes = [1 + qubit for qubit in reversed(qubits)]
                moved = np.moveaxis(state, axes, range(1, 1 + len(axes)))
                made = self._matrix(item.operation) @ moved.reshape(len(state), 4 ** len(axes), -1)
                state = np.moveaxis(made.reshape(moved.shape), range(1, 1 + len(axes)), axes)
            if item.operation.name == "ry":
                np.moveaxis(state, 1 + qubits[0], 0)[1:] *= 1 - 4 * self.config.p / 10 / 3
        flips = np.array([[1 - self.config.zero, self.config.one], [self.config.zero, 1 - self.config.one]])
        read = flips @ (np.array([[1, 0, 0, 1], [1, 0, 0, -1]]) / 2)  # [bit, Pauli]
        for _ in range(n):  # the first axis that is left goes, its bit comes last
            state = np.tensordot(state, read, ([1], [1]))
        return np.moveaxis(state, range(1, n + 1), range(n, 0, -1)).reshape(len(state), -1)

    def _matrix(self, operation: Any) -> Floats:
        """Of a gate without angles on Pauli means, with the noise of one on two qubits."""
        from qiskit.quantum_info import PTM

        key = operation.name if operation.name != "unitary" else np.asarray(operation.params[0]).tobytes()
        if key not in self._matrices:
            matrix = np.real(PTM(operation).data)
            if operation.num_qubits == 2:
                matrix[1:] *= 1 - 16 * self.config.p / 15
            self._matrices[key] = matrix
        return self._matrices[key]


def _turn(state: Floats, a: int, b: int, angle: Floats) -> None:
    """Turn component b towards a, in place; state [4, P, ...]."""
    shape = (-1, *[1] * (state.ndim - 2))
    cos, sin = np.cos(angle).reshape(shape), np.sin(angle).reshape(shape)
    state[a], state[b] = cos * state[a] + sin * state[b], cos * state[b] - sin * state[a]


def circuits(seed: int) -> CircuitProgram:
    """The random circuits, as parameter sets of one."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector
    from qiskit.quantum_info import SparsePauliOp

    made, angles = QuantumCircuit(QUBITS), iter(ParameterVector("angle", 2 * QUBITS * LAYERS))
    for layer in range(LAYERS):
        for q in range(QUBITS):
            made.ry(next(angles), q)
            made.rz(next(angles), q)
        for q in range(QUBITS - 1) if layer < LAYERS - 1 else ():
            made.cz(q, q + 1)
    rows = np.random.default_rng(seed).uniform(-np.pi, np.pi, (CIRCUITS, made.num_parameters))
    observables = [SparsePauliOp.from_sparse_list([("Z", [q], 1.0)], QUBITS) for q in range(QUBITS)]
    return CircuitProgram(made, rows, None, tuple(observables))


def measure(backend: str, text: str, shots: int, repeats: int) -> dict[str, Any]:
    """Root mean square error, its interval, shots in all, and how large the errors are that are told."""
    off, told, spent = list[Floats](), list[Floats](), list[int]()
    about: dict[str, Any] = {}
    for repeat in range(repeats):
        program = circuits(repeat)
        exact = open_backend("statevector").submit(program, "exact").result().means
        opened = open_backend(backend + (f"?mitigation={text}" if text else ""))
        asked = CircuitProgram(program.circuit, program.parameters, shots, program.observables)
        result = opened.submit(asked, "noisy", repeat).result()
        opened.close()
        assert exact is not None and result.means is not None and result.errors is not None
        off.append(result.means - exact)
        told.append(result.errors)
        spent.append(result.cost.shots)
        about = dict(result.about)
    square = np.concatenate(off) ** 2  # [circuits, means]
    draws = np.sqrt(resampled(square, 1000).mean((1, 2)))
    return {
        "rmse": float(np.sqrt(square.mean())),
        "interval": middle(draws),
        "told": float(np.sqrt(np.mean(np.concatenate(told) ** 2))),
        "shots": int(np.mean(spent)),
        "calibration": int(about.get("calibration_shots", 0)),
        "circuits": int(about.get("mitigated", 1)),
        "overhead": about.get("overhead"),
    }


def table(backend: str, title: str, texts: Sequence[str], shots: int, repeats: int) -> dict[str, Any]:
    """Measure all rows at one number of shots."""
    columns = ("RMSE:>9.4f", "from:>9.4f", "to:>9.4f", "of none:>9.2f", "target:>9", "told:>9.4f", "Mshots:>9.3f")
    rows = Table(f"{title}, {shots:,} shots", *columns, "calibr.:>10,d", "circuits:>9,d", label="", width=58)
    figures: dict[str, Any] = {}
    for text in texts:
        try:
            found = measure(backend, text, shots, repeats)
        except ValueError as error:
            print(f"{text:58} {error}", flush=True)
            continue
        figures[text or "none"] = found
        none = figures["none"]["rmse"]
        goal = TARGETS.get(text) if backend == NAME and shots == 20_000 else None
        cells = [found["rmse"], *found["interval"], found["rmse"] / none, f"{goal or ''}", found["told"]]
        rows.row(text or "none", *cells, found["shots"] / 1e6, found["calibration"], found["circuits"])
    return figures


def main() -> None:
    """Print the tables."""
    shots = Option([20_000, 1_000, 100], "of each circuit")
    given = parse(__doc__, ("known", "torino"), shots=shots, repeats=(4, "sets of circuits"))
    figures: dict[str, Any] = {}
    if "known" in given.parts:
        for count in given.shots:
            figures[f"known {count}"] = table(NAME, "Known noise", list(KNOWN), count, given.repeats)
    if "torino" in given.parts:
        for count in given.shots[:1]:
            figures[f"torino {count}"] = table("ibm:fake_torino", "fake_torino", TORINO, count, given.repeats)
    write(given, figures)


if __name__ == "__main__":
    main()
