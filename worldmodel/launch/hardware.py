"""The machine: device, precision, threads and memory, chosen once before the first tensor is made."""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import psutil
import torch

from hybrid_opt.simd.threads import processors
from worldmodel.envs.faults import tell

MOST_THREADS = 1024  # more than any machine has; each takes memory, and PyTorch ends the process where it gets none
_CGROUP = Path("/sys/fs/cgroup")  # where a container sees its own limits


class MachineError(ValueError):
    """A device or an amount of memory was asked for that this machine does not have; one line for the user."""

    exit_code = 2


def put_back_torch(env_id: str) -> None:
    """Put back the settings of PyTorch that a user's environment has changed for the whole process, with a warning."""
    if torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled():
        return
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    _tell_once(f"{env_id}: changes PyTorch's default dtype or gradient mode, which are put back")


@cache
def _tell_once(line: str) -> None:
    """Tell it once in this process: the environment may do it in every step."""
    tell(line)


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; auto: CUDA where there is a GPU. Raises MachineError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise MachineError(f"device={name}: auto, cpu, cuda or cuda:N is accepted")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MachineError(f"device={name}: this machine has {torch.cuda.device_count()} CUDA devices; cpu is accepted")
    return device


def explained(name: str, device: torch.device, small: bool) -> str:
    """Return the device as text, with the reason where device=auto chose it.

    small: of a model that compiled kernels take on the CPU.
    """
    if name != "auto":
        return str(device)
    if device.type == "cpu":
        return "cpu (auto: PyTorch sees no CUDA device)"
    hint = "; for a model of vectors this small, device=cpu may be faster" if small else ""
    return f"{device} (auto: there is a CUDA device{hint})"


def choose_precision(name: str, device: torch.device, small: bool = False) -> torch.dtype:
    """Precision of the matrix products; auto: bfloat16 on CUDA and on CPUs with AMX, else float32.

    small: of a model that compiled kernels take in float32 on the CPU, which are faster: auto is then float32 there.
    """
    if name == "auto":
        amx = torch.cpu._is_amx_tile_supported() and not small
        fast = _native_bfloat16(device) if device.type == "cuda" else amx
        name = "bfloat16" if fast else "float32"
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def _native_bfloat16(device: torch.device) -> bool:
    """Whether this GPU computes in bfloat16, rather than emulating it slowly."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def set_threads(threads: int | Literal["auto"], small: bool = False) -> int:
    """Set the CPU threads and return their number; auto: `processors`, at most 8. Raises MachineError.

    small: with small operators, where a second thread waits more than it computes: auto then gives PyTorch one thread,
    and the others to compiled rollouts and to what is done `aside`.
    """
    if threads != "auto" and threads > MOST_THREADS:
        raise MachineError(f"threads={threads}: auto or at most {MOST_THREADS} is accepted")
    number = min(processors(), 8) if threads == "auto" else threads
    torch.set_num_threads(1 if small and threads == "auto" else number)
    return number


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks, where it is the allocator.

    By default it returns blocks of some megabytes to the system on every free, and the page faults on the next
    allocation cost more than the arithmetic on them.
    """
    if sys.platform == "linux" and (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30) or libc.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD; before 2.35 at most 32 MiB
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def make_deterministic(device: torch.device) -> None:
    """Have PyTorch use deterministic algorithms alone. Raises MachineError on CUDA, where that is not promised."""
    if device.type != "cpu":
        raise MachineError(f"deterministic=true: needs device=cpu, not {device}")
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms would import the compiler, for seconds


def available_memory() -> int:
    """Bytes that can be allocated without swapping, within the container's limit where there is one."""
    available = int(psutil.virtual_memory().available)
    try:
        limit, used = _CGROUP.joinpath("memory.max").read_text(), _CGROUP.joinpath("memory.current").read_text()
        stat = dict(line.split() for line in _CGROUP.joinpath("memory.stat").read_text().splitlines())
        return min(available, int(limit) - int(used) + int(stat["inactive_file"]))  # cached files can be dropped
    except (OSError, ValueError, KeyError):  # no control group, no limit ("max"), or another system
        return available


def check_model(
    parameters: int, device: torch.device, cause: Callable[[], tuple[str, str]] = lambda: ("size", "a smaller size")
) -> int:
    """Say what the model will take, before it is allocated: weights, gradients and the optimiser's two moments.

    cause: the key to name where it does not fit, and what would be accepted. Returns the bytes of main memory among it.
    Raises MachineError where it does not fit.
    """
    size = 16 * parameters
    on_cpu = device.type == "cpu"
    free = available_memory() if on_cpu else torch.cuda.mem_get_info(device)[0]
    print(f"model: {parameters / 1e6:.1f} M parameters, {gibibytes(size)} with gradients and optimiser")
    if size > free:
        key, accepted = cause()
        raise MachineError(
            f"{key}: a model of {parameters / 1e6:.0f} M parameters needs {gibibytes(size)}, "
            f"{gibibytes(free)} are free; {accepted} is accepted"
        )
    return size if on_cpu else 0


def check_imagined(size: int, device: torch.device, key: str) -> None:
    """Raise MachineError where not even the imagined states of an update fit. The key is named with its value."""
    free = available_memory() if device.type == "cpu" else torch.cuda.mem_get_info(device)[0]
    if size > free:
        raise MachineError(
            f"{key}: the imagined states of an update need at least {gibibytes(size)}, {gibibytes(free)} are free;"
            " a shorter horizon or a smaller batch is accepted"
        )


def check_replay(size: int, saved: int, on_disk: bool, path: Path, capacity: int, reserved: int = 0) -> None:
    """Say what the replay will take when it is full, before it is allocated. Raises MachineError where it cannot.

    saved: bytes of its checkpoints, which are files in the run's folder. What that holds already counts as free.
    reserved: bytes of the free memory that others will take.
    """
    held = sum(512 * file.stat().st_blocks for file in path.rglob("*") if file.is_file())
    disk, memory = shutil.disk_usage(path).free + held, available_memory() - reserved
    place, free = ("on disk", disk) if on_disk else ("in memory", memory)
    print(f"replay: up to {gibibytes(size)} {place}, {gibibytes(free)} free; {gibibytes(saved)} in checkpoints")
    needs = [("in memory", size, memory)] if not on_disk else []
    for place, needed, free in [*needs, ("on disk", saved + size * on_disk, disk)]:
        if needed > free:
            raise MachineError(
                f"replay.capacity={capacity}: needs {gibibytes(needed)} {place}, {gibibytes(free)} are free; "
                f"up to {int(capacity * free / needed)} is accepted"
                + (", or replay.storage=disk" if place == "in memory" else "")
            )


def gibibytes(size: float) -> str:
    """`size` bytes as text."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
