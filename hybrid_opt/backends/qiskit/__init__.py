"""Backends of Qiskit: Aer, IBM's processors and their snapshots, other providers."""
