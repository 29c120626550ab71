"""How often reports are wrong: comparisons of identical arms, and of arms that are better by a known amount.

    OMP_NUM_THREADS=1 python benchmarks/statistics_studies.py [--comparisons 200] [--seeds 10] [--pool 400]
                                                              [--resamples 1999] [--seed 0] [--json PATH]

Runs are cheap but real: Q-learning on FrozenLake-v1 (slippery, 4 x 4), each with a seed of its own; the score is the
share of greedy episodes that reach the goal. A pool of them is recorded once; every comparison draws its runs from it
without replacement, so both arms are the same learner. A/A: how often a verdict differs from `no difference seen`.
Injected: an amount is added to every score of one arm, and the share of comparisons that say `helps` stands beside the
power that the report states for that amount, from the runs of the comparison alone. Both go through
`worldmodel.comparison.analysis`, as every report does.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from worldmodel.comparison.analysis import stated_power, tested

STEPS, EPISODES = 3000, 50  # of learning, and of the evaluation
EFFECTS = (0.75, 1.1, 1.5)  # in standard deviations of the pool


def learned(seed: int) -> float:
    """The share of greedy episodes that reach the goal after learning."""
    env = gym.make("FrozenLake-v1", max_episode_steps=100)
    env.action_space.seed(seed)
    rng = np.random.default_rng(seed)
    values = np.full((16, 4), 0.5)
    state, _ = env.reset(seed=seed)
    for step in range(STEPS):
        action = int(rng.integers(4)) if rng.random() < 1 - step / STEPS else int(values[state].argmax())
        after, reward, terminated, truncated, _ = env.step(action)
        target = float(reward) + (0.0 if terminated else 0.97 * values[after].max())
        values[state, action] += 0.1 * (target - values[state, action])
        state = env.reset()[0] if terminated or truncated else after
    reached = 0.0
    for _ in range(EPISODES):
        state, done = env.reset()[0], False
        while not done:
            state, reward, terminated, truncated, _ = env.step(int(values[state].argmax()))
            done, reached = terminated or truncated, reached + float(reward)
    return reached / EPISODES


def compared(pool: np.ndarray, effect: float, options: argparse.Namespace) -> list[tuple[str, float]]:
    """Of each comparison the verdict, and the power that it states for the effect."""
    found: list[tuple[str, float]] = []
    for number in range(options.comparisons):
        rng = np.random.default_rng([options.seed, number, round(1e6 * effect)])
        runs = rng.permutation(pool)[: 2 * options.seeds]
        arms = {"arm": {"lake": runs[: options.seeds] + effect}, "reference": {"lake": runs[options.seeds :]}}
        (test,) = tested([("arm", "reference")], arms, options.resamples, seed=number, least=1)
        power = stated_power(test, arms, effect, seed=number).power if effect else float("nan")
        found.append((test.verdict, power))
    return found


def main() -> None:
    """Run both studies and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("comparisons", 200), ("seeds", 10), ("pool", 400), ("resamples", 1999), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    begun = time.monotonic()
    pool = np.array([learned(seed) for seed in range(options.pool)])
    spread = float(pool.std())
    print(f"{options.pool} runs: mean {pool.mean():.3f}, standard deviation {spread:.3f}", flush=True)
    results: dict[str, Any] = {"pool": pool.tolist(), "options": {**vars(options), "json": None}}

    verdicts = [verdict for verdict, _ in compared(pool, 0.0, options)]
    wrong = float(np.mean([verdict != "no difference seen" for verdict in verdicts]))
    error = np.sqrt(wrong * (1 - wrong) / len(verdicts))
    print(f"\nA/A, {len(verdicts)} comparisons: false positives {wrong:.1%} (standard error {error:.1%})", flush=True)
    results["false_positives"] = wrong

    print("\n| true difference | in standard deviations | found | power stated (mean) | difference |")
    print("|---|---|---|---|---|")
    results["injected"] = []
    for times in EFFECTS:
        effect = times * spread
        outcomes = compared(pool, effect, options)
        found = float(np.mean([verdict == "helps" for verdict, _ in outcomes]))
        stated = float(np.mean([power for _, power in outcomes]))
        print(
            f"| {effect:.3f} | {times} | {found:.1%} | {stated:.1%} | {100 * (found - stated):+.1f} points |",
            flush=True,
        )
        scatter = float(np.std([power for _, power in outcomes]))
        results["injected"].append({"effect": effect, "found": found, "stated": stated, "scatter": scatter})
    print(f"\n{(time.monotonic() - begun) / 60:.1f} minutes")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
