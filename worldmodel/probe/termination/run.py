"""`python -m worldmodel.probe termination`: a row for each kernel, of how well it tells that an episode ends soon."""

import json
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_opt.errors import ProblemError
from hybrid_opt.paths import user_path
from worldmodel.compare.statistics import mean_interval
from worldmodel.envs import Environments
from worldmodel.evaluate.policy import load
from worldmodel.launch import hardware
from worldmodel.probe.termination.classifier import KERNELS, Found, classified, split
from worldmodel.probe.termination.config import ProbeTerminationConfig
from worldmodel.probe.termination.episodes import labelled
from worldmodel.runs.atomic_file import atomic_file
from worldmodel.train.config import TrainConfig, run_config
from worldmodel.train.episodes import STREAMS

FILE = "termination.json"
POOL = 3  # states that are played for each that a split draws


def run(config: ProbeTerminationConfig) -> int:
    """Play, classify, print and write; returns the exit code. Nothing of the run but termination.json is written."""
    hardware.set_threads(1)
    path = user_path(config.logdir, "logdir").absolute()
    trained = run_config(path)
    x, y = _played(config, trained, path)
    if not y.any():
        raise ProblemError(f"logdir={path}: no episode of {trained.env.id} ended by itself; others are accepted")
    print(f"{trained.env.id}: {len(x)} states, {y.mean():.1%} of them end within {config.within} steps")
    sizes = config.train, config.validate, config.test
    found: dict[str, list[Found]] = {name: [] for name in KERNELS}
    for number in range(config.splits):
        data = split(x, y, sizes, np.random.default_rng((config.seed, number)))
        for name in KERNELS:
            found[name].append(classified(name, data))
        print(f"split {number + 1} of {config.splits}: classified", flush=True)
    rows = [_row(name, each) for name, each in found.items()]
    print(f"\n{_table(rows)}\n")
    content = {"env": trained.env.id, "positive": float(y.mean()), "rows": rows, "config": asdict(config)}
    with atomic_file(path / FILE) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")
    print(f"{path / FILE}: holds this result")
    return 0


def _played(config: ProbeTerminationConfig, trained: TrainConfig, path: Path) -> tuple[Any, Any]:
    make = partial(Environments, trained.env, STREAMS, config.seed, evaluation=True, repeatable=trained.deterministic)
    with ExitStack() as stack:
        player = None
        if config.policy == "agent":
            agent = load(path, config.checkpoint, config.device)
            stack.callback(agent.close)
            player = agent.player.copy(config.seed)
        environments = make()
        stack.callback(environments.close)
        images = [key for key, spec in environments.observation_specs.items() if spec.kind == "image"]
        if images:
            raise ProblemError(f"logdir={path}: {images[0]!r} is an image; a run that sees vectors is accepted")
        count = POOL * (config.train + config.validate + config.test)
        return labelled(environments, player, count, config.within, config.seed)


def _row(name: str, found: list[Found]) -> dict[str, Any]:
    """The mean area with Student's interval over splits, which share states; what was chosen; and concentration."""
    area = mean_interval({"": [each.area for each in found]})
    measured = {
        key: float(np.mean([getattr(each.concentration, key) for each in found])) for key in ("mean", "std", "rank")
    }
    shots = float(np.median([each.concentration.shots for each in found]))
    return {
        "kernel": name,
        "area": area.value,
        "low": None if np.isnan(area.low) else area.low,
        "high": None if np.isnan(area.high) else area.high,
        "areas": [each.area for each in found],
        "bandwidths": sorted({each.bandwidth for each in found}),
        "costs": sorted({each.cost for each in found}),
        **measured,
        "shots": shots if np.isfinite(shots) else None,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'kernel':12}{'area [95 %]':28}{'bandwidths':18}{'mean':>8}{'std':>8}{'rank':>8}{'shots':>10}"]
    for row in rows:
        interval = "" if row["low"] is None else f" [{row['low']:.4f}, {row['high']:.4f}]"
        chosen = "/".join(f"{value:g}" for value in row["bandwidths"])
        shots = "never" if row["shots"] is None else f"{row['shots']:.3g}"
        figures = f"{row['mean']:>8.3f}{row['std']:>8.3f}{row['rank']:>8.1f}{shots:>10}"
        lines.append(f"{row['kernel']:12}{row['area']:.4f}{interval:22}{chosen:18}{figures}")
    return "\n".join(lines)
