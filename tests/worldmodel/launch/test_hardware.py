"""The machine: what is chosen, what is refused, and that freed memory stays."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.worldmodel.train.runs import line_of, train
from worldmodel.launch import hardware
from worldmodel.launch.hardware import MachineError

CPU = torch.device("cpu")


def test_devices() -> None:
    assert hardware.choose_device("cpu") == CPU
    assert hardware.choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", "mps", "", "cpu:x", "cuda:-1"])
def test_devices_that_are_refused(name: str) -> None:
    with pytest.raises(MachineError) as caught:
        hardware.choose_device(name)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"device={name}: ")
    assert caught.value.exit_code == 2


def test_precision() -> None:
    assert hardware.choose_precision("float32", CPU) == torch.float32
    assert hardware.choose_precision("bfloat16", CPU) == torch.bfloat16
    amx = " amx_tile " in Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else False
    assert hardware.choose_precision("auto", CPU) == (torch.bfloat16 if amx else torch.float32)
    assert hardware.choose_precision("auto", CPU, small=True) == torch.float32


def test_choosing_a_gpu_does_not_start_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches choose before they fork their workers, and a program that loads a policy keeps its current device."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("set_device", "_lazy_init"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: pytest.fail("started"))
    assert [str(hardware.choose_device(name)) for name in ("cuda:1", "cuda", "auto", "cpu")] == [
        "cuda:1", "cuda", "cuda", "cpu",
    ]  # fmt: skip


def test_the_gpu_of_a_run_becomes_the_current_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Streams and captured graphs are those of the current device."""

    def chosen(device: torch.device) -> None:
        raise MachineError(f"current: {device}")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen)
    assert train("device=cuda:1", "compile=true", f"logdir={tmp_path / 'run'}") == 2
    assert line_of(capsys.readouterr().err) == "current: cuda:1"


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_only_where_the_chosen_gpu_has_it(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    asked: list[torch.device] = []

    class Current:
        def __init__(self, device: torch.device) -> None:
            asked.append(device)

        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "device", Current)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    second = torch.device("cuda:1")
    assert hardware.choose_precision("auto", second) == (torch.bfloat16 if native else torch.float32)
    assert asked == [second]


def test_the_choice_of_the_device_is_explained() -> None:
    gpu = torch.device("cuda")
    assert hardware.explained("cuda:1", torch.device("cuda:1"), small=True) == "cuda:1"
    assert hardware.explained("auto", CPU, small=True) == "cpu (auto: PyTorch sees no CUDA device)"
    assert hardware.explained("auto", gpu, small=False) == "cuda (auto: there is a CUDA device)"
    assert "device=cpu may be faster" in hardware.explained("auto", gpu, small=True)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        assert hardware.set_threads(3) == 3 == torch.get_num_threads()
        for cores in (2, 12):
            monkeypatch.setattr(hardware, "processors", lambda cores=cores: cores)
            assert hardware.set_threads("auto") == min(cores, 8) == torch.get_num_threads()
            assert hardware.set_threads("auto", small=True) == min(cores, 8)
            assert torch.get_num_threads() == 1
        assert hardware.set_threads(3, small=True) == 3 == torch.get_num_threads()
    finally:
        hardware.set_threads(before)


def test_deterministic_mode_is_for_the_cpu() -> None:
    with pytest.raises(MachineError, match=r"^deterministic=true: needs device=cpu, not cuda:0$"):
        hardware.make_deterministic(torch.device("cuda:0"))
    try:
        hardware.make_deterministic(CPU)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_deterministic_debug_mode("default")


def test_available_memory() -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 2**26 < hardware.available_memory() <= total


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_replay_that_does_not_fit(tmp_path: Path, on_disk: bool, capsys: pytest.CaptureFixture[str]) -> None:
    hardware.check_replay(2**20, 2**21, on_disk, tmp_path, 10)
    out = capsys.readouterr().out
    assert out.startswith("replay: up to 1.0 MiB ") and out.endswith(" free; 2.0 MiB in checkpoints\n")
    with pytest.raises(MachineError, match=r"^replay\.capacity=1000000: needs 1048576.00 GiB ") as caught:
        hardware.check_replay(2**50, 0, on_disk, tmp_path, 10**6)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    assert ("replay.storage=disk" in str(caught.value)) != on_disk


@pytest.mark.parametrize("on_disk", [False, True])
def test_checkpoints_that_do_not_fit(tmp_path: Path, on_disk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are files wherever the replay is; those of a run that continues are in its folder already."""
    (tmp_path / "steps").write_bytes(b"x" * 2**22)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**22))
    hardware.check_replay(2**20, 6 * 2**20, on_disk, tmp_path, 1000)
    with pytest.raises(
        MachineError, match=r"^replay\.capacity=1000: needs 1\d\.0 MiB on disk, 8\.\d MiB are free; up to "
    ):
        hardware.check_replay(2**20, 10 * 2**20, on_disk, tmp_path, 1000)


def test_a_model_that_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert hardware.check_model(1_000_000, CPU) == 16_000_000
    assert capsys.readouterr().out == "model: 1.0 M parameters, 15.3 MiB with gradients and optimiser\n"
    with pytest.raises(MachineError, match="smaller size"):
        hardware.check_model(10**13, CPU)


FAULTS = """
import resource, sys, torch
from worldmodel.launch import hardware as machine
if sys.argv[1] == "keep":
    machine.keep_freed_memory()
for _ in range(12):
    torch.ones(12_000_000)  # until the small pieces beside the aligned blocks have found their place
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(12_000_000)  # 48 MB: above what the allocator gives back by default
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_freed_memory_is_kept() -> None:
    """Page faults of repeated large allocations: all of the pages each time, or none."""
    pages = 10 * 48_000_000 // resource.getpagesize()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLIBC_TUNABLES": ""}
    faults = [
        int(subprocess.check_output([sys.executable, "-c", FAULTS, how], env=environment, text=True, timeout=60))
        for how in ("leave", "keep")
    ]
    if faults[0] < pages / 10:
        pytest.skip("the allocator here keeps freed memory anyway, or pages are huge")
    assert faults[1] < pages / 100
