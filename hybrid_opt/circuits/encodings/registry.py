"""Encodings by name."""

from hybrid_opt.parts import Parts

ENCODINGS = Parts("encoding", "hybrid_opt.circuits.encodings", "Encoding", options=False)
