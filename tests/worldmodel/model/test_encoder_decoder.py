"""Encoder and decoder: shapes of every key, order of rows, and losses against NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.worldmodel.model.agents import KEYS, SIZE, VECTOR, generator, observations
from worldmodel.envs import ObservationSpec
from worldmodel.model.batch import State
from worldmodel.model.decoder import Decoder
from worldmodel.model.encoder import Encoder, flat_inputs
from worldmodel.model.size import ModelSize

IMAGE = {"image": ObservationSpec("image", (32, 16, 3))}
PLACE = {"place": ObservationSpec("categorical", (2,), (3, 5))}
SPECS = [VECTOR, IMAGE, PLACE, KEYS]


def random_states(shape: tuple[int, ...], size: ModelSize = SIZE, seed: int = 1) -> State:
    random = generator(seed)
    classes = torch.randint(size.classes, (*shape, size.stoch), generator=random)
    stoch = F.one_hot(classes, size.classes).float().transpose(-1, -2).contiguous()
    return State(torch.randn(*shape, size.deter, generator=random), stoch)


def test_flat_inputs() -> None:
    specs = {"b": ObservationSpec("vector", (2,)), "a": PLACE["place"]}
    observation = {"a": torch.tensor([[2, 4]], dtype=torch.int32), "b": torch.tensor([[np.e - 1, -99.0]])}
    x = flat_inputs(observation, specs)
    assert x.tolist() == [pytest.approx([1.0, -np.log(100), 0, 0, 1, 0, 0, 0, 0, 1])]


@pytest.mark.parametrize("specs", SPECS)
def test_encoder_keeps_steps_and_rows_apart(specs: dict[str, ObservationSpec]) -> None:
    encoder = Encoder(specs, SIZE)
    observation = observations(specs, (2, 3), generator())
    embed = encoder(observation)
    assert embed.shape == (2, 3, encoder.width)
    for t in range(2):
        for b in range(3):
            one = encoder({key: value[t : t + 1, b : b + 1] for key, value in observation.items()})
            torch.testing.assert_close(embed[t, b], one[0, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("key", list(KEYS))
def test_every_key_reaches_the_embedding(key: str) -> None:
    encoder = Encoder(KEYS, SIZE)
    observation, other = (observations(KEYS, (1, 4), generator(seed)) for seed in (0, 1))
    changed = encoder({**observation, key: other[key]}) - encoder(observation)
    assert (changed.abs().amax(-1) > 1e-4).all()


def test_widths() -> None:
    assert Encoder(VECTOR, SIZE).width == SIZE.units
    assert Encoder(IMAGE, SIZE).width == 4 * SIZE.depth * 2 * 1
    assert Encoder(KEYS, SIZE).width == SIZE.units + 4 * SIZE.depth * (1 * 2 + 1 * 1)


def slow_convolution(image: Tensor, layer: nn.Module) -> Tensor:
    """5x5 windows by unfolding, halving by taking every fourth apart. [C, H, W] -> [O, H / 2, W / 2]"""
    assert isinstance(layer, nn.Sequential)
    convolution, norm = layer[0], layer[2]
    patches = F.unfold(F.pad(image, (2, 2, 2, 2)).unsqueeze(0), 5)[0]  # [C 25, H W]
    x = (convolution.weight.flatten(1) @ patches + convolution.bias[:, None]).view(-1, *image.shape[1:])
    corners = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    x = torch.stack(corners).amax(0).movedim(0, -1)
    return F.silu(F.rms_norm(x, norm.weight.shape, norm.weight, norm.eps)).movedim(-1, 0)


def test_cnn() -> None:
    encoder = Encoder(IMAGE, SIZE)
    observation = observations(IMAGE, (1, 2), generator())
    embed = encoder(observation)
    stack = encoder.cnns[0]
    assert isinstance(stack, nn.Sequential) and len(stack) == 4
    for b in range(2):
        x = observation["image"][0, b].permute(2, 0, 1) / 255 - 0.5
        for layer in stack:
            x = slow_convolution(x, layer)
        torch.testing.assert_close(embed[0, b], x.flatten(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("specs", SPECS)
def test_decoder_keeps_steps_and_rows_apart(specs: dict[str, ObservationSpec]) -> None:
    decoder = Decoder(specs, SIZE)
    states = random_states((2, 3))
    outputs = decoder(states)
    widths = {key: spec.shape if spec.kind != "categorical" else (sum(spec.classes),) for key, spec in specs.items()}
    assert {key: tuple(value.shape) for key, value in outputs.items()} == {k: (2, 3, *w) for k, w in widths.items()}
    one = decoder(State(states.deter[1:, 2:], states.stoch[1:, 2:]))
    for key, value in outputs.items():
        torch.testing.assert_close(value[1, 2], one[key][0, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_image_decoder_of_any_depth(depth: int) -> None:
    size = ModelSize(deter=16, hidden=8, classes=4, units=8, depth=depth, stoch=3, blocks=8)
    image = Decoder(IMAGE, size)(random_states((1, 2), size))["image"]
    assert image.shape == (1, 2, 32, 16, 3) and image.min() > 0 and image.max() < 1


@pytest.mark.parametrize("part", ["deter", "stoch"])
def test_images_depend_on_the_whole_state_at_every_pixel(part: str) -> None:
    torch.manual_seed(0)
    decoder = Decoder(IMAGE, SIZE)
    state, other = random_states((1, 1)), random_states((1, 1), seed=2)
    changed = decoder(state._replace(**{part: getattr(other, part)}))["image"] - decoder(state)["image"]
    assert (changed.abs().amax(-1) > 0).float().mean() > 0.99


def test_losses() -> None:
    random = generator()
    decoder, observation = Decoder(KEYS, SIZE), observations(KEYS, (2, 3), random)
    outputs = decoder(random_states((2, 3)))
    losses = decoder.losses(outputs, observation)
    raw = {key: value.detach().double().numpy() for key, value in outputs.items()}
    truth = {key: value.double().numpy() for key, value in observation.items()}
    vector = truth["state/position"]
    symlog = np.sign(vector) * np.log1p(np.abs(vector))
    expected = {"state/position": np.sum((raw["state/position"] - symlog) ** 2, -1)}
    for key in ("image", "map"):
        expected[key] = np.sum((raw[key] - truth[key] / 255) ** 2, (-3, -2, -1))
    logits = raw["state/place"]
    expected["state/place"] = np.zeros((2, 3))
    for entry, part in enumerate((logits[..., :3], logits[..., 3:])):
        index = truth["state/place"][..., entry, None].astype(int)
        chosen = np.take_along_axis(part, index, -1)[..., 0]
        expected["state/place"] += np.log(np.exp(part).sum(-1)) - chosen
    assert losses.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(losses[key].detach().numpy(), value, rtol=1e-4)


def test_perfect_outputs_predict_the_observation_at_no_loss() -> None:
    decoder, observation = Decoder(KEYS, SIZE), observations(KEYS, (2, 3), generator())
    position = observation["state/position"]
    place = [F.one_hot(observation["state/place"][..., i].long(), n) for i, n in enumerate((3, 5))]
    outputs = {
        "state/position": position.sign() * position.abs().log1p(),
        "image": observation["image"] / 255,
        "map": observation["map"] / 255,
        "state/place": 100.0 * torch.cat(place, -1),
    }
    predictions = decoder.predictions(outputs)
    for key, value in observation.items():
        torch.testing.assert_close(predictions[key], value.long() if key == "state/place" else value)
    assert predictions["image"].dtype == torch.uint8
    for value in decoder.losses(outputs, observation).values():
        assert value.shape == (2, 3) and value.max() < 1e-6


@pytest.mark.parametrize("specs", SPECS)
def test_gradients_reach_every_parameter(specs: dict[str, ObservationSpec]) -> None:
    torch.manual_seed(0)
    encoder, decoder = Encoder(specs, SIZE), Decoder(specs, SIZE)
    observation = observations(specs, (2, 3), generator())
    loss = torch.stack(list(decoder.losses(decoder(random_states((2, 3))), observation).values())).sum()
    (loss + encoder(observation).square().sum()).backward()
    for module in (encoder, decoder):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.any(), name
