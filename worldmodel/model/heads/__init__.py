"""What predicts from a feature, one kind a file: `heads/NAME.py` defines a `Head` for `model.heads.actor=NAME`."""

from hybrid_opt.parts import Parts

HEADS = Parts("head", __name__, "Head", options=False)
