"""Boltzmann machines over binary codes: one machine a file, classical controls among them."""

from quantum_sampler.machines.independent import IndependentBits
from quantum_sampler.machines.machine import Machine
from quantum_sampler.machines.rbm import Rbm
from quantum_sampler.machines.semi_quantum import SemiQuantumRbm
from quantum_sampler.machines.transverse import TransverseMachine

__all__ = ["IndependentBits", "Machine", "Rbm", "SemiQuantumRbm", "TransverseMachine"]
