"""Any solver as a dimod sampler."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import dimod
import numpy as np

from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers.solver import Solver


class Sampler(dimod.Sampler):  # type: ignore[name-defined, misc]
    """A solver behind dimod's interface: labels are kept, and every raw sample is a row of its own.

    A spin is s = 1 - 2x of the solver's bits x. The sample set's `is_feasible` column tells which rows obey the
    constraints; its `info` has the solver's name, the cost and the origin.
    """

    def __init__(self, solver: Solver) -> None:
        self.solver = solver

    @property
    def parameters(self) -> dict[str, list[str]]:
        """What `sample` takes."""
        return {"seed": [], "one_hot": [], "cardinality": []}

    @property
    def properties(self) -> dict[str, Any]:
        """The solver's name and its options."""
        return {"solver": self.solver.name, "options": asdict(self.solver.config)}

    def sample(
        self,
        bqm: Any,
        *,
        seed: int = 0,
        one_hot: Iterable[Sequence[Hashable]] = (),
        cardinality: int | None = None,
        **unknown: Any,
    ) -> Any:
        """Solve a dimod BinaryQuadraticModel.

        one_hot: tuples of labels, exactly one variable of each is 1. cardinality: how many of all variables are 1.
        Raises ProblemError.
        """
        self.remove_unknown_kwargs(**unknown)
        sampleset: Any = dimod.SampleSet  # dimod is typed in part
        if not getattr(bqm, "num_variables", 1):
            return sampleset.from_samples_bqm([], bqm)
        free = Qubo.from_bqm(bqm)
        place = {label: i for i, label in enumerate(free.labels)}
        try:
            blocks = [[place[label] for label in block] for block in one_hot]
        except KeyError as error:
            raise ProblemError(f"one_hot: no variable is labelled {error}") from error
        except TypeError as error:
            raise ProblemError(f"one_hot={one_hot}: tuples of labels are accepted ({error})") from error
        qubo = Qubo(free.matrix, free.offset, one_hot=blocks, cardinality=cardinality, labels=free.labels)
        solution = self.solver.solve(qubo, seed)
        x = solution.samples.astype(np.int8)
        return sampleset.from_samples(
            (1 - 2 * x if bqm.vartype is dimod.SPIN else x, list(qubo.labels)),
            bqm.vartype,
            energy=solution.energies,
            is_feasible=solution.feasible,
            info={"solver": self.solver.name, "cost": asdict(solution.cost), "origin": solution.origin},
            aggregate_samples=False,
            sort_labels=False,
        )
