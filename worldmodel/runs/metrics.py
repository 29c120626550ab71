"""Metrics of a run: rows of metrics.jsonl and TensorBoard events, and the means that go into them."""

import io
import json
import math
import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import HParam, Metric, hparams_config_pb, hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from worldmodel.runs.atomic_file import WriteError
from worldmodel.runs.folder import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

Number = int | float
Frames = NDArray[np.uint8]


class MetricsWriter:
    """Writes what a run measures: numbers to metrics.jsonl and TensorBoard, pictures to TensorBoard alone.

    Every row reaches the files whole and at once, or not at all: a full disk raises WriteError and leaves no half row.
    `step` is where the run continues; a TensorBoard that is open forgets what it has read beyond it.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self._folder = folder.absolute()
        self._rows = Journal(folder / METRICS)
        self._journal = Journal(_new_events(folder))
        self._events = RecordWriter(self._journal)
        self._event(0, file_version="brain.Event:2")
        if step:
            self._event(step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, values: "Mapping[str, Number | np.number[Any] | Tensor]") -> None:
        """Write a row: `step` first, then the keys in alphabetical order, floats to the last bit.

        JSON knows no NaN and no infinity: they are null there, and themselves in TensorBoard.
        """
        numbers = {key: _number(key, values[key]) for key in sorted(values)}
        row = {"step": step, **{key: value if math.isfinite(value) else None for key, value in numbers.items()}}
        self._rows.write((json.dumps(row, allow_nan=False) + "\n").encode())
        self._summary(step, [Summary.Value(tag=key, simple_value=value) for key, value in numbers.items()])

    def hparams(self, settings: Mapping[str, Any], metrics: Iterable[str]) -> None:
        """Write what tells a new run from others, nested or not, and the metrics to compare runs by.

        TensorBoard calls the run by its folder; by three of them where that is the seed of a comparison's arm.
        """
        values = dict(_settings(settings))
        parts = self._folder.parts
        name = "/".join(parts[-3:] if parts[-1].startswith("seed-") else parts[-1:])
        columns = hparams_config_pb(
            hparams=[HParam(key) for key in values], metrics=[Metric(metric) for metric in metrics]
        )
        self._event(0, summary=columns)
        self._event(0, summary=hparams_pb(values, trial_id=name))

    def image(self, tag: str, step: int, image: Frames) -> None:
        """Write a picture, uint8 [H, W, C] with 1 or 3 channels."""
        file = io.BytesIO()
        _picture(image).save(file, "PNG")
        self._image(tag, step, file)

    def video(self, tag: str, step: int, frames: Frames, fps: float = 15.0) -> None:
        """Write a video, uint8 [T, H, W, C] with 1 or 3 channels, as a GIF that repeats."""
        file = io.BytesIO()
        first, *others = [_picture(frame) for frame in frames]
        first.save(file, "GIF", save_all=True, append_images=others, duration=1000 / fps, loop=0)
        self._image(tag, step, file)

    def figure(self, tag: str, step: int, figure: "Figure") -> None:
        """Write a matplotlib figure as a picture."""
        file = io.BytesIO()
        figure.savefig(file, format="png")
        self._image(tag, step, file)

    def flush(self) -> None:
        """Put everything on the disk, so that marks taken now hold after a power cut."""
        self._rows.flush()
        self._journal.flush()

    def close(self) -> None:
        """Flush and close the files."""
        self._rows.close()
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _image(self, tag: str, step: int, file: io.BytesIO) -> None:
        width, height = Image.open(file).size
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=file.getvalue())
        self._summary(step, [Summary.Value(tag=tag, image=picture)])

    def _summary(self, step: int, values: list[Summary.Value]) -> None:
        self._event(step, summary=Summary(value=values))

    def _event(self, step: int, **content: Any) -> None:
        self._events.write(Event(wall_time=time.time(), step=step, **content).SerializeToString())


class Journal:
    """A file that grows by whole records."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise WriteError(path, error) from error

    def write(self, record: bytes) -> None:
        size = os.fstat(self._descriptor).st_size
        left = memoryview(record)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            raise WriteError(self._path, error) from error

    def flush(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise WriteError(self._path, error) from error

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class Means:
    """Means of metrics over everything added since the last result.

    Numbers and 0-d tensors are summed in float64, tensors on their device: adding never waits for it. The sums are
    those of one addition after another, so a run that continues from a state gets the same bits as one that was never
    stopped.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._sums: dict[str, float] = {}  # of the keys that are in no vector
        self._vectors: dict[tuple[Any, ...], Tensor] = {}  # device, type and keys -> sums
        self._places: dict[str, tuple[Any, ...]] = {}  # key -> its vector

    def __bool__(self) -> bool:
        """Whether anything was added since the last result."""
        return bool(self._counts)

    def add(self, values: "Mapping[str, Number | Tensor]") -> None:
        """Add one observation of each key: a number, or a tensor of no dimensions."""
        groups: dict[tuple[Any, ...], dict[str, Tensor]] = {}
        for key, value in values.items():
            if isinstance(value, int | float | np.number):
                self._fetch(key)
                self._sums[key] = self._sums.get(key, 0.0) + float(value)
            elif value.dim():
                raise ValueError(f"metric {key} must be one number, not a tensor of shape {list(value.shape)}")
            else:
                groups.setdefault((value.device, value.dtype), {})[key] = value
            self._counts[key] = self._counts.get(key, 0) + 1
        for kind, tensors in groups.items():
            self._add_tensors((*kind, *tensors), tensors)

    def _add_tensors(self, place: tuple[Any, ...], tensors: "dict[str, Tensor]") -> None:
        import torch

        if place not in self._vectors:
            for key in tensors:
                self._fetch(key)
            sums = [self._sums.pop(key, 0.0) for key in tensors]
            self._vectors[place] = torch.tensor(sums, dtype=torch.float64, device=place[0])
            self._places |= dict.fromkeys(tensors, place)
        with torch.no_grad():
            self._vectors[place] += torch.stack(list(tensors.values()))

    def _fetch(self, key: str) -> None:
        """Bring the sum of a key, with those of its vector, from the device."""
        if key in self._places:
            place = self._places[key]
            for name, total in zip(place[2:], self._vectors.pop(place).tolist(), strict=True):
                self._sums[name] = total
                del self._places[name]

    def result(self) -> dict[str, float]:
        """The mean of each key that was added, and a fresh start."""
        state = self.state_dict()
        self.load_state_dict({"sums": {}, "counts": {}})
        return {key: state["sums"][key] / count for key, count in state["counts"].items()}

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts by key, Python numbers."""
        sums = dict(self._sums)
        for place, vector in self._vectors.items():
            sums |= zip(place[2:], vector.tolist(), strict=True)
        return {"sums": sums, "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the sums and counts of a state_dict in place of one's own."""
        self._counts, self._sums = dict(state["counts"]), dict(state["sums"])
        self._vectors.clear()
        self._places.clear()


def _number(key: str, value: Any) -> Number:
    number = value.item() if hasattr(value, "item") else value  # numpy's and torch's
    if not isinstance(number, int | float):
        raise TypeError(f"metric {key} must be a number, not {type(value).__name__}")
    return number


def _settings(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, bool | Number | str]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield (
                f"{prefix}{key}",
                value if type(value) in (bool, int, float, str) else _text(value),
            )


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) else json.dumps(value, default=str)


def _picture(frame: Frames) -> Image.Image:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] not in (1, 3):
        raise ValueError(f"a picture is uint8 [H, W, 1 or 3], not {frame.dtype} {list(frame.shape)}")
    return Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)


def _new_events(folder: Path) -> Path:
    """A new event file: TensorBoard reads them in the order of their names."""
    stem = f"events.out.tfevents.{time.time_ns() // 1000:017d}.{socket.gethostname()}.{os.getpid()}"
    return folder / stem
