"""`python benchmarks/tuning.py adapt`: what a policy gains that goes on learning from the problems it meets.

A stream of problems of one set, prequential: each is first a test, for the policy as it was trained and as it is
adapted by then, and is learned from after that. Approximation ratios in percent of the first guess and after some
evaluations (exact), of the later half of the stream, over several streams; mean differences, with 95 % bootstrap
intervals.
"""

from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import middle, resampled
from hybrid_opt import Qubo
from hybrid_opt.circuits.schedules.adaptation import Adaptation
from hybrid_opt.circuits.schedules.learned import Learned
from hybrid_opt.simulator.qaoa import QaoaSimulator

DRAWS = 4000  # of the bootstrap


class Tested(NamedTuple):
    """Ratios of one problem: of the first guess, and after evaluations; without and with adaptation."""

    guess: list[float]
    found: list[float]


def stream(qubos: list[Qubo], policy: Learned, layers: int, evaluations: int) -> tuple[list[Tested], dict[str, float]]:
    """Test and learn on problems in their order; with the adaptation's own metrics in the end."""
    adaptation = Adaptation(policy.policy, layers)
    tested = []
    for qubo in qubos:
        simulator = QaoaSimulator(qubo, threads=1)

        def evaluate(gammas: Any, betas: Any, simulator: QaoaSimulator = simulator) -> float:
            return float(simulator.value(gammas, betas)[0])

        def ratio(angles: Any, simulator: QaoaSimulator = simulator) -> float:
            energies = simulator.energies[0]
            return float((energies.max() - simulator.value(*angles)[0]) / (np.ptp(energies) or 1.0))

        both = policy, adaptation.schedule()
        guess, found = (
            [ratio(schedule(qubo, layers, evaluate, budget)) for schedule in both] for budget in (0, evaluations)
        )
        tested.append(Tested(guess, found))
        adaptation.learn([qubo])
    return tested, adaptation.metrics()


def direction_problems(count: int, seed: int) -> list[Qubo]:
    """Update directions that optimizer=hybrid asks for while it trains an MLP on digits."""
    import torch

    from hybrid_opt.direction.optimizer import HybridOptimizer
    from hybrid_opt.solvers import make_solver
    from worldmodel.compare.tasks.losses import digits

    task, rng, qubos = digits(seed), np.random.default_rng(seed), []
    base = torch.optim.Adam(task.parameters.items(), lr=1e-3)
    optimizer = HybridOptimizer(base, solver=make_solver("exact"), every=2, slowest=1, moves=("skip", "base", "double"))
    optimizer.recorder = lambda qubo, solution: qubos.append(qubo)
    optimizer.attach(lambda parameters, batch, generator: task.loss(parameters, task.some(batch), generator))
    while len(qubos) < count:
        batch = task.batch(rng)
        optimizer.zero_grad()
        task.loss(task.parameters, batch, torch.Generator()).backward()
        optimizer.step(batch=batch)
    optimizer.close()
    return qubos[:count]


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean with its 95 % bootstrap interval."""
    low, high = middle(resampled(values, DRAWS).mean(1))
    return float(values.mean()), low, high


def adapt(
    streams: dict[str, list[list[Qubo]]], policy: Learned, layers: int, evaluations: int
) -> dict[str, dict[str, Any]]:
    """Print and return a table: one row for each set of problems, streams[set]."""
    figures: dict[str, dict[str, Any]] = {}
    print("later half of the stream, mean ratio in percent: as trained, adapted, difference [95 % interval]")
    for name, parts in streams.items():
        later: list[Tested] = []
        last: dict[str, float] = {}
        for qubos in parts:
            tested, last = stream(qubos, policy, layers, evaluations)
            later += tested[len(tested) // 2 :]
        figures[name] = {"problems": len(later), "circuits": last["adaptation_circuits"], "metrics": last}
        for what, pairs in (("no evaluation", [t.guess for t in later]), (f"{evaluations}", [t.found for t in later])):
            before, after = 100 * np.array(pairs).T
            figures[name][what] = {"before": before.mean(), "after": after.mean(), "gain": interval(after - before)}
            print(
                "  {:<14}{:<14}{:8.2f}{:8.2f}  {:+.2f} [{:+.2f}, {:+.2f}]".format(
                    name, what, before.mean(), after.mean(), *figures[name][what]["gain"]
                ),
                flush=True,
            )
    return figures
