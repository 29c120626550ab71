"""How often reports are wrong: comparisons of identical arms, and of arms that are better by a known amount.

    OMP_NUM_THREADS=1 python benchmarks/statistics_studies.py [--comparisons 200] [--seeds 10] [--pool 400]
                                                              [--resamples 1999] [--seed 0] [--json PATH]

Runs are cheap but real: Q-learning on FrozenLake-v1 (slippery, 4 x 4), each with a seed of its own; the score is the
share of greedy episodes that reach the goal. A pool of them is recorded once; every comparison draws its runs from it
without replacement, so all arms are the same learner. A/A: how often any verdict differs from `no difference seen`.
Injected: an amount is added to every score of one arm, and the share of comparisons that say `helps` stands beside the
power that the report states for that amount, from the runs of the comparison alone. Both go through
`worldmodel.compare.analysis`, as every report does; for one test, for one of a family of twelve with Holm's
correction, and for three environments, in one of which nearly all runs fail and in one nearly all succeed.
"""

import argparse
import time
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.harness import parse, write
from worldmodel.compare.analysis import stated_power, tested

STEPS, EPISODES = 3000, 50  # of learning, and of the evaluation
EFFECTS = (0.75, 1.1, 1.5)  # in standard deviations of the pool
# the tests of a family, and of each task the mean and how far runs are from it, as a multiple of that in the pool
DESIGNS: dict[str, tuple[int, dict[str, tuple[float, float]]]] = {
    "one test": (1, {"lake": (0.5, 1.0)}),
    "one of 12 tests": (12, {"lake": (0.5, 1.0)}),
    "three environments": (1, {"hard": (0.0, 0.1), "lake": (0.5, 1.0), "easy": (1.0, 0.1)}),
}


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


def compared(
    pool: np.ndarray, design: str, effect: float, options: argparse.Namespace
) -> list[tuple[bool, bool, float]]:
    """Of each comparison whether a difference was claimed, whether it said `helps`, and the power that it states."""
    tests, tasks = DESIGNS[design]
    found = []
    for number in range(options.comparisons):
        rng = np.random.default_rng([options.seed, number, round(1e6 * effect), tests, len(tasks)])
        names = ["arm", "reference", *(f"same {k}" for k in range(1, tests))]
        arms: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
        for task, (middle, width) in tasks.items():
            runs = rng.permutation(pool)[: len(names) * options.seeds].reshape(len(names), -1)
            for name, mine in zip(names, middle + width * (runs - pool.mean()), strict=True):
                arms[name][task] = mine + effect * (name == "arm")
        pairs = [(name, "reference") for name in names if name != "reference"]
        results = tested(pairs, arms, options.resamples, seed=number, least=1)
        power = stated_power(results[0], arms, effect, seed=number).power if effect else float("nan")
        claimed = any(test.verdict != "no difference seen" for test in results)
        found.append((claimed, results[0].verdict == "helps", power))
    return found


def main() -> None:
    """Run the studies of every design and print their tables."""
    options = parse(__doc__, comparisons=200, seeds=10, pool=400, resamples=1999, seed=0)
    begun = time.monotonic()
    pool = np.array([learned(seed) for seed in range(options.pool)])
    spread = float(pool.std())
    print(f"{options.pool} runs: mean {pool.mean():.3f}, standard deviation {spread:.3f}", flush=True)
    results: dict[str, Any] = {"pool": pool.tolist()}

    print(f"\nIdentical arms, {options.comparisons} comparisons each\n")
    print("| design | any difference claimed | standard error |")
    print("|---|---|---|")
    for design in DESIGNS:
        wrong = float(np.mean([claimed for claimed, _, _ in compared(pool, design, 0.0, options)]))
        error = np.sqrt(wrong * (1 - wrong) / options.comparisons)
        print(f"| {design} | {wrong:.1%} | {error:.1%} |", flush=True)
        results[design] = {"false_positives": wrong, "injected": []}

    print(
        "\n| design | true difference | in standard deviations | found | power stated (mean, deviation) | difference |"
    )
    print("|---|---|---|---|---|---|")
    for design in DESIGNS:
        for times in EFFECTS:
            effect = times * spread
            outcomes = compared(pool, design, effect, options)
            found = float(np.mean([helps for _, helps, _ in outcomes]))
            powers = [power for _, _, power in outcomes]
            stated, scatter = float(np.mean(powers)), float(np.std(powers))
            print(
                f"| {design} | {effect:.3f} | {times} | {found:.1%} | {stated:.1%}, {scatter:.1%} "
                f"| {100 * (found - stated):+.1f} points |",
                flush=True,
            )
            results[design]["injected"].append({"effect": effect, "found": found, "stated": stated, "scatter": scatter})
    print(f"\n{(time.monotonic() - begun) / 60:.1f} minutes")
    write(options, results)


if __name__ == "__main__":
    main()
