"""Open-loop predictions: the observed part is a reconstruction, the rest follows from the actions alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.worldmodel.model.agents import KEYS, generator, make_agent, make_windows
from worldmodel.runs.metrics import MetricsWriter
from worldmodel.train.predictions import open_loop, write_predictions


def test_reconstruction_and_imagination() -> None:
    agent = make_agent(KEYS)
    windows = make_windows(agent, 6, 2)
    whole = open_loop(agent, windows, 6, generator())
    part = open_loop(agent, windows, 4, generator())
    for key, spec in KEYS.items():
        assert part[key].shape == (6, 2, *spec.shape) and not part[key].requires_grad
        torch.testing.assert_close(part[key][:4], whole[key][:4])


def test_what_comes_after_is_not_seen() -> None:
    agent = make_agent(KEYS)
    windows = make_windows(agent, 6, 2)
    other = {key: value.clone() for key, value in windows.observation.items()}
    for value in other.values():
        value[4:] = 0
    one = open_loop(agent, windows, 4, generator())
    two = open_loop(agent, windows._replace(observation=other), 4, generator())
    assert all(torch.equal(one[key], two[key]) for key in KEYS)
    for step in (3, 5):  # the action after the last observation that is seen, and the one that nothing follows
        acted = windows.action.clone()
        acted[step] = acted[step].roll(1, -1)
        three = open_loop(agent, windows._replace(action=acted), 4, generator())
        assert torch.equal(one["state/position"][:4], three["state/position"][:4])
        assert torch.equal(one["state/position"][4:], three["state/position"][4:]) == (step == 5)


@pytest.mark.parametrize("steps", [5, 1])
def test_pictures(tmp_path: Path, steps: int) -> None:
    agent = make_agent(KEYS)
    before = torch.get_rng_state()
    with MetricsWriter(tmp_path) as writer:
        write_predictions(writer, 7, agent, make_windows(agent, steps, 1), 3)
    assert torch.equal(before, torch.get_rng_state())
    board = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    assert set(board.Tags()["images"]) == {f"open_loop/{key}" for key in KEYS}
    (image,) = board.Images("open_loop/image")
    assert image.step == 7 and (image.height, image.width) == (3 * 16, 32)
    (small,) = board.Images("open_loop/map")
    assert (small.height, small.width) == (3 * 16, 16)
    assert np.frombuffer(image.encoded_image_string[:3], np.uint8).tobytes() == b"GIF"
