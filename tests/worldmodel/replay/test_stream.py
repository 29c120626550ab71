"""Steps on their way into the replay and back onto the device."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from quantum_sampler import make_selector
from tests.worldmodel.model.agents import COMPONENTS, CONTINUOUS, KEYS, SIZE, actions, generator, observations
from worldmodel.envs import ActionSpec, Records
from worldmodel.model.batch import State
from worldmodel.model.size import ModelSize
from worldmodel.replay.buffer import Replay, bytes_per_step
from worldmodel.replay.stream import fields, latents, pack, record, to_windows

CPU = torch.device("cpu")


def random_states(rows: int, classes: int = 4, seed: int = 0) -> State:
    random = generator(seed)
    stoch = F.one_hot(torch.randint(classes, (rows, 3), generator=random), classes).float().transpose(-1, -2)
    return State(torch.randn(rows, 16, generator=random), stoch)


@pytest.mark.parametrize("action", [COMPONENTS, CONTINUOUS])
def test_what_was_added_comes_back(action: ActionSpec) -> None:
    steps, streams, window = 12, 2, 4
    selector = make_selector("uniform", Replay.item_capacity(20, streams, 1), 1)
    replay = Replay(
        fields(KEYS, action), latents(SIZE), selector, steps=20, streams=streams, window=window, stride=1, seed=0
    )
    random = generator()
    seen, acted = observations(KEYS, (steps, streams), random), actions(action, (steps, streams), random)
    reward = torch.randn(steps, streams, generator=random)
    flags = {key: torch.rand(steps, streams, generator=random) < 0.3 for key in ("is_first", "terminated", "truncated")}
    states = [random_states(streams, seed=t) for t in range(steps)]
    for t in range(steps):
        records = Records(
            stream=np.arange(streams),
            observation={key: value[t].numpy() for key, value in seen.items()},
            reward=reward[t].numpy(),
            **{key: value[t].numpy() for key, value in flags.items()},
        )
        replay.add(records.stream, record(records, acted[t].numpy(), *pack(states[t])))
    drawn = replay.sample(6)
    windows = to_windows(drawn, CPU, SIZE.classes)
    assert windows.weight.tolist() == [1.0] * 6
    for b, (e, start) in enumerate(zip(drawn.stream.tolist(), drawn.start.tolist(), strict=True)):
        span = slice(start, start + window)
        for key, value in seen.items():
            assert torch.equal(windows.observation[key][:, b], value[span, e])
            assert windows.observation[key].dtype == value.dtype
        assert torch.equal(windows.action[:, b], acted[span, e])
        assert torch.equal(windows.reward[:, b], reward[span, e])
        for key, value in flags.items():
            assert torch.equal(getattr(windows, key)[:, b], value[span, e])
        if start > 0:
            before = states[start - 1]
            assert torch.equal(windows.before.state.deter[b], before.deter[e].bfloat16().float())
            assert torch.equal(windows.before.state.stoch[b], before.stoch[e])
            assert torch.equal(windows.before.action[b], acted[start - 1, e])


@pytest.mark.parametrize("classes", [2, 96, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_class_survives(classes: int, dtype: torch.dtype) -> None:
    stoch = torch.eye(classes, dtype=dtype).unsqueeze(-1)  # [rows = classes, K, 1]
    _, packed = pack(State(torch.zeros(classes, 2), stoch))
    assert packed.dtype == np.uint8 and packed[:, 0].tolist() == list(range(classes))


def test_deter_is_kept_in_bfloat16() -> None:
    deter = torch.tensor([[1.0, -3.14159, 1e-30, 65504.0, float("inf")]])
    packed, _ = pack(State(deter, torch.zeros(1, 2, 1)))
    assert packed.dtype == np.int16
    again = torch.from_numpy(packed).view(torch.bfloat16)
    torch.testing.assert_close(again.float(), deter, rtol=2**-8, atol=0)


def test_bytes() -> None:
    size = ModelSize(deter=512, hidden=64, classes=4, units=64, depth=4)
    vision = fields({"image": KEYS["image"]}, COMPONENTS)
    assert bytes_per_step(vision) == 16 * 32 * 3 + 5 + 4 + 3  # pixels and one-hot actions are bytes
    assert bytes_per_step(latents(size)) == 2 * 512 + 32
