"""What the selectors see of the model: pooled states and fresh losses."""

import numpy as np
import pytest
import torch

from quantum_sampler import make_selector
from tests.worldmodel.model.agents import DISCRETE, SIZE, VECTOR, actions, generator, make_agent, observations
from worldmodel.envs import Records
from worldmodel.model.batch import State
from worldmodel.model.player import Player
from worldmodel.replay.buffer import Replay
from worldmodel.replay.features import WIDTH, Pooling
from worldmodel.replay.probe import ModelProbe
from worldmodel.replay.stream import Stream, fields, latents, pack, record, to_windows

CPU = torch.device("cpu")
T, B, D = 5, 40, 300


def filled_replay(steps: int = 90) -> Replay:
    """A replay of one stream, of items of 2 windows, filled with random steps."""
    selector = make_selector("uniform", Replay.item_capacity(steps, 1, 2), 0)
    replay = Replay(
        fields(VECTOR, DISCRETE), latents(SIZE), selector, steps=steps, streams=1, window=4, stride=2, seed=0
    )
    random = generator()
    seen, acted = observations(VECTOR, (steps, 1), random), actions(DISCRETE, (steps, 1), random)
    packed = pack(State(torch.randn(1, SIZE.deter, generator=random), torch.eye(4)[:1].unsqueeze(-1).repeat(1, 1, 3)))
    for t in range(steps):
        observation = {key: value[t].numpy() for key, value in seen.items()}
        flags = {key: np.zeros(1, bool) for key in ("is_first", "terminated", "truncated")}
        step = Records(
            stream=np.zeros(1, np.int64), observation=observation, reward=np.ones(1, np.float32) * t, **flags
        )
        replay.add(step.stream, record(step, acted[t].numpy(), *packed))
    return replay


def test_angles_between_features_are_those_between_mean_states() -> None:
    """Cosines of 40 x 40 pairs, of standard error at most 1/8 with 64 directions: rms within 0.13."""
    deter = torch.randn(T, B, D, generator=generator()) + torch.randn(1, B, D, generator=generator(1))
    features = Pooling(D, 3, CPU).windows(deter)
    assert features.dtype == np.float32 and features.shape == (B, WIDTH)

    def cosines(x: np.ndarray) -> np.ndarray:
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return unit @ unit.T

    error = cosines(features) - cosines(deter.mean(0).numpy())
    assert 0.0 < np.sqrt((error**2).mean()) < 0.13


def test_pooling_is_fixed_by_its_seed_and_linear() -> None:
    deter = torch.randn(T, B, D, generator=generator())
    ours, same, other = (Pooling(D, seed, CPU) for seed in (3, 3, 4))
    np.testing.assert_array_equal(ours.windows(deter), same.windows(deter))
    assert not np.allclose(ours.windows(deter), other.windows(deter))
    present = np.mean([ours.present(step) for step in deter], axis=0)
    np.testing.assert_allclose(ours.windows(deter), present, rtol=1e-4, atol=1e-5)


def test_a_probe_gives_the_model_loss_of_each_item_and_touches_nothing() -> None:
    replay = filled_replay()
    player = Player(make_agent(), torch.float32, generator(5))
    probe = ModelProbe(player, 7)
    probe.bind(Stream(replay, CPU, SIZE.classes))
    before = (player.generator.get_state(), {k: v.clone() for k, v in player.agent.state_dict().items()})
    drawn = replay.state_dict()["random"]
    ids = np.array([3, 0, 41, 3])
    losses = probe(ids)
    assert losses.dtype == np.float64 and losses.shape == (4,)
    np.testing.assert_array_equal(losses, probe(ids))
    expected = player.agent.model_loss(to_windows(replay.at(ids), CPU, SIZE.classes), generator(7))
    np.testing.assert_allclose(losses, expected.detach().numpy(), rtol=1e-6)
    assert len(set(losses.tolist())) >= 3
    assert replay.state_dict()["random"] == drawn
    assert torch.equal(player.generator.get_state(), before[0])
    assert all(torch.equal(value, before[1][key]) for key, value in player.agent.state_dict().items())


def test_many_items_are_probed_in_batches() -> None:
    """130 draws of 40 items; the noise of an item depends on its place among 64, so whole batches repeat."""
    probe = ModelProbe(Player(make_agent(), torch.float32, generator()), 1)
    probe.bind(Stream(filled_replay(), CPU, SIZE.classes))
    ids = np.arange(130) % 40
    losses = probe(ids)
    assert losses.shape == (130,)
    np.testing.assert_allclose(losses[64:128], probe(ids[64:128]), rtol=1e-6)
    assert probe(ids[:0]).shape == (0,)


def test_windows_of_items_are_their_first() -> None:
    replay = filled_replay()
    window = replay.at(np.array([0, 7]))
    np.testing.assert_array_equal(window.fields["reward"][:, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(window.fields["reward"][:, 1], [14, 15, 16, 17])
    assert window.ids.tolist() == [0, 7]


@pytest.mark.parametrize("count", [1, 3])
def test_the_present_of_every_stream(count: int) -> None:
    assert Pooling(D, 0, CPU).present(torch.zeros(count, D)).shape == (count, WIDTH)
