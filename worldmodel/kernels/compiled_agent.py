"""The compiled loops of one agent."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from worldmodel.kernels.act import Acting
from worldmodel.kernels.imagine import imagine
from worldmodel.kernels.supported import REGISTER, exact
from worldmodel.model.batch import AnyState, Carry, Imagined, State
from worldmodel.model.encoder import flat_inputs

if TYPE_CHECKING:
    from worldmodel.model.agent import Agent


class CompiledAgent:
    """What `worldmodel.model.agent.Kernels` asks for; None where the operators of PyTorch stay."""

    def __init__(self, agent: "Agent", threads: int = 1) -> None:
        model, behavior = agent.world_model, agent.actor_critic
        self._model, self._behavior, self._threads = model, behavior, threads
        acts = behavior.actor.net.compiled and not model.encoder.images and not model.memory.width
        self._acting = Acting(model.encoder.mlp, model.rssm, behavior.actor) if acts else None

    def act(
        self, observation: Mapping[str, Tensor], is_first: Tensor, carry: Carry, noise: Tensor
    ) -> tuple[State, Tensor] | None:
        if self._acting is None or not exact(carry.state.deter):
            return None
        keep, inputs = (~is_first).unsqueeze(-1).float(), flat_inputs(observation, self._model.encoder.flat)
        state = State(carry.state.deter, carry.state.stoch)
        return self._acting(inputs, keep, carry.action, state, noise)

    def imagine(self, start: AnyState, noise: Tensor, chance: Tensor) -> Imagined | None:
        if self._model.rssm.size.units < REGISTER or not exact(start.deter):
            return None
        threads = max(self._threads, torch.get_num_threads())
        return imagine(self._model, self._behavior, start, noise, chance, threads)
