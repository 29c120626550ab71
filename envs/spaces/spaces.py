"""The spaces of the model: what a Gymnasium space becomes, and which ones are refused."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium import Space, spaces
from worldmodel.envs.config import Resize
from worldmodel.envs.errors import UnsupportedSpace
from worldmodel.envs.spaces.images import ImageFormat

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class ObservationSpec:
    """One entry of the observation as the model sees it.

    kind "vector": float32 (n,); "image": uint8 (H, W, C); "categorical": int32 (n,), class indices from 0, and
    `classes` holds the number of classes of each of the n entries.
    """

    kind: Literal["vector", "image", "categorical"]
    shape: tuple[int, ...]
    classes: tuple[int, ...] = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the arrays in the records."""
        return np.dtype({"vector": np.float32, "image": np.uint8, "categorical": np.int32}[self.kind])


@dataclass(frozen=True)
class ActionSpec:
    """The action as the model sees it: float32 [width], concatenated one-hots or values in [-1, 1].

    sizes: the classes of each discrete component (Discrete(4): (4,), MultiBinary(3): (2, 2, 2)); (1,) * n for n
    continuous values.
    """

    kind: Literal["discrete", "continuous"]
    sizes: tuple[int, ...]

    @property
    def width(self) -> int:
        """Length of the action vector."""
        return sum(self.sizes)


@dataclass(frozen=True)
class Field:
    """One leaf of an observation space.

    path: keys from the root to the leaf; space: the leaf as the vectorised environment shows it, after `image`;
    image: how an image is brought into (H, W, C), None where there is nothing to do.
    """

    key: str
    path: Path
    space: Space[Any]
    spec: ObservationSpec
    image: ImageFormat | None = None


@dataclass(frozen=True)
class Layout:
    """How an observation space becomes a dict of arrays.

    plain: the space is one leaf that needs no change, so observations stay bare arrays; otherwise the environment is
    wrapped such that it shows a flat dict. notices: sentences the user should read once.
    """

    fields: tuple[Field, ...]
    plain: bool
    notices: tuple[str, ...]

    @property
    def specs(self) -> dict[str, ObservationSpec]:
        """The observation specs by key."""
        return {field.key: field.spec for field in self.fields}

    @property
    def space(self) -> Space[Any]:
        """The space that the (wrapped) environment shows."""
        if self.plain:
            return self.fields[0].space
        return spaces.Dict([(field.key, field.space) for field in self.fields])


def observation_layout(space: Space[Any], resize: Resize = "auto", grayscale: bool = False) -> Layout:
    """Translate an observation space.

    Nested Dict and Tuple spaces are flattened to keys such as "state/position"; the key of a plain space is "image" or
    "observation". Text and empty fields are left out and named in the notices. Raises UnsupportedSpace.
    """
    leaves = _leaves(space, ())
    text = [_key(path, leaf) for path, leaf in leaves if _is_text(leaf)]
    empty = [_key(path, leaf) for path, leaf in leaves if not _is_text(leaf) and 0 in (leaf.shape or ())]
    notices = []
    if text:
        notices.append(f"text cannot be learned from, observation fields left out: {', '.join(text)}")
    if empty:
        notices.append(f"observation fields without entries left out: {', '.join(empty)}")
    fields = []
    for path, leaf in leaves:
        key = _key(path, leaf)
        if key in text or key in empty:
            continue
        field, notice = _field(key, path, leaf, resize, grayscale)
        fields.append(field)
        notices += [notice] if notice else []
    if not fields:
        raise UnsupportedSpace(f"observation space {_show(space)}: nothing is left to learn from")
    keys = [field.key for field in fields]
    if len(set(keys)) < len(keys):
        double = next(key for key in keys if keys.count(key) > 1)
        raise UnsupportedSpace(f"observation space: two entries are called {double!r} once nesting is flattened")
    plain = len(leaves) == 1 and not leaves[0][0] and fields[0].image is None
    return Layout(tuple(fields), plain, tuple(notices))


def check_space(name: str, space: object) -> None:
    """Raise UnsupportedSpace where an environment has no space of Gymnasium under a name."""
    if not isinstance(space, Space):
        _refuse_old_gym(space)
        raise UnsupportedSpace(f"its {name} is {_show(space)}; one of gymnasium.spaces is accepted")


def action_spec(space: Space[Any]) -> ActionSpec:
    """Translate an action space. Raises UnsupportedSpace where it is neither discrete nor a bounded Box."""
    match space:
        case spaces.Discrete():
            return ActionSpec("discrete", (int(space.n),))
        case spaces.MultiDiscrete() if space.nvec.size > 0:
            return ActionSpec("discrete", tuple(int(n) for n in space.nvec.flat))
        case spaces.MultiBinary() if math.prod(space.shape) > 0:
            return ActionSpec("discrete", (2,) * math.prod(space.shape))
        case spaces.Box() if space.dtype is not None and space.dtype.kind in "fiu" and math.prod(space.shape) > 0:
            if not space.is_bounded():  # of integers an infinite bound became the least or greatest of their type
                raise UnsupportedSpace(f"action space {_show(space)} is unbounded; a Box needs finite low and high")
            return ActionSpec("continuous", (1,) * math.prod(space.shape))
    _refuse_old_gym(space)
    raise UnsupportedSpace(
        f"action space {_show(space)} is not supported; supported: Discrete, MultiDiscrete, MultiBinary, bounded Box"
    )


def _leaves(space: Space[Any], path: Path) -> list[tuple[Path, Space[Any]]]:
    if isinstance(space, spaces.Dict):
        return [leaf for key, part in space.spaces.items() for leaf in _leaves(part, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [leaf for index, part in enumerate(space.spaces) for leaf in _leaves(part, (*path, index))]
    return [(path, space)]


def _key(path: Path, leaf: Space[Any]) -> str:
    if path:
        return "/".join(str(part) for part in path)
    return "image" if isinstance(leaf, spaces.Box) and ImageFormat.recognise(leaf) else "observation"


def _is_text(space: Space[Any]) -> bool:
    return isinstance(space, spaces.Text) or (space.dtype is not None and space.dtype.kind == "U")


def _field(key: str, path: Path, leaf: Space[Any], resize: Resize, gray: bool) -> tuple[Field, str | None]:
    classes: tuple[int, ...]
    match leaf:
        case spaces.Discrete():
            classes = (int(leaf.n),)
        case spaces.MultiDiscrete():
            classes = tuple(int(n) for n in leaf.nvec.flat)
        case spaces.MultiBinary():
            classes = (2,) * math.prod(leaf.shape)
        case spaces.Box() if ImageFormat.recognise(leaf):
            image, notice = ImageFormat.of(leaf, key, resize, gray)
            space = spaces.Box(0, 255, image.output, np.uint8)
            changed = None if image.identity else image
            return Field(key, path, space, ObservationSpec("image", image.output), changed), notice
        case spaces.Box() if leaf.dtype is not None and leaf.dtype.kind in "fiub":
            size = math.prod(leaf.shape)
            notice = None
            if 2 <= len(leaf.shape) <= 4 and sum(side >= 16 for side in leaf.shape) >= 2:
                notice = f"observation {key!r} {_show(leaf)} is no uint8 image from 0 to 255: it is used as a vector"
            return Field(key, path, leaf, ObservationSpec("vector", (size,))), notice
        case _:
            _refuse_old_gym(leaf)
            raise UnsupportedSpace(
                f"observation space {key!r} {_show(leaf)} is not supported; supported: Box, Discrete, MultiDiscrete, "
                "MultiBinary, and Dict or Tuple of these"
            )
    return Field(key, path, leaf, ObservationSpec("categorical", (len(classes),), classes)), None


def _refuse_old_gym(space: Any) -> None:
    if type(space).__module__.partition(".")[0] == "gym":
        raise UnsupportedSpace(f"{_show(space)} is a space of the old gym package; one of gymnasium.spaces is accepted")


def _show(space: object) -> str:
    """The space on one line, cut where it is long."""
    text = " ".join(repr(space).split())
    return text if len(text) <= 100 else f"{text[:97]}..."
