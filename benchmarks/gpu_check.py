"""What a machine with a CUDA device shows in five minutes: tests, updates, acting, and a run of CartPole.

    python benchmarks/gpu_check.py [tests updates acting run] [--json gpu_check.json]

tests: those marked `cuda`. updates: 16 x 64, vector observations, sizes 1m and 12m: eager, captured as a CUDA graph,
and with losses by torch.compile; milliseconds, kernel launches and memory. acting: actions a second. run: CartPole, by
default. One JSON, and rows of Markdown beside published times. Without a device the rows say "not run".

--device cpu tries the check itself, on small batches and few steps, and its figures mean nothing.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness import Option, Table, parse, write
from benchmarks.update_speed import OBSERVATION, SIZE, made
from worldmodel.cli.compose import configured
from worldmodel.train.config import TrainConfig

PARTS = ("tests", "updates", "acting", "run")
WAYS = ("eager", "captured", "compiled")
ANCHORS = (  # one update of 16 x 64, about 0.64M parameters, on a GB200, as published
    ("DreamerV3 in JAX", 22.0),
    ("TorchRL, compiled scan, 7,500 launches", 358.0),
)
SECONDS = 20  # at most, of one way to update


def synchronised(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call, its kernels included."""
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def tests(device: torch.device) -> dict[str, Any]:
    """The tests marked `cuda`."""
    words = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    last = (done.stdout.strip().splitlines() or [done.stderr[-300:]])[-1]
    print(f"\ntests marked cuda: exit {done.returncode}, {last}")
    return {"exit": done.returncode, "says": last}


def updates(device: torch.device, batch: int, length: int) -> dict[str, Any]:
    """Milliseconds, launches and memory of an update, by size and way."""
    shown = Table(f"update, {batch} x {length}", "ms:9.1f", "fastest:9.1f", "launches:10,", "MiB:8.0f", width=16)
    found: dict[str, Any] = {}
    cuda = device.type == "cuda"
    precision = torch.bfloat16 if cuda else torch.float32
    for name, size in {"1m": SIZE, "12m": _size("12m")}.items():
        for way in WAYS if cuda else WAYS[:1]:
            label = f"{name} {way}"
            try:
                found[label] = row = _update(size, batch, length, device, precision, way)
            except Exception as error:  # the others still count; this row says what happened
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                found[label] = {"failed": reason}
                print(f"{label:16} failed: {reason}")
                continue
            shown.row(label, row["ms"], row["fastest"], row["launches"], row["MiB"])
    return found


def _update(
    size: dict[str, Any], batch: int, length: int, device: torch.device, precision: torch.dtype, way: str
) -> dict[str, Any]:
    torch.manual_seed(0)
    update, windows = made(batch, length, device, precision, way == "captured", size)
    if way == "compiled":
        update.agent.losses = torch.compile(update.agent.losses)  # type: ignore[method-assign]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(3 if device.type == "cuda" else 1):
        update(windows)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 30 and time.perf_counter() - begin < SECONDS:
        times.append(1e3 * synchronised(lambda: update(windows), device))
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiled:
        synchronised(lambda: update(windows), device)
    launches = sum(event.count for event in profiled.key_averages() if "LaunchKernel" in event.key)
    memory = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else float("nan")
    row = {"ms": float(np.median(times)), "fastest": min(times), "launches": launches, "MiB": memory}
    return row | {"n": len(times), "precision": str(precision)}


def acting(device: torch.device, batch: int, length: int) -> dict[str, Any]:
    """Actions a second of size 1m, by streams."""
    shown = Table("acting, size 1m", "actions/s:12,.0f", label="streams")
    agent = made(batch, length, device, torch.float32, False, SIZE)[0].agent
    found = {}
    for streams in (1, 16, 256):
        carry, steps = agent.initial(streams), 0
        first = torch.zeros(streams, dtype=torch.bool, device=device)
        observation = {"observation": torch.randn(streams, OBSERVATION, device=device)}
        begin = time.perf_counter()
        while steps < 20 or (steps < 500 and time.perf_counter() - begin < 5):
            carry = agent.act(observation, first, carry)
            carry.action.cpu()  # as an environment wants it
            steps += 1
        found[streams] = streams * steps / (time.perf_counter() - begin)
        shown.row(streams, found[streams])
    return {str(streams): rate for streams, rate in found.items()}


def run(device: torch.device, steps: int) -> dict[str, Any]:
    """A run of CartPole by default: its return, minutes and updates a second."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "worldmodel.train", "env=cartpole", f"steps={steps}", f"device={device}", f"logdir={folder}/run"]
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=600)
        seconds = time.perf_counter() - begin
        if done.returncode:
            print(f"\nrun: exit {done.returncode}, {done.stderr[-500:]}")
            return {"exit": done.returncode, "says": done.stderr[-500:]}
        returns = json.loads(Path(folder, "run", "evaluation.json").read_text())["mean"]
        rows = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
        rates = [row["time/updates_per_second"] for row in rows if "loss/model" in row]
    found = {"steps": steps, "return": returns, "seconds": seconds, "updates/s": float(np.median(rates))}
    print(f"\nCartPole, {steps} steps: return {returns:.1f}, {seconds:.0f} s, {found['updates/s']:.1f} updates/s")
    return found


def markdown(name: str, figures: dict[str, Any]) -> str:
    """Rows of docs/results/scale.md."""
    rows = ["| update of 16 x 64 | machine | ms | launches | MiB |", "|---|---|---|---|---|"]
    rows += [f"| {who} | GB200, published | {ms:g} | | |" for who, ms in ANCHORS]
    for label in (f"{size} {way}" for size in ("1m", "12m") for way in WAYS):
        row = figures.get("updates", {}).get(label)
        if row is None or "failed" in row:
            rows.append(f"| {label} | {name} | {'not run' if row is None else 'failed'} | | |")
        else:
            rows.append(f"| {label} | {name} | {row['ms']:.1f} | {row['launches']:,} | {row['MiB']:.0f} |")
    return "\n".join(rows)


def _size(name: str) -> dict[str, Any]:
    size = configured("train", TrainConfig, [f"size={name}"]).size
    return {key: getattr(size, key) for key in SIZE}


def main() -> None:
    """Run the parts, print the rows and write the JSON."""
    options = parse(__doc__, PARTS, device=Option("cuda", choices=["cuda", "cpu"]), steps=2000)
    figures: dict[str, Any] = {}
    if options.device == "cuda" and not torch.cuda.is_available():
        print("not run: PyTorch sees no CUDA device")
        name = "no CUDA device"
    else:
        device = torch.device(options.device)
        cuda = device.type == "cuda"
        name = torch.cuda.get_device_name(device) if cuda else "cpu, small"
        batch, length = (16, 64) if cuda else (2, 8)
        works: dict[str, Callable[[], Any]] = {
            "tests": lambda: tests(device),
            "updates": lambda: updates(device, batch, length),
            "acting": lambda: acting(device, batch, length),
            "run": lambda: run(device, options.steps),
        }
        figures = {part: works[part]() for part in options.parts}
    print(f"\n{markdown(name, figures)}")
    write(options, {"device": name, "torch": torch.__version__, **figures})


if __name__ == "__main__":
    main()
