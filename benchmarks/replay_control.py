"""What every selector does to training on CartPole: its returns, and its time beside uniform replay's.

    python benchmarks/replay_control.py [--replays uniform annealed ...] [--seeds 3] [--workers 1] [--threads auto]
                                        [--runs FOLDER] [--json PATH] [key=value ...]

Each run is `python -m worldmodel.train env=cartpole replay=NAME seed=SEED`, the selectors of a seed one after the
other; finished ones are kept and stopped ones continued. Given are the greedy mean of 20 episodes by the last
checkpoint, the minutes of training, their median ratio to those of uniform replay with the same seed, and, for
selectors that plan ahead, the share of batches for which no plan was ready. Times count only on an idle machine with
`--workers 1`.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, median
from typing import Any

from control import run

REPLAYS = ("uniform", "prioritized", "curious", "mixture", "annealed", "boltzmann", "markov", "recall")


def fallback(folder: Path, replay: str) -> float | None:
    """The share of a run's batches that came from the sum tree, where the selector says so."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rates = [row[key] for row in rows for key in row if key.endswith(f"{replay}/fallback_rate")]
    return rates[-1] if rates else None


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replays", nargs="+", default=list(REPLAYS), choices=REPLAYS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", default="auto")
    parser.add_argument("--runs", type=Path, default=Path("runs/replay_control"))
    parser.add_argument("--json", type=Path)
    options, words = parser.parse_known_args()
    words.append(f"threads={options.threads}")
    jobs = [(replay, seed) for seed in range(options.seeds) for replay in options.replays]

    def train(job: tuple[str, int]) -> dict[str, Any]:
        replay, seed = job
        runs = options.runs / replay
        result = run("cartpole", seed, runs, [f"replay={replay}", *words])
        return result | {"replay": replay, "fallback": fallback(runs / f"cartpole-{seed}", replay)}

    with ThreadPoolExecutor(options.workers) as pool:
        results = list(pool.map(train, jobs))
    uniform = {row["seed"]: row["minutes"] for row in results if row["replay"] == "uniform"}
    print("\n| replay | steps | return per seed | mean | minutes | x uniform | without a plan |")
    print("|---|---|---|---|---|---|---|")
    for replay in options.replays:
        rows = [row for row in results if row["replay"] == replay]
        returns, minutes = [row["mean"] for row in rows], [row["minutes"] for row in rows]
        ratio = f"{median(row['minutes'] / uniform[row['seed']] for row in rows):.2f}" if uniform else ""
        missed = [row["fallback"] for row in rows if row["fallback"] is not None]
        print(
            f"| {replay} | {rows[0]['step']} | {', '.join(f'{value:.1f}' for value in returns)} | {mean(returns):.1f} "
            f"| {min(minutes):.1f}..{max(minutes):.1f} | {ratio} | {f'{mean(missed):.0%}' if missed else ''} |"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
