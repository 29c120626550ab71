"""Which models compiled kernels take the place of PyTorch's operators for."""

import torch
from torch import Tensor

from worldmodel.model.agent import Agent

WIDEST = 1024  # recurrent state, so that the weights that a step reads stay in the caches
REGISTER = 16  # floats


def exact(x: Tensor) -> bool:
    """Whether x is computed in float32 on the CPU, without autocast."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def has_kernels(agent: Agent) -> bool:
    """Whether compiled loops exist for the cell of an agent, and for its width. Heads of all kinds go with them."""
    if not agent.compiled:
        return False
    rssm = agent.world_model.rssm
    return rssm.size.deter <= WIDEST and bool(rssm.cell.compiled)


def small(agent: Agent) -> bool:
    """Whether compiled kernels do most of an agent's work on the CPU."""
    return has_kernels(agent) and not agent.world_model.encoder.images
