"""What variational solvers share: from the samples of a circuit to the solution."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.problem.quadratic import Bits, Floats
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers.local_search import descend
from hybrid_opt.solvers.solver import Origin, Solution
from hybrid_opt.solvers.trace import running_best


def finish(
    qubo: Qubo,
    samples: Bits,
    seen: Sequence[Bits],
    cost: SolverCost,
    *,
    descent: np.random.Generator | None,
    angles: Floats,
    origin: Origin,
    about: Mapping[str, Any],
) -> Solution:
    """The best of the final samples [S, n] and of those seen in training; `samples` of the solution are the final ones.

    descent: where it is given, the final samples are repaired and descended from, and that is counted.
    """
    about = dict(about)
    spent: Floats = np.ones(len(samples))
    if descent is not None:
        samples, changed = qubo.repair(samples)
        samples, evaluations = descend(qubo, samples, descent)
        cost, spent = cost + SolverCost(sampling=Cost(evaluations=int(evaluations.sum()))), spent + evaluations
        about["repaired"] = int((changed > 0).sum())
    first = sum(map(len, seen))
    whole = Solution.of(qubo, np.concatenate([*seen, samples]), cost, origin=origin, about=about)
    before = cost.training.evaluations - first  # those of exact training, or of a start that was searched
    energies = np.where(whole.feasible, whole.energies, np.inf)
    return replace(
        whole,
        samples=whole.samples[first:],
        energies=whole.energies[first:],
        feasible=whole.feasible[first:],
        angles=angles,
        trace=running_best(before + np.concatenate([np.ones(first), spent]).cumsum(), energies),
    )
