"""Between a vectorised environment and the model: observations to arrays, action vectors to actions."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import Space, spaces
from worldmodel.envs.spaces.spaces import Layout, action_spec

Array = npt.NDArray[Any]
Observation = dict[str, Array]


class ObservationEncoder:
    """Turns the batched observations of E streams into the arrays of the records. The result owns its memory."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._start: dict[str, Array | int] = {}
        self._limits: dict[str, Array] = {}
        for field in layout.fields:
            if field.spec.kind == "categorical":
                start = getattr(field.space, "start", 0)
                self._start[field.key] = np.asarray(start, np.int64).reshape(-1)
                self._limits[field.key] = np.array(field.spec.classes)

    def encode(self, raw: Any) -> Observation:
        """Encode raw observations, a batched leaf or a flat dict of them, to {key: [E, *shape]}."""
        result = {}
        for field in self._layout.fields:
            leaf = np.asarray(raw if self._layout.plain else raw[field.key])
            batch = leaf.reshape(len(leaf), *field.spec.shape)
            if field.spec.kind == "categorical":
                batch = batch - self._start[field.key]
            result[field.key] = batch.astype(field.spec.dtype)
        return result

    def fault(self, observation: Observation, raw: Any) -> tuple[int, str] | None:
        """The first stream whose observation is not finite or outside its classes, and what is wrong with it.

        raw: what the observation was encoded from.
        """
        for field in self._layout.fields:
            batch = observation[field.key]
            if field.spec.kind == "vector":
                if math.isfinite(batch.sum()):
                    continue
                wrong = ~np.isfinite(batch)
            elif field.spec.kind == "categorical":
                wrong = (batch < 0) | (batch >= self._limits[field.key])
            else:
                continue
            streams = np.flatnonzero(wrong.any(axis=1))
            if len(streams):
                stream = int(streams[0])
                given = np.asarray(raw if self._layout.plain else raw[field.key]).reshape(batch.shape)
                outside = f"is outside {' '.join(repr(field.space).split())[:80]} (value {batch[wrong][0]})"
                what = outside if field.spec.kind == "categorical" else misfit(given[wrong][0])
                return stream, f"observation {field.key!r} {what}"
        return None


def misfit(value: float) -> str:
    """What is wrong with a number that is not finite as float32."""
    if math.isfinite(value):
        return f"has value {value:.4g}, which float32 cannot hold; numbers up to 3.4e38 are accepted"
    return f"is not finite (value {value})"


class ActionDecoder:
    """Turns the model's action vectors into what the vectorised environment takes.

    In two steps, so that what is kept of an episode is small: `choose` gives class indices or clipped values, `decode`
    the actions of the environment.
    """

    def __init__(self, space: Space[Any]) -> None:
        self.spec = action_spec(space)
        self._space = space
        self._start: Array | int = 0
        self.dtype: np.dtype[Any]
        if self.spec.kind == "discrete":
            self.dtype = np.dtype(np.uint8 if max(self.spec.sizes) <= 256 else np.int32)
            self._start = np.asarray(getattr(space, "start", 0), np.int64).reshape(-1)
            self._ends = np.cumsum(self.spec.sizes).tolist()
        else:
            assert isinstance(space, spaces.Box)
            self.dtype = np.dtype(np.float32)
            self._low = space.low.reshape(-1).astype(np.float64)
            self._high = space.high.reshape(-1).astype(np.float64)
            self._centre = self._low / 2 + self._high / 2
            self._half = self._high / 2 - self._low / 2
            if space.dtype is not None and space.dtype.kind in "iu":
                largest = int(np.iinfo(space.dtype.name).max)
                if float(largest) > largest:  # 2^63 - 1 as float64 is 2^63, which a cast would wrap
                    self._high = np.minimum(self._high, np.nextafter(float(largest), 0))

    def choose(self, actions: Array) -> Array:
        """Action vectors [E, width] to class indices (the largest entry) or values clipped to [-1, 1]: [E, n].

        Raises ValueError where the shape is wrong or an entry is not a number.
        """
        if actions.ndim != 2 or actions.shape[1] != self.spec.width:
            raise ValueError(f"actions of shape {actions.shape}, expected [streams, {self.spec.width}]")
        if math.isnan(actions.sum()):
            raise ValueError("the action is not a number")
        if self.spec.kind == "continuous":
            clipped: Array = np.minimum(np.maximum(actions, -1.0), 1.0).astype(self.dtype, copy=False)
            return clipped
        if len(self.spec.sizes) == 1:
            classes: Array = actions.argmax(axis=1, keepdims=True).astype(self.dtype)
            return classes
        parts = np.split(actions, self._ends[:-1], axis=1)
        return np.stack([part.argmax(axis=1) for part in parts], axis=1).astype(self.dtype)

    def decode(self, chosen: Array) -> Array:
        """Chosen classes or values [E, n] to environment actions [E, *action shape]."""
        shape = (len(chosen), *(self._space.shape or ()))
        if self.spec.kind == "discrete":
            classes: Array = (chosen + self._start).astype(self._space.dtype).reshape(shape)
            return classes
        values = np.minimum(np.maximum(self._centre + chosen * self._half, self._low), self._high)
        if self._space.dtype is not None and self._space.dtype.kind in "iu":
            values = np.rint(values)
        actions: Array = values.astype(self._space.dtype).reshape(shape)
        return actions
