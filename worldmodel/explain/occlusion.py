"""Occlusion: what a target loses where one feature is as in the baseline (Zeiler and Fergus 2014)."""

import torch
from torch import Tensor

from worldmodel.explain.gradients import evaluated
from worldmodel.explain.inputs import Inputs
from worldmodel.explain.targets import Function


def occlusion(function: Function, x: Tensor, baseline: Tensor, inputs: Inputs) -> Tensor:
    """Return f(x) - f(x with a feature of the baseline) for each feature, [N, F]. x [N, P], baseline [P]."""
    states = torch.arange(len(x), device=x.device)
    whole, columns = evaluated(function, x, states), []
    for feature in range(len(inputs.names)):
        hidden = torch.from_numpy(inputs.feature == feature).to(x.device)
        columns.append(whole - evaluated(function, torch.where(hidden, baseline, x), states))
    return torch.stack(columns, -1)
