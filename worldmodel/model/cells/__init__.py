"""Recurrent cells, one a file: `cells/NAME.py` defines a `Cell`, which `model.cell=NAME` chooses."""

from hybrid_opt.parts import Parts

CELLS = Parts("cell", __name__, "Cell", options=False)
