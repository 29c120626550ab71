"""CircuitLayer in PennyLane: its templates where it has them, written out where it has none.

Wire i of PennyLane is qubit i. Its basis states count wire 0 as the highest bit, ours as the lowest.
"""

from typing import Any

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

ANGLES = {"strong": 3, "ry_cz": 1, "brick": 2}  # of a qubit in a layer


def encode(name: str, x: Tensor, qubits: int) -> None:
    """Queue the gates of an encoding."""
    wires = range(qubits)
    if name == "angle":
        qml.AngleEmbedding(x, wires, rotation="X")
    elif name == "angle_xyz":
        for k, axis in enumerate("XYZ"):
            qml.AngleEmbedding(x[k::3], wires, rotation=axis)
    elif name == "dense":
        qml.AngleEmbedding(x[0::2], wires, rotation="Y")
        qml.AngleEmbedding(x[1::2], wires, rotation="Z")
    elif name == "basis":
        qml.BasisEmbedding([int(bit) for bit in x], wires)
    elif name == "amplitude":
        qml.AmplitudeEmbedding(reordered(x[None], qubits)[0], wires, normalize=True)
    else:
        qml.IQPEmbedding(x, wires)


def entangle(ansatz: str, how: str, layer: int, qubits: int) -> None:
    """Queue entanglers: pairs as text, so that they are no copy of the code under test."""
    ring = {2: ["01"], 3: ["01", "12", "20"], 4: ["01", "12", "23", "30"]}[qubits]
    every = {2: ["01"], 3: ["01", "02", "12"], 4: ["01", "02", "03", "12", "13", "23"]}[qubits]
    bricks = {2: [["01"], ["10"]], 3: [["01"], ["12"]], 4: [["01", "23"], ["12", "30"]]}[qubits]
    rounds = {2: [["01"]], 3: [["12"], ["02"], ["01"]], 4: [["03", "12"], ["13", "02"], ["23", "01"]]}[qubits]
    if how == "none":
        return
    if ansatz == "ry_cz":
        for first, second in ring if how == "ring" else every:
            qml.CZ([int(first), int(second)])
        return
    walls = bricks if how == "ring" else rounds
    pairs = every if ansatz == "strong" else walls[layer % len(walls)]
    for first, second in pairs:
        qml.CNOT([int(first), int(second)])


def rotate(ansatz: str, weights: Tensor) -> None:
    """Queue the rotations of a layer, weights [n, angles]."""
    for q, angles in enumerate(weights):
        if ansatz == "strong":
            qml.Rot(*angles, wires=q)
        elif ansatz == "ry_cz":
            qml.RY(angles[0], q)
        else:
            qml.RY(angles[0], q)
            qml.RZ(angles[1], q)


def circuit_layer(
    encoding: str, ansatz: str, how: str, readout: str, x: Tensor, scale: Tensor | None, weights: Tensor
) -> Tensor:
    """Outputs [N, outputs] at inputs [N, inputs]; scale [uploads, inputs], weights [L, n, angles]."""
    layers, qubits = weights.shape[:2]

    @qml.qnode(qml.device("default.qubit", wires=qubits), interface="torch", diff_method="backprop")
    def run(row: Tensor) -> Any:
        for layer in range(layers):
            if layer == 0 or encoding not in ("basis", "amplitude"):
                encode(encoding, row if scale is None else row * scale[layer], qubits)
            if ansatz == "strong" and how == "ring":
                reach = 1 + layer % max(1, qubits - 1)  # the template counts layers from the first it is given
                qml.StronglyEntanglingLayers(weights[layer : layer + 1], range(qubits), ranges=[reach])
            else:
                rotate(ansatz, weights[layer])
                entangle(ansatz, how, layer, qubits)
        if readout == "probabilities":
            return qml.probs(wires=range(qubits))
        z = [qml.expval(qml.Z(q)) for q in range(qubits)]
        return z + ([qml.expval(qml.Z(q) @ qml.Z(q + 1)) for q in range(qubits - 1)] if readout == "zz" else [])

    rows = [run(row) for row in x]
    if readout == "probabilities":
        return reordered(torch.stack(rows), qubits)
    return torch.stack([torch.stack(row) for row in rows])


def state(encoding: str, x: Tensor, qubits: int) -> np.ndarray:
    """The state of one encoding, complex [2^n] in our order."""

    @qml.qnode(qml.device("default.qubit", wires=qubits), interface="torch")
    def run() -> Any:
        encode(encoding, x, qubits)
        return qml.state()

    return reordered(run()[None], qubits)[0].numpy()


def reordered(x: Tensor, qubits: int) -> Tensor:
    """Entries [N, 2^n] of basis states in the other order of wires."""
    axes = [0, *range(qubits, 0, -1)]
    return x.reshape(-1, *[2] * qubits).permute(axes).reshape(len(x), -1)


def full(weights: Tensor, encoding: str, ansatz: str, layers: int, qubits: int) -> Tensor:
    """Weights [L, n, angles] from those of a layer: 0 for angles that it leaves out, since they have no effect.

    Those are RZ before nothing but CNOTs and the measurement, and RZ after nothing but a basis encoding.
    """
    kept = torch.ones(layers, qubits, ANGLES[ansatz], dtype=torch.bool)
    if ansatz != "ry_cz":
        kept[-1, :, -1] = False
    if ansatz == "strong" and encoding == "basis":
        kept[0, :, 0] = False
    return torch.zeros(kept.shape, dtype=weights.dtype).masked_scatter(kept, weights)
