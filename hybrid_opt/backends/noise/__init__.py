"""Noise models, one a file: the same errors for circuit layers, for solvers on a simulator, and for qiskit-aer."""

from hybrid_opt.backends.noise.noise import NOISES, Noise, check_one, noise_of

__all__ = ["NOISES", "Noise", "check_one", "noise_of"]
