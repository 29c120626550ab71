"""Images: which uint8 boxes are images, and how they become (H, W, C) of a size that the CNN can take."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box
from worldmodel.envs.config import MULTIPLE, Resize
from worldmodel.envs.errors import EnvironmentRefused

DEFAULT_SIZE = (64, 64)


@dataclass(frozen=True)
class ImageFormat:
    """Brings one image into (H, W, C).

    axes: order that turns the input, seen as a stack (N, ., ., .), into (H, W, N, C); size: (H, W) to resize to with
    area interpolation, None to keep; gray: RGB triples become their luminance (ITU-R BT.601).
    """

    shape: tuple[int, ...]
    stack: tuple[int, int, int, int]
    axes: tuple[int, int, int, int]
    size: tuple[int, int] | None
    gray: bool

    @staticmethod
    def recognise(space: Box) -> bool:
        """Whether a Box is an image.

        It is one when it is uint8 with bounds 0 and 255 and has two sides of at least 16: (H, W), (H, W, C) or
        (C, H, W), or a stack of fewer than 16 such colour frames. Smaller boxes are symbols, not pixels.
        """
        return (
            space.dtype == np.uint8
            and len(space.shape) in (2, 3, 4)
            and bool((space.low == 0).all() and (space.high == 255).all())
            and _stack(space.shape) is not None
        )

    @classmethod
    def of(cls, space: Box, key: str, resize: Resize, grayscale: bool) -> tuple["ImageFormat", str | None]:
        """The format of an image space, and a notice where its size is changed unasked.

        Raises EnvironmentRefused where resizing is forbidden and the CNN cannot take the size.
        """
        found = _stack(space.shape)
        assert found is not None, "only for recognised images"
        stack, axes = found
        height, width, _, channels = (stack[axis] for axis in axes)
        size, notice = None, None
        if isinstance(resize, tuple):
            size = resize if resize != (height, width) else None
        elif height % MULTIPLE or width % MULTIPLE:
            if resize is False:
                raise EnvironmentRefused(
                    f"env.resize=false: image {key!r} is {height} x {width}, the CNN takes multiples of {MULTIPLE}; "
                    "accepted: auto or [H, W]"
                )
            size = DEFAULT_SIZE
            notice = f"image {key!r} is resized from {height} x {width} to {size[0]} x {size[1]} (env.resize)"
        if len(space.shape) == 3 and min(space.shape) >= MULTIPLE and height != width:
            order = "(C, H, W)" if axes[-1] == 1 else "(H, W, C)"
            read = f"image {key!r} {space.shape} is read as {order}, its channels the shorter of first and last axis"
            notice = f"{read}; {notice}" if notice else read
        return cls(space.shape, stack, axes, size, grayscale and channels == 3), notice

    @property
    def output(self) -> tuple[int, int, int]:
        """(H, W, C) of the result."""
        height, width, frames, channels = (self.stack[axis] for axis in self.axes)
        height, width = self.size or (height, width)
        return height, width, frames * (1 if self.gray else channels)

    @property
    def identity(self) -> bool:
        """Whether nothing has to be done."""
        return self.output == self.shape and self.axes == (1, 2, 0, 3)

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Convert one image [*shape] to [H, W, C]."""
        import cv2

        frames = np.ascontiguousarray(image.reshape(self.stack).transpose(self.axes))  # [H, W, N, C]
        height, width, count, _ = frames.shape
        pixels: npt.NDArray[np.uint8] = frames.reshape(height, width, -1)
        if self.gray:
            rgb = frames.reshape(height, width * count, 3)
            pixels = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8).reshape(height, width, count)
        if self.size is None:
            return pixels
        height, width = self.size
        parts = [  # area interpolation takes at most four channels at once
            cv2.resize(
                np.ascontiguousarray(pixels[..., start : start + 4]), (width, height), interpolation=cv2.INTER_AREA
            )
            for start in range(0, pixels.shape[2], 4)
        ]
        return np.concatenate([np.asarray(part, np.uint8).reshape(height, width, -1) for part in parts], axis=2)


def _stack(shape: tuple[int, ...]) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]] | None:
    """A shape as a stack (N, ., ., .) and the axes that make it (H, W, N, C); None where it is no image.

    The channels are the last axis, or the first one where only that leaves two sides, or where it is the shorter.
    """
    if len(shape) == 2:
        shape = (*shape, 1)
    count = 1
    if len(shape) == 4:
        count, shape = shape[0], shape[1:]
        if count >= MULTIPLE or min(shape[0], shape[2]) not in (1, 3, 4):
            return None
    last = min(shape[0], shape[1]) >= MULTIPLE
    first = min(shape[1], shape[2]) >= MULTIPLE
    if not (last or first) or math.prod(shape) == 0:
        return None
    stack = (count, *shape)
    if first and (not last or shape[0] < shape[2]):
        return (stack[0], stack[1], stack[2], stack[3]), (2, 3, 0, 1)
    return (stack[0], stack[1], stack[2], stack[3]), (1, 2, 0, 3)
