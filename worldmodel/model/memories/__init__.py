"""Episodic memories, one kind a file: `memories/NAME.py` defines a `Memory` for `model.memory=NAME`."""

from hybrid_opt.parts import Parts

MEMORIES = Parts("memory", __name__, "Memory", options=False)
