"""Arithmetic on registers, against numpy, and kernels that are kept on disk."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from hybrid_opt.simd.registers import BYTES, Memory, Vector, procedure, written

OPERATIONS = ["exp", "sigmoid", "root", "fraction"]


@written
def _apply(_: Any, operation: Any, x: Any, y: Any, count: Any) -> Any:
    def body(memory: Memory, x: Any, y: Any, count: Any) -> None:
        with memory.loop(count) as k:
            value: Vector = getattr(memory.load(memory.after(x, k, BYTES)), name)()
            memory.store(value, memory.after(y, k, BYTES))

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        procedure(f"tests.{name}", ir.FloatType(), ir.VoidType(), builder, arguments[1:], body)
        return context.get_dummy_value()

    name = OPERATIONS[operation.literal_value]
    return types.void(operation, types.intp, types.intp, types.intp), codegen


@numba.njit
def _all(x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    count = x.size // 16
    _apply(0, x.ctypes.data, y[0].ctypes.data, count)
    _apply(1, x.ctypes.data, y[1].ctypes.data, count)
    _apply(2, x.ctypes.data, y[2].ctypes.data, count)
    _apply(3, x.ctypes.data, y[3].ctypes.data, count)


def of(x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    y = np.empty((4, x.size), np.float32)
    _all(x, y)
    return dict(zip(OPERATIONS, y, strict=True))


def test_functions_of_floats() -> None:
    """To two units of the last digit, over all that is neither huge nor tiny."""
    x = np.concatenate([np.linspace(-86, 86, 100_000), np.linspace(-1, 1, 99_984)]).astype(np.float32)
    wide, got = x.astype(np.float64), of(x)
    np.testing.assert_allclose(got["exp"], np.exp(wide), rtol=2.4e-7)
    np.testing.assert_allclose(got["sigmoid"], 1 / (1 + np.exp(-wide)), rtol=3.6e-7)
    np.testing.assert_allclose(of(np.abs(x))["root"], np.sqrt(np.abs(wide)), rtol=1.2e-7)
    np.testing.assert_allclose(got["fraction"], wide - np.round(wide), atol=1e-5)


def test_what_is_not_finite() -> None:
    got = of(np.array([np.nan, np.inf, -np.inf, 1e30] + 12 * [0.0], np.float32))
    assert np.isnan(got["exp"][0]) and np.isnan(got["sigmoid"][0]) and np.isnan(got["root"][0])
    assert got["sigmoid"][1:4].tolist() == [1.0, np.float32(1 / (1 + np.exp(87))), 1.0]
    assert np.isfinite(got["exp"]).tolist() == [False] + 15 * [True]


def test_kernels_where_no_cache_can_be_written(tmp_path: Path) -> None:
    """A temporary folder takes their place until the process ends, and a line says so, once."""
    (tmp_path / "kernel.py").write_text(
        "import os\nfrom numba.core import caching\n"
        "def refuse(*_): raise OSError('read-only')\n"
        "caching.InTreeCacheLocator.ensure_cache_path = caching.UserWideCacheLocator.ensure_cache_path = refuse\n"
        "from hybrid_opt.simd.registers import cached\n"
        "@cached()\ndef one():\n    return 1\n"
        "@cached()\ndef two():\n    return 2\n"
        "folder = os.environ['NUMBA_CACHE_DIR']\n"
        "print(one() + two(), folder, any(files for _, _, files in os.walk(folder)))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    command = [sys.executable, "-B", "kernel.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    total, folder, kept = done.stdout.split()
    assert (total, kept) == ("3", "True") and not Path(folder).exists()
    (line,) = done.stderr.splitlines()
    assert folder in line and "NUMBA_CACHE_DIR" in line


@pytest.mark.slow
def test_a_kernel_is_compiled_again_when_what_it_calls_has_changed(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(
        "import numba, part\nfrom hybrid_opt.simd.registers import cached\n"
        "@cached(part)\ndef number():\n    return part.number()\n"
        "print(number(), sum(number.stats.cache_hits.values()))\n"
    )

    def run(number: int) -> str:
        part = tmp_path / "part.py"
        source = f"import numba\n@numba.njit\ndef number():\n    return {number}\n"
        if not part.exists() or part.read_text() != source:
            part.write_text(source)
        command = [sys.executable, "-B", "kernel.py"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    assert [run(1), run(1), run(22), run(22)] == ["1 0", "1 1", "22 0", "22 1"]
