"""Randomisation of weights: what survives it explains no agent (Adebayo et al. 2018, arXiv 1810.03292)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

MOST = 0.3  # rank correlation with the explanations of re-drawn weights


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank correlation of each row, [N] of a and b [N, F]; 0 where a row has one value only."""
    ranks = [rankdata(each, axis=1) for each in (a, b)]
    centred = [each - each.mean(1, keepdims=True) for each in ranks]
    norms = np.prod([np.sqrt((each**2).sum(1)) for each in centred], axis=0)
    found: NDArray[np.float64] = (centred[0] * centred[1]).sum(1) / np.where(norms > 0, norms, 1.0)
    return found


def correlation(explanation: Tensor, others: list[Tensor]) -> dict[str, float]:
    """Return the mean rank correlation of an explanation [N, F] with others: of contributions, and of their sizes.

    signed: from what raises the target most to what lowers it most. sizes: whatever the sign, as a heat map shows it.
    Sizes also follow how far an observation is from the baseline, and that all agents share.
    """
    own = explanation.cpu().numpy()
    views: dict[str, Callable[[Any], Any]] = {"signed": np.asarray, "sizes": np.abs}
    return {
        name: float(np.mean([spearman(view(own), view(other.cpu().numpy())) for other in others]))
        for name, view in views.items()
    }
