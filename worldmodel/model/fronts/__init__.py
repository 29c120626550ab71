"""What comes before an encoding, one kind a file: `fronts/NAME.py` defines a `Front` for `model.front=NAME`."""

from hybrid_opt.parts import Parts

FRONTS = Parts("front", __name__, "Front", options=False)
