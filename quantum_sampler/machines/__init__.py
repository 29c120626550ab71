"""Boltzmann machines over binary codes: one machine a file, classical controls among them."""

from hybrid_opt.parts import Parts
from quantum_sampler.machines.independent import IndependentBits
from quantum_sampler.machines.machine import Machine
from quantum_sampler.machines.rbm import Rbm
from quantum_sampler.machines.semi_quantum import SemiQuantumRbm
from quantum_sampler.machines.transverse import TransverseMachine
from quantum_sampler.selector import OptionError

MACHINES = Parts("machine", __name__, "Restricted", options=False, error=OptionError)

__all__ = ["MACHINES", "IndependentBits", "Machine", "Rbm", "SemiQuantumRbm", "TransverseMachine"]
