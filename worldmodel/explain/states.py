"""The states of played episodes, some of which are explained."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.envs import Environments, Episode
from worldmodel.explain.inputs import Inputs
from worldmodel.explain.recollection import Recollection, carried, recollection
from worldmodel.model.player import Player
from worldmodel.train.episodes import evaluate

WIDTH = 200  # of a frame on the page, in pixels


@dataclass(frozen=True)
class States:
    """N states that are explained.

    rows [N, P]: what was seen; kept [N, C]: what did not depend on it, the recurrent state and what the memory held;
    action [N, A]: what was done; reward [N]: what that brought; episode, step [N]: where they are from; frames: PNG
    files, if any; read: what the memory read, if it was asked.
    """

    rows: Tensor
    kept: Tensor
    action: Tensor
    reward: NDArray[np.float64]
    episode: NDArray[np.int64]
    step: NDArray[np.int64]
    frames: list[bytes]
    read: Sequence[Recollection | None] = ()

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Played:
    """Episodes, the states of them that are explained, and the mean [P] of all observations."""

    episodes: list[Episode]
    states: States
    mean: Tensor


def play(
    player: Player,
    environments: Environments,
    inputs: Inputs,
    episodes: int,
    count: int,
    note: Callable[[str], None],
    render: bool,
) -> Played:
    """Play greedily in one stream, and keep about `count` states, evenly spaced over each episode."""
    seen: list[tuple[Any, ...]] = []  # row, kept, action, reward, what was read
    frames: list[bytes] = []
    ends: list[int] = []

    def see(current: Any, memory: Any, step: Any) -> None:
        last = step.ended if len(step.ended) else step.current
        row = inputs.rows({key: np.array(value) for key, value in current.observation.items()})
        kept, read = carried(player.agent, memory.state)[0], recollection(player.agent, memory.state)
        seen.append((row[0], kept, memory.action[0].float(), float(last.reward[0]), read))
        if step.episodes:
            ends.append(len(seen))

    record = (lambda frame: frames.append(png(smaller(frame)))) if render else None
    played = evaluate(player, environments, episodes, record=record, see=see, note=note)
    begins = [0, *ends][: len(ends)]
    share = -(-count // len(ends))
    places = [np.linspace(a, b - 1, min(share, b - a)).round().astype(int) for a, b in zip(begins, ends, strict=True)]
    chosen = np.concatenate(places)
    number = np.repeat(np.arange(len(ends)), [len(each) for each in places])
    rows, kept, action = (torch.stack([seen[place][i] for place in chosen]) for i in range(3))
    states = States(
        rows.to(kept.device),
        kept,
        action,
        np.array([seen[place][3] for place in chosen]),
        number,
        chosen - np.array(begins)[number],
        [frames[place] for place in chosen] if frames else [],
        [seen[place][4] for place in chosen],
    )
    mean = torch.stack([each[0] for each in seen]).double().mean(0).float()
    return Played(played, states, mean.to(kept.device))


def smaller(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return every k-th pixel of a frame, so that it is about `WIDTH` wide at most."""
    stride = max(1, -(-frame.shape[1] // WIDTH))
    return frame[::stride, ::stride]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG file of pixels [H, W, 3] or, with opacity, [H, W, 4]."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", optimize=False)
    return file.getvalue()
