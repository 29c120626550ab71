"""`python benchmarks/tuning.py curves` and `schedule`: pictures of how policies learn, and of what they do.

curves: PPO, SAC and the world model on CircuitTuning-v0 for the same environment steps, several training seeds each. A
run that is finished is kept, one that was stopped is continued. The table is of the policy files, all of them on the
same new problems of the training's distribution. schedule: gammas and betas of each layer, over problems.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from worldmodel.envs.circuits.qaoa_angles import TuningConfig

from hybrid_opt import Qubo
from hybrid_opt.circuits.schedules.learned import Learned, TuningPolicy
from hybrid_opt.circuits.schedules.schedule import SCHEDULES
from hybrid_opt.circuits.schedules.table import Angles
from hybrid_opt.simulator.mixers import moments
from hybrid_opt.simulator.qaoa import QaoaSimulator
from worldmodel.compare.figures import INK, SETTINGS, Palette, curves_figure, png
from worldmodel.runs.evaluation import read_evaluation
from worldmodel.tune.episodes import play
from worldmodel.tune.run import POLICY

AGENTS = ("ppo", "sac", "worldmodel")
POINTS = 20  # of a learning curve
PROBLEMS = 500  # of the table
SEED = 90_001  # of these; not that of the runs' own evaluations
SMALL = 60_000  # bytes of a picture


def run(agent: str, seed: int, steps: int, folder: Path, more: Sequence[str] = ()) -> float:
    """Train in a process of its own, unless that is done; the seconds that it took now. Raises RuntimeError."""
    done = read_evaluation(folder)
    if done and done["finished"] >= steps and (folder / POLICY).exists():
        return 0.0
    words = [f"agent={agent}", f"seed={seed}", f"steps={steps}", f"logdir={folder}", "device=cpu"]
    words += [f"eval.every={max(1, steps // POINTS)}", "agent.landscape=0", *more]
    begun = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "worldmodel.tune", *words], check=False).returncode
    if code:
        raise RuntimeError(f"worldmodel.tune {' '.join(words)}: exit code {code}")
    return time.monotonic() - begun


def learning_curve(folder: Path) -> dict[int, float]:
    """Returns of the greedy evaluations of a run, by step."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["eval/return"] for row in rows if "eval/return" in row}


def curves(steps: int, seeds: int, runs: Path, picture: Path, more: Sequence[str] = ()) -> dict[str, Any]:
    """Train what is missing, draw the curves, and print and return the table of the policies."""
    figures: dict[str, Any] = {"steps": steps, "seeds": seeds}
    drawn: dict[str, tuple[list[int], list[list[float]]]] = {}
    for agent in AGENTS:
        folders = [runs / f"{agent}-{steps}-{seed}" for seed in range(seeds)]
        seconds = [run(agent, seed, steps, folder, more) for seed, folder in enumerate(folders)]
        found = [learning_curve(folder) for folder in folders]
        common = sorted(set.intersection(*(set(curve) for curve in found)))
        drawn[agent] = common, [[curve[step] for step in common] for curve in found]
        figures[agent] = {"seconds": seconds, **_played(folders)}
    _write(picture, curves_figure(drawn, [list(drawn)], 0.0, "environment steps"))
    print(f"after {steps} steps, {seeds} seeds, {PROBLEMS} problems: means of the seeds, and all of them")
    for agent in AGENTS:
        returns, ratios = figures[agent]["return"], figures[agent]["ratio"]
        each = ", ".join(f"{100 * ratio:.2f}" for ratio in ratios)
        print(f"  {agent:<12} return {np.mean(returns):6.3f}  ratio {100 * np.mean(ratios):6.2f} ({each})")
    return figures


def _played(folders: Sequence[Path]) -> dict[str, list[float]]:
    """Mean returns and median ratios of the policies of these runs."""
    returns, ratios = [], []
    for folder in folders:
        policy = TuningPolicy.load(folder / POLICY)
        played, reached = play(policy, TuningConfig(**policy.about["env"]), PROBLEMS, SEED)
        returns.append(float(np.mean([episode.ret for episode in played])))
        ratios.append(float(np.median(reached)))
    return {"return": returns, "ratio": ratios}


def schedules(problems: Sequence[tuple[Qubo, QaoaSimulator]], policy: Learned, layers: int, budget: int) -> Any:
    """Gammas, in units of each problem's scale, and betas [problems, 2, layers] of every schedule."""
    found: dict[str, list[Angles]] = {}
    for qubo, simulator in problems:
        scale = moments(qubo).scale

        def evaluate(gammas: Any, betas: Any, simulator: QaoaSimulator = simulator) -> float:
            return float(simulator.value(gammas, betas)[0])

        angles = {name: SCHEDULES[name](qubo, layers) for name in ("ramp", "transferred")}
        angles["learned, first guess"] = policy(qubo, layers)
        angles[f"learned, {budget} evaluations"] = policy(qubo, layers, evaluate, budget)
        for name, (gammas, betas) in angles.items():
            found.setdefault(name, []).append((gammas / scale, betas))
    return {name: np.array(rows) for name, rows in found.items()}


def schedule(
    problems: Sequence[tuple[Qubo, QaoaSimulator]], policy: Learned, layers: int, budget: int, picture: Path
) -> dict[str, Any]:
    """Draw, print and return medians and quartiles over the problems."""
    import matplotlib
    from matplotlib.figure import Figure

    found = schedules(problems, policy, layers, budget)
    palette, steps = Palette(list(found)), np.arange(1, layers + 1)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(7.2, 3.0), layout="constrained")
        panels = figure.subplots(1, 2)
    figures: dict[str, Any] = {}
    for place, (name, rows) in enumerate(found.items()):
        quartiles = np.percentile(rows, [25, 50, 75], axis=0)  # [3, 2, layers]
        figures[name] = quartiles.tolist()
        for half, panel in enumerate(panels):
            low, middle, high = quartiles[:, half]
            bars = np.stack([middle - low, high - middle])
            at = steps + 0.06 * (place - (len(found) - 1) / 2)
            panel.errorbar(
                at, middle, bars, color=palette.colour(name), label=name, marker="o", markersize=3, capsize=2
            )
        print(f"  {name:<26} gammas {_row(quartiles[:, 0])}   betas {_row(quartiles[:, 1])}")
    for panel, label in zip(panels, ("gamma / scale of the problem", "beta"), strict=True):
        panel.set_xlabel("layer")
        panel.set_ylabel(label)
        panel.set_xticks(steps)
        panel.grid(alpha=0.25, linewidth=0.5)
    panels[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    _write(picture, figure)
    return figures


def _row(quartiles: np.ndarray) -> str:
    return " ".join(f"{middle:.3f} [{low:.3f}, {high:.3f}]" for low, middle, high in quartiles.T)


def _write(path: Path, figure: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = png(figure)
    if len(data) > SMALL:
        raise RuntimeError(f"{path}: {len(data)} bytes; a picture has at most {SMALL}")
    path.write_bytes(data)
    print(f"{path}: {len(data)} bytes")
