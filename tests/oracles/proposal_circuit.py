"""The quantum proposal as a circuit: what `QuantumProposal` simulates, gate by gate."""

from typing import Any

from hybrid_opt.problem.qubo import Qubo
from quantum_sampler.chains.quantum_proposal import scaled


def proposal_circuit(qubo: Qubo, state: int, gamma: float, time: float, steps: int) -> Any:
    """A qiskit QuantumCircuit that prepares basis state `state` and evolves it, without measurements.

    H = (1 - gamma) a H_prob + gamma sum X, H_prob the energy of the Qubo less its mean; second-order Trotter formula of
    so many steps (Layden et al. 2023, arXiv 2203.12497), its half phases included.
    """
    from qiskit import QuantumCircuit

    fields, couplings, _ = qubo.to_ising()
    energies = qubo.diagonal()
    centred = energies - energies.mean()
    place = int(abs(centred).argmax())
    scale = float(scaled(energies)[place] / centred[place]) if centred[place] else 0.0  # a
    circuit = QuantumCircuit(qubo.n)
    for i in range(qubo.n):
        if state >> i & 1:
            circuit.x(i)
    phase, mixer = (1 - gamma) * scale * time / steps, gamma * time / steps

    def phases(angle: float) -> None:
        for i in range(qubo.n):
            circuit.rz(2 * angle * fields[i], i)
            for j in range(i + 1, qubo.n):
                if couplings[i, j]:
                    circuit.rzz(2 * angle * couplings[i, j], i, j)

    for step in range(steps):
        phases(phase / 2 if step == 0 else phase)
        circuit.rx(2 * mixer, range(qubo.n))
    phases(phase / 2)
    return circuit
