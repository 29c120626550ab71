"""Time of one update, size 1m, B16 x T64, H15, vector observations, beside r2dreamer's eager update.

    OMP_NUM_THREADS=2 python benchmarks/update_speed.py --peer R2DREAMER_CHECKOUT [--json PATH]

The peer (github.com/NM512/r2dreamer, needs tensordict) runs in float32 with its decoder, without torch.compile, on the
same sizes and the same random batch. Both are timed in turn, so that a slow phase of the machine meets both; the
medians and the ratio of the medians are printed; beside them how long our matrix products would take by themselves,
at the rate of one large product.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import Option, parse, write
from worldmodel.envs import ActionSpec, ObservationSpec
from worldmodel.kernels import for_agent
from worldmodel.kernels.supported import WIDEST
from worldmodel.launch import hardware
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Windows
from worldmodel.model.config import BehaviorConfig, LossConfig
from worldmodel.model.size import ModelSize
from worldmodel.train.laprop import LaProp
from worldmodel.train.update import Update

SIZE: dict[str, Any] = {"deter": 512, "hidden": 64, "classes": 4, "units": 64, "depth": 4}
OBSERVATION, ACTIONS = 24, 6


def ours(batch: int, length: int, device: torch.device, precision: torch.dtype, compile: bool) -> Callable[[], Any]:
    """Our whole update: losses, gradients, optimiser, slow critic."""
    update, windows = made(batch, length, device, precision, compile)
    return lambda: float(update(windows).total)


def made(
    batch: int,
    length: int,
    device: torch.device,
    precision: torch.dtype,
    compile: bool,
    size: Mapping[str, Any] = SIZE,
) -> tuple[Update, Windows]:
    """An update, and a random batch for it."""
    agent = Agent(
        {"observation": ObservationSpec("vector", (OBSERVATION,))},
        ActionSpec("continuous", (1,) * ACTIONS),
        ModelSize(**size),
        LossConfig(reconstruction=1, vectors=1, reward=1, continuation=1, dynamics=1, representation=0.1, free_nats=1),
        BehaviorConfig(
            horizon=15,
            discount_horizon=333,
            return_lambda=0.95,
            entropy=3e-4,
            final_entropy=3e-4,
            center_advantages=False,
            replay_value=0.3,
            slow_rate=0.02,
            slow_regularizer=1,
            return_rate=0.01,
        ),
    ).to(device)
    agent = for_agent(agent)
    steps = (length, batch)
    no = torch.zeros(steps, dtype=torch.bool, device=device)
    windows = Windows(
        {"observation": torch.randn(*steps, OBSERVATION, device=device)},
        torch.rand(*steps, ACTIONS, device=device) * 2 - 1,
        torch.randn(steps, device=device),
        no,
        no,
        no,
        agent.initial(batch),
        torch.ones(batch, device=device),
    )
    optimizer = LaProp([p for p in agent.parameters() if p.requires_grad], lr=4e-5)
    return Update(agent, optimizer, precision, torch.Generator(device), compile), windows


def peer(path: Path, batch: int, length: int, device: torch.device) -> Callable[[], Any]:
    """r2dreamer's update without its replay: gradients, clipping, optimiser, target."""
    sys.path.insert(0, str(path))
    from dreamer import Dreamer  # type: ignore[import-not-found]
    from gymnasium import spaces
    from omegaconf import OmegaConf
    from tensordict import TensorDict  # type: ignore[import-not-found]

    keys = {"encoder": {"mlp_keys": ".*", "cnn_keys": "$^"}, "decoder": {"mlp_keys": ".*", "cnn_keys": "$^"}}
    model = OmegaConf.merge(
        OmegaConf.load(path / "configs/model/_base_.yaml"), SIZE, {"discrete": SIZE["classes"], "act": "SiLU"}
    )
    model.merge_with({"norm": True, "compile": False, "rep_loss": "dreamer"})
    config = OmegaConf.create({"device": str(device), "env": keys, "model": model})
    observations = spaces.Dict({"observation": spaces.Box(-np.inf, np.inf, (OBSERVATION,))})
    agent = Dreamer(config.model, observations, spaces.Box(-1, 1, (ACTIONS,))).to(device)
    steps = (batch, length)
    data = TensorDict(
        {
            "observation": torch.randn(*steps, OBSERVATION),
            "action": torch.rand(*steps, ACTIONS) * 2 - 1,
            "reward": torch.randn(*steps, 1),
            **{key: torch.zeros(*steps, 1, dtype=torch.bool) for key in ("is_first", "is_last", "is_terminal")},
        },
        batch_size=steps,
        device=device,
    )
    start = agent.get_initial_state(batch)

    def update() -> None:
        agent._update_slow_target()
        agent._cal_grad(data, (start["stoch"], start["deter"]))
        agent._agc(agent._named_params.values())
        agent._optimizer.step()
        agent._scheduler.step()
        agent._optimizer.zero_grad(set_to_none=True)

    return update


def limit(batch: int, length: int, device: torch.device) -> str:
    """What the matrix products of an update would take at the rate of one of 2,048 x 2,048, in float32."""
    update = ours(batch, length, device, torch.bfloat16, compile=False)  # by operators alone, which are counted
    with FlopCounterMode(display=False) as counter:
        update()
    size, seconds = 2048, []
    matrix = torch.randn(size, size, device=device)
    for _ in range(10):
        begin = time.perf_counter()
        (matrix @ matrix).sum().item()
        seconds.append(time.perf_counter() - begin)
    flops, rate = counter.get_total_flops(), 2 * size**3 / min(seconds)
    return f"{flops / 1e9:.1f} GFLOP of products, {1e3 * flops / rate:.0f} ms at {rate / 1e9:.0f} GFLOP/s"


def serve(name: str, options: argparse.Namespace, pipe: Connection) -> None:
    """The process of one contestant: the milliseconds of one update for every request."""
    device = hardware.choose_device(options.device)
    threads = hardware.set_threads("auto")
    if name == "ours":
        hardware.keep_freed_memory()
        precision = hardware.choose_precision(options.precision, device, small=SIZE["deter"] <= WIDEST)
        update = ours(options.batch, options.length, device, precision, options.compile)
        print(f"ours: {device}, {precision}, {threads} threads, B{options.batch} x T{options.length}, H15")
        if not options.compile:
            print(f"ours: {limit(options.batch, options.length, device)}")
    else:
        update = peer(options.peer, options.batch, options.length, device)
    while pipe.recv():
        begin = time.perf_counter()
        update()
        if device.type == "cuda":
            torch.cuda.synchronize()
        pipe.send(1e3 * (time.perf_counter() - begin))


def main() -> None:
    """Time both in turn and print the table."""
    options = parse(
        __doc__,
        peer=Option(help="a checkout of r2dreamer", kind=Path),
        batch=16,
        length=64,
        repeats=10,
        device="auto",
        precision=Option("auto", choices=["auto", "float32", "bfloat16"]),
        compile=(False, "capture our update as a CUDA graph"),
    )
    context, pipes = multiprocessing.get_context("spawn"), {}
    for name in ["ours", "r2dreamer eager"] if options.peer else ["ours"]:
        pipes[name], theirs = context.Pipe()
        context.Process(target=serve, args=(name, options, theirs), daemon=True).start()
    times: dict[str, list[float]] = {name: [] for name in pipes}
    for repeat in range(options.repeats + 2):
        for name, pipe in pipes.items():
            pipe.send(True)
            milliseconds = pipe.recv()
            if repeat >= 2:
                times[name].append(milliseconds)
    for pipe in pipes.values():
        pipe.send(False)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:16} {median:8.1f} ms (fastest {min(times[name]):.1f}), ratio {median / medians['ours']:.2f}")
    write(options, medians)


if __name__ == "__main__":
    main()
