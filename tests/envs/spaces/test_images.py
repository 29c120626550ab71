"""Images: which boxes are images, and what their pixels become."""

from typing import Any

import cv2
import numpy as np
import pytest
from gymnasium import spaces
from worldmodel.envs.errors import EnvironmentRefused
from worldmodel.envs.spaces.spaces import observation_layout

from tests.envs.spaces.test_spaces import encode

rng = np.random.default_rng(0)


def pixels(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ((64, 64, 3), (64, 64, 3)),
        ((16, 32, 1), (16, 32, 1)),
        ((48, 48), (48, 48, 1)),
        ((3, 64, 96), (64, 96, 3)),
        ((4, 32, 32), (32, 32, 4)),
        ((32, 32, 12), (32, 32, 12)),
        ((24, 64, 64), (64, 64, 24)),
        ((64, 64, 24), (64, 64, 24)),
        ((4, 32, 48, 3), (32, 48, 12)),
        ((2, 3, 32, 48), (32, 48, 6)),
    ],
)
def test_layouts_are_recognised_and_no_pixel_is_lost(shape: tuple[int, ...], result: tuple[int, ...]) -> None:
    layout = observation_layout(pixels(*shape))
    assert layout.specs["image"].shape == result
    assert not layout.notices
    image = rng.integers(0, 256, shape, np.uint8)
    (encoded,) = encode(pixels(*shape), [image])["image"]
    assert sorted(encoded.ravel()) == sorted(image.ravel())
    frames = image[..., None] if image.ndim == 2 else image
    if len(shape) == 3 and result != shape:
        frames = np.stack(list(frames), axis=-1)
    if len(shape) == 4:
        frames = np.concatenate([np.stack(list(f), -1) if shape[1] == 3 else f for f in frames], axis=-1)
    assert np.array_equal(encoded, frames)


@pytest.mark.parametrize(
    "space",
    [
        pixels(7, 7, 3),
        pixels(15, 64, 3),
        pixels(128),
        spaces.Box(0, 1, (64, 64, 3), np.uint8),
        spaces.Box(0, 255, (64, 64, 3), np.float32),
        pixels(20, 64, 64, 3),
    ],
)
def test_other_boxes_are_vectors(space: spaces.Box) -> None:
    assert observation_layout(space).specs["observation"].kind == "vector"


def test_float_images_are_told() -> None:
    assert "vector" in observation_layout(spaces.Box(0, 1, (64, 64, 3))).notices[0]


@pytest.mark.parametrize(("shape", "size"), [((50, 70, 3), (64, 64)), ((210, 160), (64, 64)), ((90, 90, 6), (64, 64))])
def test_sizes_that_the_cnn_cannot_take_are_resized(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    layout = observation_layout(pixels(*shape))
    image = rng.integers(0, 256, shape, np.uint8)
    (encoded,) = encode(pixels(*shape), [image])["image"]
    assert encoded.shape[:2] == size
    assert len(layout.notices) == 1
    assert f"{shape[0]} x {shape[1]}" in layout.notices[0]
    planes = image[..., None] if image.ndim == 2 else image
    for channel in range(planes.shape[2]):
        plane = np.ascontiguousarray(planes[..., channel])
        assert np.array_equal(encoded[..., channel], cv2.resize(plane, size, interpolation=cv2.INTER_AREA))


def test_a_forced_size_is_height_and_width() -> None:
    assert observation_layout(pixels(64, 64, 3), resize=(32, 48)).specs["image"].shape == (32, 48, 3)
    assert observation_layout(pixels(32, 48, 3), resize=(32, 48)).plain
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32] = 200  # the upper half
    (encoded,) = encode(pixels(64, 64, 3), [image], resize=(32, 48))["image"]
    assert (encoded[:16] == 200).all()
    assert (encoded[16:] == 0).all()


def test_without_resizing_an_impossible_size_is_refused() -> None:
    assert observation_layout(pixels(96, 96, 3), resize=False).specs["image"].shape == (96, 96, 3)
    with pytest.raises(EnvironmentRefused, match=r"env\.resize=false") as caught:
        observation_layout(pixels(50, 70, 3), resize=False)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("shape", "result"), [((32, 32, 3), (32, 32, 1)), ((2, 32, 32, 3), (32, 32, 2))])
def test_grey_is_luminance(shape: tuple[int, ...], result: tuple[int, ...]) -> None:
    image = rng.integers(0, 256, shape, np.uint8)
    (encoded,) = encode(pixels(*shape), [image], grayscale=True)["image"]
    assert encoded.shape == result
    luminance = image.astype(np.float64) @ [0.299, 0.587, 0.114]
    expected = luminance[..., None] if len(shape) == 3 else np.moveaxis(luminance, 0, -1)
    assert np.abs(encoded - expected).max() <= 0.51


def test_grey_leaves_stacks_of_grey_frames_alone() -> None:
    assert observation_layout(pixels(4, 32, 32), grayscale=True).specs["image"].shape == (32, 32, 4)


def test_many_images_in_a_batch_are_copies() -> None:
    images: list[Any] = [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(3)]
    encoded = encode(pixels(32, 32, 3), images)["image"]
    assert np.array_equal(encoded, np.stack(images))
