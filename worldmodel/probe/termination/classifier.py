"""Support vector machines with kernels of states and their twins, whose bandwidths are chosen alike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.errors import ProblemError
from hybrid_opt.overlaps import make_overlap
from hybrid_opt.overlaps.concentration import Concentration, concentration

KERNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "rbf": ("rbf", {}),
    "laplace": ("laplace", {}),
    "product": ("fidelity", {"encoding": "angle"}),
    "iqp": ("fidelity", {"encoding": "iqp"}),
    "projected": ("projected", {"encoding": "iqp"}),
}
BANDWIDTHS = (0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)
COSTS = (0.1, 1.0, 10.0, 100.0, 1000.0)
WIDEST = 8  # qubits; wider states are projected onto their principal components

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """States [N, d] and whether their episodes end soon [N], to learn, to validate and to test."""

    x: tuple[Floats, Floats, Floats]
    y: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(frozen=True)
class Found:
    """The area under the curve on test states, with the bandwidth and cost that validation chose.

    concentration: of the Gram matrix of the states that were learned from, at that bandwidth.
    """

    area: float
    bandwidth: float
    cost: float
    concentration: Concentration


def split(x: Floats, y: NDArray[np.bool_], sizes: tuple[int, int, int], rng: np.random.Generator) -> Split:
    """Draw states without replacement, standardised by those to learn from. Raises ProblemError for too few."""
    if len(x) < sum(sizes):
        raise ProblemError(
            f"train + validate + test = {sum(sizes)}: the episodes have {len(x)} states, at most so many"
        )
    parts = np.split(rng.permutation(len(x))[: sum(sizes)], np.cumsum(sizes)[:-1])
    labels = tuple(y[part] for part in parts)
    for name, part in zip(("train", "validate", "test"), labels, strict=True):
        if part.all() or not part.any():
            raise ProblemError(
                f"{name}={len(part)}: all of these states have one label; more states, or another within"
            )
    first = x[parts[0]]
    scale = first.std(0)
    kept = scale > 1e-9 * np.abs(first).max(0).clip(min=1e-9)
    scaled = [(x[part] - first.mean(0))[:, kept] / scale[kept] for part in parts]
    if kept.sum() > WIDEST:
        axes = np.linalg.svd(scaled[0], full_matrices=False)[2][:WIDEST].T
        spread = (scaled[0] @ axes).std(0)
        scaled = [part @ axes / spread for part in scaled]
    return Split(tuple(scaled), labels)  # type: ignore[arg-type]


def classified(name: str, data: Split) -> Found:
    """Learn with every bandwidth and cost, keep the pair of the best area on validation states, and test that."""
    from sklearn.metrics import roc_auc_score
    from sklearn.svm import SVC

    kind, options = KERNELS[name]
    best: tuple[float, Found] | None = None
    for bandwidth in BANDWIDTHS:
        overlap = make_overlap(kind, bandwidth=bandwidth, **options)
        gram = overlap(data.x[0])
        validated, tested = (overlap(part, data.x[0]) for part in data.x[1:])
        for cost in COSTS:
            machine = SVC(kernel="precomputed", C=cost).fit(gram, data.y[0])
            area = float(roc_auc_score(data.y[1], machine.decision_function(validated)))
            if best is None or area > best[0]:
                told = float(roc_auc_score(data.y[2], machine.decision_function(tested)))
                best = area, Found(told, bandwidth, cost, concentration(gram))
    assert best is not None
    return best[1]
