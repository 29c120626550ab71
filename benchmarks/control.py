"""Returns on classic control with the default hyperparameters: only the task and its steps differ.

    python benchmarks/control.py [--tasks cartpole acrobot pendulum] [--seeds 5] [--workers 1] [--threads auto]
                                 [--json PATH]

Each run is `python -m worldmodel.train env=TASK seed=SEED logdir=RUNS/TASK-SEED`; finished ones are kept and stopped
ones continued. The table gives the greedy mean of 20 episodes by the last checkpoint (evaluation.json) for every seed,
and the minutes of training, evaluations included. Times count only when `--workers` is 1.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.harness import Option, parse, write

FLOOR = {"cartpole": 475.0, "acrobot": -100.0, "pendulum": -200.0}


def start(task: str, seed: int, runs: Path, words: list[str]) -> subprocess.Popen[bytes]:
    """The process of one run, in the folder `runs`/TASK-SEED."""
    runs.mkdir(parents=True, exist_ok=True)
    folder = runs / f"{task}-{seed}"
    command = [sys.executable, "-m", "worldmodel.train", f"env={task}", f"seed={seed}", f"logdir={folder}", *words]
    with open(runs / f"{task}-{seed}.log", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def outcome(task: str, seed: int, runs: Path) -> dict[str, Any]:
    """What the folder of a finished run says of it."""
    folder = runs / f"{task}-{seed}"
    evaluation = json.loads((folder / "evaluation.json").read_text())
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    seconds = max(row.get("time/seconds", 0.0) for row in rows)
    result = {"task": task, "seed": seed, "minutes": seconds / 60, **evaluation}
    print(f"{task} seed {seed}: {result['mean']:.1f} +- {result['std']:.1f} at {result['step']}", flush=True)
    return result


def run(task: str, seed: int, runs: Path, words: list[str]) -> dict[str, Any]:
    """One run to its end, and what its folder says of it."""
    with start(task, seed, runs, words) as process:
        if process.wait():
            raise SystemExit(f"{runs / f'{task}-{seed}'}.log: the run left with {process.returncode}")
    return outcome(task, seed, runs)


def main() -> None:
    """Run all and print the table."""
    given = parse(
        __doc__,
        overrides=True,
        tasks=Option(list(FLOOR), choices=FLOOR),
        seeds=5,
        workers=1,
        threads="auto",
        runs=Path("runs/control"),
    )
    jobs = [(task, seed) for task in given.tasks for seed in range(given.seeds)]
    words = [*given.overrides, f"threads={given.threads}"]
    with ThreadPoolExecutor(given.workers) as pool:
        results = list(pool.map(lambda job: run(job[0], job[1], given.runs, words), jobs))
    print(f"\n| task | steps | return per seed | lowest | mean | minutes | floor {'':9} |")
    print("|---|---|---|---|---|---|---|")
    for task in given.tasks:
        rows = [result for result in results if result["task"] == task]
        means = [row["mean"] for row in rows]
        reached = sum(mean >= FLOOR[task] for mean in means)
        minutes = max(row["minutes"] for row in rows)
        print(
            f"| {task} | {rows[0]['step']} | {', '.join(f'{mean:.1f}' for mean in means)} | {min(means):.1f} "
            f"| {sum(means) / len(means):.1f} | <= {minutes:.1f} | {FLOOR[task]:.0f}: {reached} of {len(rows)} |"
        )
    write(given, results)


if __name__ == "__main__":
    main()
