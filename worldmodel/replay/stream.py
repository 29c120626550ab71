"""The stream of experience between environments, replay and agent: what a step is in each, and batches of windows."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.envs import ActionSpec, ObservationSpec, Records
from worldmodel.model.batch import AnyState, Carry, Losses, Recalled, State, Windows
from worldmodel.model.size import ModelSize
from worldmodel.replay.buffer import Array, Replay, Window
from worldmodel.replay.episodic import codes_of, pack_written, remembered_fields, slots_before
from worldmodel.replay.features import Pooling

OBSERVATION = "observation/"


def fields(observations: Mapping[str, ObservationSpec], action: ActionSpec) -> dict[str, tuple[tuple[int, ...], type]]:
    """What the replay stores of each step beside the latents: name -> (shape, dtype)."""
    flags = dict.fromkeys(("is_first", "terminated", "truncated"), ((), np.bool_))
    kind = np.uint8 if action.kind == "discrete" else np.float32
    return {
        **{OBSERVATION + key: (spec.shape, spec.dtype.type) for key, spec in observations.items()},
        "action": ((action.width,), kind),
        "reward": ((), np.float32),
        **flags,
    }


def latents(size: ModelSize, remembered: int = 0) -> dict[str, tuple[tuple[int, ...], type]]:
    """What the replay stores of the model state: the bits of deter in bfloat16, and the class of each latent.

    remembered: numbers that it stores beside them for an episodic memory.
    """
    return {"deter": ((size.deter,), np.int16), "stoch": ((size.stoch,), np.uint8), **remembered_fields(remembered)}


def pack(state: AnyState) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A model state [..., D], [..., K, S] as the replay stores it."""
    deter = state.deter.to(torch.bfloat16).view(torch.int16)
    classes = torch.arange(state.stoch.shape[-2], device=deter.device, dtype=state.stoch.dtype)
    return deter.cpu().numpy(), (classes @ state.stoch).to(torch.uint8).cpu().numpy()


def record(
    records: Records, action: Array, deter: Array, stoch: Array, written: Mapping[str, Array] = MappingProxyType({})
) -> dict[str, Array]:
    """One step of R streams as the replay takes it. All [R, ...]. written: what a memory has of it."""
    return {
        **{OBSERVATION + key: value for key, value in records.observation.items()},
        "action": action,
        "reward": records.reward,
        "is_first": records.is_first,
        "terminated": records.terminated,
        "truncated": records.truncated,
        "deter": deter,
        "stoch": stoch,
        **written,
    }


def to_windows(window: Window, device: torch.device, classes: int) -> Windows:
    """A sampled batch as tensors on the device."""
    tensors = {name: torch.from_numpy(value).to(device) for name, value in window.fields.items()}
    before = {name: torch.from_numpy(value).to(device) for name, value in window.before.items()}
    state = State(
        before["deter"].view(torch.bfloat16).float(),
        torch.nn.functional.one_hot(before["stoch"].long(), classes).float().transpose(-1, -2).contiguous(),
    )
    return Windows(
        {key.removeprefix(OBSERVATION): value for key, value in tensors.items() if key.startswith(OBSERVATION)},
        tensors["action"].float(),
        tensors["reward"],
        tensors["is_first"],
        tensors["terminated"],
        tensors["truncated"],
        Carry(state, before["action"].float()),
        torch.from_numpy(window.weight).to(device),
    )


class Batch(NamedTuple):
    """Windows as the agent takes them, and as the replay drew them. Valid until the next one."""

    windows: Windows
    drawn: Window


class Stream:
    """Batches from the replay to the agent, and what the agent has learned of them back.

    size: windows of a batch; classes: of a latent; pooling: makes the features that the selector asks for; slots: of
    the agent's episodic memory, 0 if it has none.
    """

    def __init__(
        self,
        replay: Replay,
        device: torch.device,
        classes: int,
        size: int = 1,
        pooling: Pooling | None = None,
        slots: int = 0,
    ) -> None:
        self.replay, self._device, self._classes, self._size, self._pooling = replay, device, classes, size, pooling
        self._slots = slots

    def context(self, deter: Tensor) -> Array | None:
        """What the selector is told of the states [E, D] that the agent is in."""
        return self._pooling.present(deter) if self._pooling else None

    def next(self, context: Array | None = None) -> Batch:
        """Have the selector draw a batch. Raises EmptyReplay while there is none."""
        drawn = self.replay.sample(self._size, context)
        return Batch(self._windows(drawn), drawn)

    def at(self, ids: Array) -> Windows:
        """The first window of each of these items, which must be selectable."""
        return self._windows(self.replay.at(ids))

    def latest(self, steps: int) -> Windows:
        """The last steps of the first stream as a batch of one."""
        return self._windows(self.replay.latest(steps))

    def write_back(self, batch: Batch, losses: Losses) -> None:
        """Give the replay the fresh latents of a batch, and its selector the losses and features."""
        deter, stoch = pack(losses.state)
        features = self._pooling.windows(losses.state.deter) if self._pooling else None
        item = losses.item.double().cpu().numpy()
        fresh: dict[str, Array] = {"deter": deter, "stoch": stoch, **pack_written(losses.state)}
        self.replay.write_back(batch.drawn, fresh, item, features)

    def _windows(self, window: Window) -> Windows:
        windows = to_windows(window, self._device, self._classes)
        if not self._slots:
            return windows
        state = windows.before.state
        slots = slots_before(self.replay, window, self._slots, self._device)
        recalled = Recalled(state.deter, state.stoch, state.deter[:, :0], slots)
        before = windows.before._replace(state=recalled)
        return windows._replace(before=before, codes=codes_of(self.replay, window, self._device))
