"""Ansatz by name."""

from hybrid_opt.parts import Parts

ANSATZE = Parts("ansatz", "hybrid_opt.circuits.ansatz", "Ansatz", options=False)
