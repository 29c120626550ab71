"""Rendering without a display: which OpenGL library MuJoCo loads."""

import ctypes.util
import os
import sys


def choose_opengl() -> None:
    """Set MUJOCO_GL before MuJoCo is imported, where nobody has set it and there is no display to draw on.

    EGL, else OSMesa, whichever library is found; left alone where neither is.
    """
    if "MUJOCO_GL" in os.environ or not sys.platform.startswith("linux"):
        return
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    for name, library in (("egl", "EGL"), ("osmesa", "OSMesa")):
        if ctypes.util.find_library(library):
            os.environ["MUJOCO_GL"] = name
            return
