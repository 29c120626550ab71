"""What every selector, and `optimizer=hybrid`, does to training on CartPole: returns, and time beside uniform replay's.

    python benchmarks/replay_control.py [--arms uniform annealed ...] [--seeds 3] [--workers 1] [--threads auto]
                                        [--turns SECONDS] [--runs FOLDER] [--json PATH] [key=value ...]

Each run is `python -m worldmodel.train env=cartpole replay=NAME seed=SEED`, or has the words of another of the arms
below; those of a seed come one after the other, finished ones are kept and stopped ones continued. Given are the greedy
mean of 20 episodes by the last checkpoint, the minutes of training, their median ratio to those of uniform replay with
the same seed, and, for selectors that may fall back, the share of batches (recall: of searches) left to the sum tree.

Times count only on an idle machine with `--turns`: the runs of a seed then all start, and one at a time goes on for so
many seconds while SIGSTOP holds the others, so that a machine that gets slower meanwhile is as slow for each. A run's
time is the sum of its turns from the first line of its metrics on. The vendor of annealed_flaky is a process of its own
that nothing holds, so the time of this arm is a lower bound.
"""

import json
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.control import outcome, run, start
from benchmarks.harness import Option, parse, write

REPLAYS = ("uniform", "prioritized", "curious", "mixture", "annealed", "boltzmann", "markov", "recall")
ARMS = {name: [f"replay={name}"] for name in REPLAYS} | {
    "hybrid": ["optimizer=hybrid", "solver=qaoa"],
    "boltzmann_mock": ["replay=boltzmann", "backend=dwave:mock"],
    "annealed_flaky": ["replay=annealed", "backend='tests.hybrid_opt.flaky:Flaky?inner=dwave:mock&refuse=0.5'"],
}


def fallback(folder: Path) -> float | None:
    """The share of a run's batches that came from the sum tree, where the selector says so."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rates = [row[key] for row in rows for key in row if key.endswith("/fallback_rate")]
    return rates[-1] if rates else None


def take_turns(arms: list[str], seed: int, runs: Path, words: list[str], turn: float) -> list[dict[str, Any]]:
    """The runs of one seed, one of them at a time, with the seconds each had after its first line of metrics."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    seconds = dict.fromkeys(arms, 0.0)
    try:
        while any(process.poll() is None for process in processes.values()) or len(processes) < len(arms):
            for arm in arms:
                if arm not in processes:
                    processes[arm] = start("cartpole", seed, runs / arm, [*ARMS[arm], *words])
                process, metrics = processes[arm], runs / arm / f"cartpole-{seed}" / "metrics.jsonl"
                process.send_signal(signal.SIGCONT)
                since, begun = time.perf_counter(), metrics.exists()
                until = since + turn
                while process.poll() is None and time.perf_counter() < until:
                    time.sleep(0.01)
                    if not begun and metrics.exists():
                        since, begun = time.perf_counter(), True
                process.send_signal(signal.SIGSTOP)
                seconds[arm] += time.perf_counter() - since if begun else 0.0
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGCONT)  # what stops this command is for its runs too
    failed = [arm for arm, process in processes.items() if process.wait()]
    if failed:
        raise SystemExit(f"{runs}: the runs of {', '.join(failed)} with seed {seed} failed; see their logs")
    return [outcome("cartpole", seed, runs / arm) | {"minutes": seconds[arm] / 60} for arm in arms]


def main() -> None:
    """Run all and print the table."""
    given = parse(
        __doc__,
        overrides=True,
        arms=Option(list(REPLAYS), choices=ARMS),
        seeds=3,
        workers=1,
        threads="auto",
        turns=Option(help="seconds of a turn; by default there are none", kind=float),
        runs=Path("runs/replay_control"),
    )
    words = [*given.overrides, f"threads={given.threads}"]
    jobs = [(arm, seed) for seed in range(given.seeds) for arm in given.arms]
    if given.turns:
        batches = [take_turns(given.arms, seed, given.runs, words, given.turns) for seed in range(given.seeds)]
        results = [row for batch in batches for row in batch]
    else:
        with ThreadPoolExecutor(given.workers) as pool:
            results = list(
                pool.map(lambda job: run("cartpole", job[1], given.runs / job[0], [*ARMS[job[0]], *words]), jobs)
            )
    for row, (arm, seed) in zip(results, jobs, strict=True):
        row |= {"arm": arm, "fallback": fallback(given.runs / arm / f"cartpole-{seed}")}
    uniform = {row["seed"]: row["minutes"] for row in results if row["arm"] == "uniform"}
    print("\n| arm | steps | return per seed | mean | minutes | x uniform | left to the tree |")
    print("|---|---|---|---|---|---|---|")
    for arm in given.arms:
        rows = [row for row in results if row["arm"] == arm]
        returns, minutes = [row["mean"] for row in rows], [row["minutes"] for row in rows]
        ratio = f"{median(row['minutes'] / uniform[row['seed']] for row in rows):.2f}" if uniform else ""
        missed = [row["fallback"] for row in rows if row["fallback"] is not None]
        print(
            f"| {arm} | {rows[0]['step']} | {', '.join(f'{value:.1f}' for value in returns)} | {mean(returns):.1f} "
            f"| {min(minutes):.1f}..{max(minutes):.1f} | {ratio} | {f'{mean(missed):.0%}' if missed else ''} |"
        )
    write(given, results)


if __name__ == "__main__":
    main()
