"""Deletion and insertion: does the target move sooner in the order of an explanation (Petsiuk et al. 2018)?"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.compare.statistics import Interval, mean_interval
from worldmodel.explain.gradients import evaluated
from worldmodel.explain.inputs import Inputs
from worldmodel.explain.targets import Function

STAGES = 16  # in which features go; several at once where there are more


class Curves(NamedTuple):
    """Areas under the target, in its own unit, for each state [N].

    deletion: features go to the baseline, those that raise the target most first; the lower, the better the order.
    insertion: they come from the baseline in the same order; the higher, the better.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]


class Gains(NamedTuple):
    """By how much an order is better than random ones: means with their 95 % intervals."""

    deletion: Interval
    insertion: Interval

    @property
    def better(self) -> bool:
        """Whether both are above zero for sure."""
        return self.deletion.low > 0 and self.insertion.low > 0


def curves(function: Function, x: Tensor, baseline: Tensor, inputs: Inputs, order: NDArray[np.int64]) -> Curves:
    """Return both areas. x [N, P], baseline [P]; order [N, F]: features, those that go first in front."""
    count = order.shape[1]
    stages = np.unique(np.linspace(0, count, min(count, STAGES) + 1).round().astype(np.int64))
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(count)[None], 1)
    gone = inputs.spread(torch.from_numpy(place)).to(x.device)  # [N, P]: when a number goes
    states = torch.arange(len(x), device=x.device)
    deleted, inserted = [], []
    for stage in stages.tolist():
        deleted.append(evaluated(function, torch.where(gone < stage, baseline, x), states))
        inserted.append(evaluated(function, torch.where(gone < stage, x, baseline), states))
    areas = [torch.trapezoid(torch.stack(each).double(), torch.from_numpy(stages / count).to(x.device), dim=0)
             for each in (deleted, inserted)]  # fmt: skip
    return Curves(*(area.cpu().numpy() for area in areas))


def falling(values: Tensor) -> NDArray[np.int64]:
    """Return the order [N, F] of an explanation [N, F]: what raises the target most comes first."""
    order: NDArray[np.int64] = np.argsort(-values.cpu().numpy(), axis=1, kind="stable")
    return order


def random_curves(
    function: Function, x: Tensor, baseline: Tensor, inputs: Inputs, count: int, rng: np.random.Generator
) -> Curves:
    """Return the mean areas of random orders, drawn anew for each state."""
    shape = len(x), len(inputs.names)
    drawn = [rng.permuted(np.tile(np.arange(shape[1]), (shape[0], 1)), axis=1) for _ in range(count)]
    found = [curves(function, x, baseline, inputs, order) for order in drawn]
    return Curves(*(np.mean([getattr(each, name) for each in found], 0) for name in Curves._fields))


def gains(found: Curves, random: Curves, groups: NDArray[np.int64]) -> Gains:
    """Return by how much areas are better than random ones, as means over groups of states.

    groups [N]: the episodes, since states of one resemble each other. States are their own groups where there is one.
    """
    if len(np.unique(groups)) < 2:
        groups = np.arange(len(groups))
    differences = random.deletion - found.deletion, found.insertion - random.insertion
    means = [[each[groups == group].mean() for group in np.unique(groups)] for each in differences]
    return Gains(*(mean_interval({"": values}) for values in means))
