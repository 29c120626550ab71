"""The frequencies of heads that read a circuit, or what stands in its place, along the angles that it encodes."""

from typing import Any

import torch
from torch import Tensor

from hybrid_opt.layers.layer import CircuitLayer
from hybrid_opt.layers.measures.functions import spectrum
from worldmodel.explain.targets import DreamerTargets, Targets
from worldmodel.model.heads.base.readout import ReadoutHead

ROWS = 16  # states around which the angles go
SHOWN = 8


def spectra(targets: Targets, rows: Tensor, kept: Tensor) -> dict[str, Any]:
    """Return for each head of angles the shares of its variance at frequencies 1 to 8, or why there are none.

    rows [N, P], kept [N, C]: states, whose angles stay but for one that goes round the circle.
    """
    if not isinstance(targets, DreamerTargets):
        return {}
    found: dict[str, Any] = {}
    for name, head in (("policy", targets.actor.net), ("value", targets.critic)):
        if not isinstance(head, ReadoutHead):
            continue
        body: Any = head.angles.body
        if isinstance(body, CircuitLayer) and body.origin is None:
            found[name] = {"refused": "the angles of this encoding are no multiples of its inputs"}
            continue
        with torch.no_grad():
            spaced = torch.linspace(0, len(rows) - 1, min(len(rows), ROWS)).long().unique()
            given = head.angles.front(targets.feature(rows[spaced], kept[spaced]))
            angles = given if head.angles.front.raw else body.encoding.fit(given)
            shares = spectrum(_of_angles(head), angles).tolist()
        mean = sum(place * share for place, share in enumerate(shares, 1))
        found[name] = {"shares": shares[:SHOWN], "beyond": sum(shares[SHOWN:]), "mean": mean}
    return found


def _of_angles(head: ReadoutHead) -> Any:
    return lambda angles: head.out(head.gain(head.angles.body(angles)))
