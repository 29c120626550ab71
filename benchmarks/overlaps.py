"""Kernels of states beside their classical twins: does a CartPole state end within five steps?

    python benchmarks/overlaps.py [quality] [concentration] [--splits 8] [--json PATH]

quality: support vector machines on 300 training and 1,500 test states of a random policy. Bandwidth and C of *every*
kernel are those of the best area under the curve on 300 further states. concentration: what is off the diagonal of Gram
matrices of uniform inputs, by qubits.
"""

from typing import Any

import gymnasium
import numpy as np

from benchmarks.harness import Option, mean, parse, write
from hybrid_opt.overlaps import make_overlap
from hybrid_opt.overlaps.concentration import concentration
from worldmodel.probe.termination.classifier import KERNELS, Found, Split, classified

TRAIN, VALIDATED, TEST, WITHIN = 300, 300, 1500, 5


def states(count: int, seed: int) -> tuple[Any, Any]:
    """Standardised states of a random policy in CartPole-v1, and whether their episodes end within five steps."""
    env, rows, labels = gymnasium.make("CartPole-v1"), list[Any](), list[bool]()
    env.action_space.seed(seed)
    episode = 0
    while len(rows) < count:
        observation, _ = env.reset(seed=seed * 1000 + episode)
        seen, done = [observation], False
        while not done:
            observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
            done = terminated or truncated
            seen.append(observation)
        seen.pop()  # nothing is asked of the last
        rows += seen
        labels += [len(seen) - place <= WITHIN for place in range(len(seen))]
        episode += 1
    x, y = np.array(rows, np.float64), np.array(labels)
    order = np.random.default_rng(seed).permutation(len(x))[:count]
    return x[order], y[order]


def area(name: str, seed: int) -> Found:
    """The area under the curve on test states, with the bandwidth and C that validation chose."""
    x, y = states(TRAIN + VALIDATED + TEST, seed)
    x = (x - x[:TRAIN].mean(0)) / x[:TRAIN].std(0)
    ends = [TRAIN, TRAIN + VALIDATED]
    return classified(name, Split(tuple(np.split(x, ends)), tuple(np.split(y, ends))))  # type: ignore[arg-type]


def main() -> None:
    """Print both tables."""
    given = parse(__doc__, parts=["quality", "concentration"], splits=Option(8), qubits=[2, 4, 6, 8])
    figures: dict[str, Any] = {}
    if "quality" in given.parts:
        print("\n| kernel | area under the curve, mean [95 %] | bandwidths | C |\n|---|---|---|---|")
        for label in KERNELS:
            each = [area(label, split) for split in range(given.splits)]
            found = np.array([(one.area, one.bandwidth, one.cost) for one in each])
            told = mean(found[:, 0].tolist())
            low, high = told["interval"]
            chosen = ["/".join(f"{value:g}" for value in sorted(set(column))) for column in found[:, 1:].T]
            print(f"| {label} | {told['mean']:.4f} [{low:.4f}, {high:.4f}] | {chosen[0]} | {chosen[1]} |", flush=True)
            figures[label] = found.tolist()
    if "concentration" in given.parts:
        print("\n| kernel | qubits | mean | std | effective rank of 500 | shots for 10 % |\n|---|---|---|---|---|---|")
        for label in ("product", "iqp", "projected", "rbf"):
            name, options = KERNELS[label]
            for qubits in given.qubits:
                x = np.random.default_rng(0).uniform(-np.pi, np.pi, (500, qubits))
                measured = concentration(make_overlap(name, **options)(x))
                numbers = f"{measured.mean:.4f} | {measured.std:.4f} | {measured.rank:.0f} | {measured.shots:.3g}"
                print(f"| {label} | {qubits} | {numbers} |", flush=True)
                figures[f"{label} {qubits}"] = measured._asdict()
    write(given, figures)


if __name__ == "__main__":
    main()
