"""Metrics: rows that are exact and whole, events that TensorBoard reads, means that continue to the bit."""

import io
import json
import math
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from torch.utils._python_dispatch import TorchDispatchMode

from worldmodel.cli.overrides import settings
from worldmodel.runs.atomic_file import WriteError
from worldmodel.runs.folder import RunFolder
from worldmodel.runs.metrics import Means, MetricsWriter


def rows(folder: Path) -> list[str]:
    return (folder / "metrics.jsonl").read_text().splitlines()


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_rows(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        writer.write(3, {"loss/b": np.float32(0.1), "loss/a": 0.1 + 0.2, "episode/length": 7, "t": torch.tensor(1.5)})
        writer.write(4, {"loss/a": math.nan, "loss/b": -math.inf})
    first, second = rows(tmp_path)
    assert first == (
        '{"step": 3, "episode/length": 7, "loss/a": 0.30000000000000004, "loss/b": 0.10000000149011612, "t": 1.5}'
    )
    assert second == '{"step": 4, "loss/a": null, "loss/b": null}'
    board = events(tmp_path)
    assert [(event.step, event.value) for event in board.Scalars("episode/length")] == [(3, 7.0)]
    scalars = board.Scalars("loss/a")
    assert scalars[0].value == np.float32(0.3) and math.isnan(scalars[1].value)
    assert board.Scalars("loss/b")[1].value == -math.inf


def test_only_numbers_are_metrics(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        with pytest.raises(TypeError, match="metric a must be a number, not str"):
            writer.write(1, {"a": "x"})  # type: ignore[dict-item]
        assert rows(tmp_path) == []


def test_continuing_after_a_cut(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        with MetricsWriter(folder.path) as writer:
            writer.write(1, {"a": 1.0})
            writer.flush()
            marks = folder.marks()
            writer.write(2, {"a": 2.0})
        with MetricsWriter(folder.path) as writer:
            writer.write(3, {"a": 3.0})
        assert folder.cut_back(marks) == []
        with MetricsWriter(folder.path, step=1) as writer:
            writer.write(2, {"a": 20.0})
        assert [json.loads(row)["a"] for row in rows(folder.path)] == [1.0, 20.0]
        assert [(event.step, event.value) for event in events(folder.path).Scalars("a")] == [(1, 1.0), (2, 20.0)]


def test_an_open_tensorboard_forgets_what_was_cut(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        for step in (1, 2, 3):
            writer.write(step, {"a": step})
    with MetricsWriter(tmp_path, step=1) as writer:
        writer.write(2, {"a": 20.0})
    assert [(event.step, event.value) for event in events(tmp_path).Scalars("a")] == [(1, 1.0), (2, 20.0)]


def test_full_disk_leaves_whole_rows(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(WriteError, match="cannot be written: File too large") as caught:
            for step in range(1000):
                writer.write(step, {"loss": step / 3})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.close()
    assert caught.value.exit_code == 1
    whole = [json.loads(row) for row in rows(tmp_path)]
    scalars = events(tmp_path).Scalars("loss")
    assert len(whole) >= 5 and [row["step"] for row in whole[: len(scalars)]] == [event.step for event in scalars]
    (file,) = tmp_path.glob("events.*")
    size = file.stat().st_size
    assert size == sum(12 + int.from_bytes(length, "little") + 4 for length in lengths(file))


def lengths(path: Path) -> list[bytes]:
    """The length fields of the records of an event file: 8 bytes, 4 of check, the data, 4 of check."""
    data, found = path.read_bytes(), []
    while data:
        found.append(data[:8])
        data = data[12 + int.from_bytes(data[:8], "little") + 4 :]
    return found


def test_pictures(tmp_path: Path) -> None:
    frames = np.zeros((5, 8, 12, 3), np.uint8)
    frames[np.arange(5), :, np.arange(5)] = [200, 100, 50]  # a column that moves
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.subplots().plot([1, 2])
    with MetricsWriter(tmp_path) as writer:
        writer.video("video", 7, frames, fps=10)
        writer.image("image", 7, frames[0])
        writer.image("gray", 7, frames[0, ..., :1])
        writer.figure("figure", 7, figure)
        with pytest.raises(ValueError, match=r"uint8 \[H, W, 1 or 3\], not float64 \[8, 12, 3\]"):
            writer.image("image", 8, frames[0] / 255)
    board = events(tmp_path)
    (video,) = board.Images("video")
    gif = Image.open(io.BytesIO(video.encoded_image_string))
    shown = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.all_frames(gif)]
    assert gif.format == "GIF" and gif.info["duration"] == 100
    np.testing.assert_array_equal(np.stack(shown), frames)
    image = board.Images("image")[0]
    assert (image.step, image.width, image.height) == (7, 12, 8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image.encoded_image_string))), frames[0])
    assert Image.open(io.BytesIO(board.Images("gray")[0].encoded_image_string)).mode == "L"
    assert (board.Images("figure")[0].width, board.Images("figure")[0].height) == (100, 50)


def test_hparams(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as writer:
        writer.hparams({"seed": 1, "env": {"id": "X", "resize": [1, 2]}, "on": True, "init": None}, ["eval/return"])
    content = events(tmp_path).SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    found = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert found["seed"].number_value == 1 and found["env.id"].string_value == "X" and found["on"].bool_value
    assert found["env.resize"].string_value == "[1, 2]" and found["init"].string_value == "null"
    content = events(tmp_path).SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert [info.name.tag for info in experiment.metric_infos] == ["eval/return"]


def test_hparams_are_those_of_the_words_and_trials_are_called_by_their_folders(tmp_path: Path) -> None:
    values = {
        "env": {"id": "X", "num": 1},
        "steps": 9,
        "seed": 1,
        "solver": {"name": "qaoa"},
        "replay": {"capacity": 5},
    }
    words = [
        "replay=prioritized",
        "replay.alpha=0.5",
        "env.kwargs={a: 1}",
        "~env.kwargs.b",
        "logdir='x y'",
        "init='a b'",
    ]
    for place, name in (("runs/lander", "lander"), ("cartpole/classical/seed-3", "cartpole/classical/seed-3")):
        (tmp_path / place).mkdir(parents=True)
        with MetricsWriter(tmp_path / place) as writer:
            writer.hparams(settings(words, values), ["eval/return"])
        content = events(tmp_path / place).SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        session = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
        assert session.group_name == name
        assert set(session.hparams) == {"env.id", "steps", "seed", "replay", "replay.alpha", "env.kwargs.a", "init"}
        assert session.hparams["init"].string_value == "a b" and session.hparams["replay.alpha"].number_value == 0.5


def sequence(seed: int) -> list[dict[str, Any]]:
    """Metrics as a trainer adds them: tensors of several types every time, others at times, numbers between them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(30, 4, generator=generator) * torch.tensor([1e6, 1e-6, 1.0, 3.0])
    return [
        {"a": a, "b": b.bfloat16(), "n": int(10 * c)}
        | ({"rare": d} if i % 7 == 0 else {})
        | ({"a": float(a)} if i == 20 else {})
        for i, (a, b, c, d) in enumerate(values)
    ]


def test_means_are_those_of_one_addition_after_another() -> None:
    means = Means()
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for values in sequence(0):
        means.add(values)
        for key, value in values.items():
            sums[key] = sums.get(key, 0.0) + float(value)
            counts[key] = counts.get(key, 0) + 1
    assert means.result() == {key: sums[key] / counts[key] for key in sums}
    assert means.result() == {}
    means.add({"a": 1.0})
    assert means.result() == {"a": 1.0}


def test_means_continue_to_the_bit() -> None:
    whole = Means()
    for values in sequence(1):
        whole.add(values)
        whole.state_dict()  # looking changes nothing
    expected = whole.result()
    for cut in range(30):
        first, second = Means(), Means()
        for values in sequence(1)[:cut]:
            first.add(values)
        second.add({"a": 5.0})
        state = json.loads(json.dumps(first.state_dict()))
        second.load_state_dict(state)
        for values in sequence(1)[cut:]:
            second.add(values)
        assert second.result() == expected


def test_means_do_not_wait_for_the_device() -> None:
    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert "_local_scalar_dense" not in str(function)
            return function(*args, **(kwargs or {}))

    means = Means()
    loss = torch.ones((), requires_grad=True)
    with Watch():  # type: ignore[no-untyped-call]
        for _ in range(3):
            means.add({"loss": loss * 2, "other": torch.tensor(1)})
    assert means.result() == {"loss": 2.0, "other": 1.0}


def test_means_refuse_what_is_not_one_number() -> None:
    with pytest.raises(ValueError, match=r"metric loss must be one number, not a tensor of shape \[2\]"):
        Means().add({"loss": torch.ones(2)})


def test_means_survive_buffers_that_are_written_again() -> None:
    means, buffer = Means(), torch.zeros(())
    for value in (1.0, 2.0, 6.0):
        buffer.fill_(value)
        means.add({"loss": buffer})
    assert means.result() == {"loss": 3.0}
