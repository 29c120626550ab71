"""Exceptions of the user's code: told in one line that names their code, and kept from ending what is ours."""

import sysconfig
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
from worldmodel.envs.errors import EnvironmentFault, WorkerTraceback, WrongAnswer

_OURS = (Path(__file__).parent, Path(gym.__file__).parent)
_STANDARD = Path(sysconfig.get_paths()["stdlib"])
_INSTALLED = {"site-packages", "dist-packages"}


def described(error: BaseException) -> str:
    """Return an exception of the user's code on one line, with the last frame of theirs that it passed."""
    if isinstance(error, WrongAnswer):  # raised by our checks: no frame of theirs is to blame
        return str(error)
    text = " ".join(f"{type(error).__name__}: {text_of(error)}".split())
    frame = _last_frame(error)
    return f"{text} (at {frame.filename}:{frame.lineno} in {frame.name})" if frame else text


def text_of(error: BaseException) -> str:
    """Return the text of an exception; of one that cannot say it, what Python's tracebacks show in its place."""
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return "<exception str() failed>"


def tell(line: str) -> None:
    """Warn of the user's code, whatever filters of warnings that code has set."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(line, stacklevel=3)


def traceback_of(error: BaseException) -> str:
    """Return the traceback of the exception that a fault is about, as text; empty where the user's code raised none."""
    cause: BaseException | None = error
    while isinstance(cause, EnvironmentFault):
        cause = cause.__cause__
    if isinstance(cause, WorkerTraceback):
        return str(cause)
    return "".join(traceback.format_exception(cause)) if cause else ""


def close(env: gym.Env[Any, Any], name: str, tell: Callable[[str], object] = tell) -> None:
    """Close an environment. Where that fails, one line is told: it is no reason to lose results."""
    try:
        env.close()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        tell(f"{name}: close() failed ({described(error)})")


def _last_frame(error: BaseException) -> traceback.FrameSummary | None:
    """The last frame in a file of the user's, else in an installed package; never one of ours or of Gymnasium."""
    installed = None
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if frame.filename.startswith("<frozen") or any(path.is_relative_to(folder) for folder in _OURS):
            continue
        if _INSTALLED & set(path.parts):
            installed = installed or frame
        elif not path.is_relative_to(_STANDARD):
            return frame
    return installed
