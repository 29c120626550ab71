"""The actions of the running episodes, kept so that these can be replayed."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class ActionLog:
    """Chosen actions of E streams since their last reset.

    One block of rows [T, E, n] for all streams; it grows with the longest running episode and is reused.
    """

    def __init__(self, num: int, width: int, dtype: np.dtype[Any]) -> None:
        self._rows = np.empty((64, num, width), dtype)
        self._end = 0
        self._start = np.zeros(num, np.int64)  # row of the first action of each running episode

    def append(self, chosen: Array) -> None:
        """Add one action per stream, [E, n]."""
        if self._end == len(self._rows):
            self._make_room()
        self._rows[self._end] = chosen
        self._end += 1

    def clear(self, streams: npt.NDArray[np.bool_]) -> None:
        """Forget the actions of the streams of a mask [E]: an episode starts there."""
        self._start[streams] = self._end

    def actions(self, stream: int) -> Array:
        """The actions of one stream since its reset, [T, n]."""
        return self._rows[self._start[stream] : self._end, stream]

    def load(self, actions: list[Array]) -> None:
        """Replace everything by the actions [T, n] of each stream."""
        _, num, width = self._rows.shape
        self._end = max(len(part) for part in actions)
        self._rows = np.empty((max(64, 2 * self._end), num, width), self._rows.dtype)
        for stream, part in enumerate(actions):
            self._start[stream] = self._end - len(part)
            self._rows[self._start[stream] : self._end, stream] = part

    def _make_room(self) -> None:
        live = self._rows[self._start.min() : self._end]
        rows = (
            self._rows
            if len(live) <= len(self._rows) // 2
            else np.empty((2 * len(self._rows), *live.shape[1:]), live.dtype)
        )
        rows[: len(live)] = live.copy()
        self._start -= self._end - len(live)
        self._rows, self._end = rows, len(live)
