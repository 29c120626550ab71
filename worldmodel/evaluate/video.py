"""Videos: frames of an episode to an MP4 or GIF file."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldmodel.runs.atomic_file import WriteError

KINDS = (".mp4", ".gif")


class VideoError(ValueError):
    """A video cannot be written as it was asked for; one line for the user."""

    exit_code = 2


def check_video(path: Path) -> None:
    """Raise VideoError where the extension is not known, or the folder does not exist."""
    if path.suffix.lower() not in KINDS:
        raise VideoError(f"video={path}: the name of an .mp4 or .gif file is accepted")
    if path.is_dir() or not path.parent.is_dir():
        raise VideoError(f"video={path}: a file in a folder that exists is accepted")


@contextmanager
def video(path: Path, fps: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """A function that takes the frames, uint8 [H, W, 3]. The file appears when the block ends, whole or not at all.

    Raises WriteError when the disk fails.
    """
    import imageio.v2 as imageio

    temporary = path.with_name(f".{path.stem}.tmp{path.suffix.lower()}")
    mp4 = {"fps": fps, "macro_block_size": 2}  # the codec takes even sides alone
    options: dict[str, Any] = mp4 if temporary.suffix == ".mp4" else {"duration": 1000 / fps, "loop": 0}
    try:
        writer: Any = imageio.get_writer(temporary, **options)
        try:
            yield writer.append_data
        except BaseException:
            with suppress(Exception):  # its `with` would leave it open, and the file would appear later
                writer.close()
            raise
        writer.close()
        os.replace(temporary, path)
    except OSError as error:
        raise WriteError(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
