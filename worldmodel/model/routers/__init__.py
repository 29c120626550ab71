"""Routers, one kind a file: `routers/NAME.py` defines a `Router` for `model.router=NAME`. Any head is one too."""

from hybrid_opt.parts import Parts

ROUTERS = Parts("router", __name__, "Router", options=False)
