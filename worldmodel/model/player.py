"""An agent at work: arrays in, actions out, on its device and in its precision."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from worldmodel.model.agent import Agent
from worldmodel.model.batch import Carry


class NonFiniteAction(RuntimeError):
    """The agent chose an action that is NaN or infinite."""

    exit_code = 1


class Player:
    """Binds an agent to a device, a precision and a random generator. Shapes: N streams."""

    def __init__(
        self,
        agent: Agent,
        precision: torch.dtype,
        generator: torch.Generator,
        acting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """acting: a context in which the agent acts, such as one in which its circuits run on a processor."""
        self.agent, self.precision, self.generator, self.acting = agent, precision, generator, acting
        self.device = generator.device

    def copy(self, seed: int) -> "Player":
        """A player of the same agent with a random generator of its own."""
        generator = torch.Generator(self.device)
        generator.manual_seed(seed)
        return Player(self.agent, self.precision, generator, self.acting)

    def initial(self, rows: int) -> Carry:
        """Carry at the start."""
        return self.agent.initial(rows)

    def act(
        self, observation: Mapping[str, NDArray[np.generic]], is_first: NDArray[np.bool_], memory: Carry, greedy: bool
    ) -> Carry:
        """See observations [N, ...] and choose actions; both are in the new memory."""
        tensors = {key: torch.from_numpy(value).to(self.device) for key, value in observation.items()}
        first = torch.from_numpy(is_first).to(self.device)
        with self.autocast(), self.acting():
            memory = self.agent.act(tensors, first, memory, self.generator, greedy)
        return memory

    def value(self, memory: Carry) -> NDArray[np.float32]:
        """The predicted values [N] of the states in the memory."""
        with self.autocast():
            value: NDArray[np.float32] = self.agent.value(memory).float().cpu().numpy()
        return value

    def autocast(self) -> torch.autocast:
        """The context in which the agent computes in this player's precision."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def action(self, memory: Carry) -> NDArray[np.float32]:
        """The chosen actions as an array, float32 [N, A]. Raises NonFiniteAction."""
        action: NDArray[np.float32] = memory.action.float().cpu().numpy()
        if not np.isfinite(action).all():
            raise NonFiniteAction("the actions that the agent chooses are not finite: training has diverged")
        return action
