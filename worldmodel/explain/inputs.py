"""Observations as rows of numbers, and the features that are explained as one."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from worldmodel.envs import ObservationSpec

PATCHES = 8  # along the longer side of an image


class Inputs:
    """Turns observations into rows of real numbers, and rows into what an encoder takes.

    A category is a one-hot there, an image has its pixels from 0 to 255. A feature is an element of a vector, a
    category, or a square patch of an image. Shapes: N states, P numbers, F features.
    """

    def __init__(self, specs: Mapping[str, ObservationSpec]) -> None:
        self.specs, self.names = dict(specs), list[str]()
        self.places: dict[str, slice] = {}  # of a key in a row
        self.grids: dict[str, tuple[int, int, int]] = {}  # image -> rows and columns of patches, and their side
        features: list[NDArray[np.int64]] = []
        for key, spec in specs.items():
            own = self._features(key, spec)
            begin = sum(map(len, features))
            self.places[key] = slice(begin, begin + len(own))
            features.append(own + len(self.names))
            self.names += self._named(key, spec)
        self.feature = np.concatenate(features)  # [P]: the feature that a number belongs to

    @property
    def width(self) -> int:
        """P."""
        return len(self.feature)

    def _features(self, key: str, spec: ObservationSpec) -> NDArray[np.int64]:
        if spec.kind == "vector":
            return np.arange(spec.shape[0])
        if spec.kind == "categorical":
            return np.repeat(np.arange(len(spec.classes)), spec.classes)
        height, width, channels = spec.shape
        side = ceil(max(height, width) / PATCHES)
        self.grids[key] = ceil(height / side), ceil(width / side), side
        rows, columns = np.indices((height, width)) // side
        return np.repeat((rows * self.grids[key][1] + columns).ravel(), channels)

    def _named(self, key: str, spec: ObservationSpec) -> list[str]:
        if spec.kind == "image":
            rows, columns, _ = self.grids[key]
            return [f"{key} {row + 1}/{column + 1}" for row in range(rows) for column in range(columns)]
        return [f"{key}[{i}]" for i in range(spec.shape[0])]

    def rows(self, observation: Mapping[str, Any]) -> Tensor:
        """Return observations of keys [N, ...] as float32 [N, P]."""
        parts = []
        for key, spec in self.specs.items():
            value = torch.as_tensor(observation[key])
            if spec.kind == "categorical":
                parts += [F.one_hot(value[:, i].long(), n).float() for i, n in enumerate(spec.classes)]
            else:
                parts.append(value.flatten(1).float())
        return torch.cat(parts, -1)

    def part(self, rows: Tensor, key: str) -> Tensor:
        """Return what rows [N, P] hold of a key: images as [N, H, W, C], all else flat."""
        values, spec = rows[:, self.places[key]], self.specs[key]
        return values.unflatten(1, spec.shape) if spec.kind == "image" else values

    def by_feature(self, values: Tensor) -> Tensor:
        """Return the sums of values [N, P] over the numbers of each feature, [N, F]."""
        index = torch.from_numpy(self.feature).to(values.device)
        return values.new_zeros(len(values), len(self.names)).index_add_(1, index, values)

    def spread(self, values: Tensor) -> Tensor:
        """Return for each number what its feature has, [..., F] -> [..., P]."""
        return values[..., torch.from_numpy(self.feature).to(values.device)]
