"""The contract of noise models: which errors follow a gate, and how bits are misread."""

from abc import ABC
from collections.abc import Mapping
from functools import reduce
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.qiskit.primitives import BASIS
from hybrid_opt.errors import ProblemError
from hybrid_opt.parts import Parts, checked

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
NONE = "none"
SINGLE = 10.0  # errors of two-qubit gates are as many times as frequent as those of gates on one qubit
# Pauli x + 2 z of bits x and z. Two qubits: the first one's number + 4 times the second one's.
LETTERS = "IXZY"
PAULIS: Complexes = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [0, -1]], [[0, -1j], [1j, 0]]])


class Noise(ABC):
    """Errors after each two-qubit gate, after each run of gates on one qubit, and when bits are read.

    A model states Kraus operators or, with `mixture`, chances of Paulis. Each follows from the other. Circuit layers
    take the Paulis. Those of a model that is no mixture of Paulis are its Pauli twirl.
    """

    Config: ClassVar[type[Any]]
    name: ClassVar[str]
    mixture: ClassVar[bool] = False
    """whether its errors are random Paulis, and not only on average over twirls"""

    def __init__(self, config: Any = None) -> None:
        self.config = type(self).Config() if config is None else config

    def kraus(self, qubits: int) -> Complexes:
        """Return the Kraus operators [K, 2^q, 2^q] of the error after a gate on q = 1 or 2 qubits."""
        if not self.mixture:
            return np.eye(1 << qubits, dtype=np.complex128)[None]
        roots = np.sqrt(self.paulis(qubits))
        return np.stack([root * pauli for root, pauli in zip(roots, matrices(qubits), strict=True) if root > 0])

    def paulis(self, qubits: int) -> Floats:
        """Return the chance of each Pauli, [4^q], after a gate on q qubits: number x + 2 z for each qubit.

        They are |tr(P K)|^2 / 4^q, summed over the Kraus operators: the diagonal of the process matrix.
        """
        traces = np.einsum("pij,kji->pk", matrices(qubits), self.kraus(qubits))
        chances: Floats = (np.abs(traces) ** 2).sum(1) / 4**qubits
        return chances

    @property
    def flips(self) -> tuple[float, float]:
        """The chances to read 0 as 1, and 1 as 0."""
        return 0.0, 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing ever goes wrong."""
        return not any(self.flips) and all(self.paulis(qubits)[0] >= 1.0 for qubits in (1, 2))

    def aer(self) -> Any:
        """Return the qiskit-aer NoiseModel.

        Its gates are cx, cz, rzz and u. The `aer` backend merges or marks runs of u, so that each run has one error.
        """
        from qiskit_aer.noise import NoiseModel, ReadoutError

        model = NoiseModel(list(BASIS))
        for qubits, gates in ((1, ["u"]), (2, [gate for gate in BASIS if gate != "u"])):
            if self.paulis(qubits)[0] < 1.0:
                model.add_all_qubit_quantum_error(self._error(qubits), gates)
        zero, one = self.flips
        if zero or one:
            model.add_all_qubit_readout_error(ReadoutError([[1 - zero, zero], [one, 1 - one]]))
        return model

    def _error(self, qubits: int) -> Any:
        from qiskit_aer.noise import kraus_error, pauli_error

        if not self.mixture:
            return kraus_error(list(self.kraus(qubits)))
        return pauli_error(list(zip(labels(qubits), self.paulis(qubits), strict=True)))


NOISES = Parts("noise model", "hybrid_opt.backends.noise", "Noise")


def noise_of(noise: Any, key: str = "noise") -> Noise | None:
    """Return the model of a name, of a mapping of `name` and options, or of a number: the p of depolarizing noise.

    A model is returned as it is. None: there is no noise, or its chances are all 0. Raises ProblemError, which says
    `key`.
    """
    if isinstance(noise, int | float) and not isinstance(noise, bool):
        noise = {"name": "depolarizing", "p": noise}
    if isinstance(noise, Noise):
        model = noise
    else:
        options = {"name": NONE if noise is None else noise} if not isinstance(noise, Mapping) else dict(noise)
        name = options.pop("name", None)
        if name == NONE:
            for option, value in options.items():
                others = ", ".join(NOISES)
                raise ProblemError(f"{key}.{option}={value}: {key}={NONE} has no options; {key}={others} are accepted")
            return None
        kind = NOISES.find(name, key, beside=(NONE,))
        model = kind(checked(kind.Config, options, key, f"of {name}"))
    return None if model.idle else model


def check_one(noise: Noise | None, backend: Any, key: str = "backend") -> None:
    """Raise ProblemError where a backend brings noise of its own beside that of the key."""
    if noise is None:
        return
    if isinstance(backend, str):
        own = any(part.startswith("noise=") for part in backend.partition("?")[2].split("&"))
    elif isinstance(backend, Mapping):
        own = backend.get("noise") is not None
    else:
        own = getattr(getattr(backend, "config", None), "noise", None) is not None
    if own:
        label = getattr(backend, "name", backend)
        raise ProblemError(f"{key}={label}: has noise of its own, beside noise={noise.name}; one of them is accepted")


def matrices(qubits: int) -> Complexes:
    """All Paulis of q qubits, [4^q, 2^q, 2^q]. The first qubit is the lowest bit, and turns fastest."""
    return np.stack([reduce(np.kron, each) for each in product(PAULIS, repeat=qubits)])


def labels(qubits: int) -> list[str]:
    """Their names as qiskit writes them: the first qubit stands last."""
    return ["".join(letters) for letters in product(LETTERS, repeat=qubits)]


def on_each(kraus: Complexes, qubits: int) -> Complexes:
    """The operators of an error that happens to each of q qubits alone."""
    return np.stack([reduce(np.kron, each) for each in product(kraus, repeat=qubits)])
