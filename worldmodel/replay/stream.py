"""A step of experience: its fields in the replay, and how it gets there and back onto the device."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from worldmodel.envs import ActionSpec, ObservationSpec, Records
from worldmodel.model.batch import Carry, State, Windows
from worldmodel.model.size import ModelSize
from worldmodel.replay.buffer import Array, Window

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


def latents(size: ModelSize) -> dict[str, tuple[tuple[int, ...], type]]:
    """What the replay stores of the model state: the bits of deter in bfloat16, and the class of each latent."""
    return {"deter": ((size.deter,), np.int16), "stoch": ((size.stoch,), np.uint8)}


def pack(state: State) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A model state [..., D], [..., K, S] as the replay stores it."""
    deter = state.deter.to(torch.bfloat16).view(torch.int16)
    classes = torch.arange(state.stoch.shape[-2], device=deter.device, dtype=state.stoch.dtype)
    return deter.cpu().numpy(), (classes @ state.stoch).to(torch.uint8).cpu().numpy()


def record(records: Records, action: Array, deter: Array, stoch: Array) -> dict[str, Array]:
    """One step of R streams as the replay takes it. All [R, ...]."""
    return {
        **{OBSERVATION + key: value for key, value in records.observation.items()},
        "action": action,
        "reward": records.reward,
        "is_first": records.is_first,
        "terminated": records.terminated,
        "truncated": records.truncated,
        "deter": deter,
        "stoch": stoch,
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
