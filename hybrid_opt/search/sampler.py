"""QuboSampler: an Optuna sampler whose proposals are optima of Qubos."""

import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from math import inf, nan, prod
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers._base import _process_constraints_after_trial
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hybrid_opt.errors import ProblemError
from hybrid_opt.notices import notice
from hybrid_opt.problem.quadratic import Bits
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.search.axis import Axis
from hybrid_opt.search.history import RELATIVE, VALUED, History, all_trials, common_space, lies_within, position_of
from hybrid_opt.search.surrogate import Observations, make_surrogate
from hybrid_opt.search.surrogates.objective import Transform, robust
from hybrid_opt.solvers import Solution, Solver, make_solver

Floats = NDArray[np.float64]
DESIGN = "qubo:design"  # system attribute of the study: the seed that all workers' start points come from
ATTRIBUTE = "qubo"  # user attribute of the trials: cost and quality
STARTS, MOST_STARTS = 20, 50  # start points: as many as the options of a parameter, within these
SCANNED = 1 << 18  # states up to which solver=auto is exact
LISTED = 1 << 16  # states up to which the best that was not evaluated is looked for among all
QUALITY = 30  # proposals whose predictions are compared with what came out


class QuboSampler(BaseSampler):
    """Proposes the minimum of a surrogate's Qubo over one-hot levels of all parameters, found by any solver.

    surrogate: smooth, factorization or sparse, with surrogate_options; see `hybrid_opt.search.surrogate`. solver: a
    name, with solver_options, or one of `make_solver`; auto is exact up to 2^18 states and annealing beyond. backend,
    ledger, budget, fallback: of a solver given by name; see `make_solver`. n_startup_trials: trials at space-filling
    points; by default 20, or as many as the parameter with most options has, up to 50. transform: of the objective;
    see `robust`. levels: the most of an ordered parameter; a wider one gets a coarse grid, then levels around the best
    trials. seed: fixes the proposals of a study that runs one trial at a time. constraints_func: as of Optuna's
    samplers; `trial.set_constraint` works too.

    Parameters that only some trials have are part of the same model. One whose distribution changes with the trial, or
    that was never seen, takes a value from a Latin hypercube. Where a range changed between two sittings, the trials
    within the latest one are used. Pruned trials count by the quantile of their last report, running ones
    as average (constant liar), failed ones not at all; a point is proposed once, until the space is exhausted. The user
    attribute "qubo" of every proposed trial has the solver's cost and how well the surrogate predicted so far.

    Raises ProblemError for options that are not accepted, for a study of several objectives, and, by solvers that need
    all states, above 2^24 of them.
    """

    def __init__(
        self,
        surrogate: str = "smooth",
        solver: str | Solver = "auto",
        backend: Any = "statevector",
        n_startup_trials: int | None = None,
        seed: int | None = None,
        *,
        surrogate_options: Mapping[str, Any] | None = None,
        solver_options: Mapping[str, Any] | None = None,
        ledger: Any = None,
        budget: Any = None,
        fallback: Any = None,
        transform: Transform = "rank",
        levels: int = 10,
        constraints_func: Callable[[FrozenTrial], Sequence[float]] | None = None,
    ) -> None:
        if n_startup_trials is not None and not _is_whole(n_startup_trials, 1):
            raise ProblemError(f"n_startup_trials={n_startup_trials}: a positive integer is accepted")
        if not _is_whole(levels, 4):
            raise ProblemError(f"levels={levels}: an integer from 4 is accepted")
        for key, options in {"surrogate_options": surrogate_options, "solver_options": solver_options}.items():
            if options is not None and not isinstance(options, Mapping):
                raise ProblemError(f"{key}={options!r}: a mapping of options is accepted")
        if not isinstance(solver, str | Solver):
            raise ProblemError(f"solver={solver!r}: a name, or what make_solver gives, is accepted")
        if constraints_func is not None and not callable(constraints_func):
            raise ProblemError(f"constraints_func={constraints_func!r}: a function of a trial is accepted")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
            raise ProblemError(f"seed={seed!r}: None or an integer >= 0 is accepted")
        robust([0.0], transform)
        where = {"backend": backend, "ledger": ledger, "budget": budget, "fallback": fallback}
        moved = backend != "statevector" or any(each is not None for each in (ledger, budget, fallback))
        if (isinstance(solver, Solver) or solver == "auto") and (moved or solver_options):
            named = solver if isinstance(solver, str) else solver.name
            raise ProblemError(f"solver={named}: takes no backend and no options here; a solver by its name does")
        self._named = (solver, dict(solver_options or {}), where) if isinstance(solver, str) else None
        self._solver = solver if isinstance(solver, Solver) else None
        if self._named is not None and solver != "auto":
            self._solver = self._made()  # so that bad options are refused now
        self._surrogate_options = (surrogate, dict(surrogate_options or {}))
        self._surrogate = make_surrogate(*self._surrogate_options)
        self._startup = None if n_startup_trials is None else int(n_startup_trials)
        self._transform, self._levels = transform, int(levels)
        self._constraints = constraints_func
        self._seed = None if seed is None else int(seed)  # storages write it as JSON, which knows no NumPy numbers
        self._entropy = self._fresh() if self._seed is None else self._seed
        self._names: list[str] = []  # of the parameters that the surrogate has learned
        self._designs: dict[str, int] = {}
        self._told: tuple[str, ...] = ()  # ranges whose change was said
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Without the lock, and without a solver that can be made again."""
        state = {key: value for key, value in self.__dict__.items() if key != "_lock"}
        return state | ({"_solver": None} if self._named is not None else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def reseed_rng(self) -> None:
        """Let the proposals depend on the seed no more, so that copies in other processes differ."""
        self._entropy = self._fresh()

    def close(self) -> None:
        """Release what a solver given by name opened."""
        if self._solver is not None and self._named is not None:
            self._solver.close()
            self._solver = None

    def check(self, space: Mapping[str, BaseDistribution]) -> None:
        """Raise ProblemError where the solver cannot take a proposal of these parameters."""
        bits = [Axis(*each).bits(self._levels) for each in space.items()]
        ends, n = accumulate(bits, initial=0), sum(bits)
        one_hot = [tuple(range(begin, end)) for begin, end in pairwise(ends)]
        self._solver_of(prod(bits), 0).check(Qubo(np.zeros((n, n)), one_hot=one_hot))

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if len(study.directions) > 1:
            raise ProblemError(f"study: {len(study.directions)} objectives; QuboSampler takes studies of one")

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters so far, once the start points are evaluated or under way; until then none."""
        trials = all_trials(study)
        finished = [each for each in trials if each.state in VALUED and each.number != trial.number]
        space, changed = common_space(finished)
        if changed:
            finished = self._kept(finished, space, changed)
        most = max((Axis(*each).bits(self._levels) for each in space.items()), default=0)
        starts = self._startup or min(max(STARTS, most), MOST_STARTS)
        running = sum(each.state == TrialState.RUNNING and each.number != trial.number for each in trials)
        return space if len(finished) + running >= starts and len(finished) >= (starts + 1) // 2 else {}

    def _kept(
        self, finished: list[FrozenTrial], space: Mapping[str, BaseDistribution], changed: set[str]
    ) -> list[FrozenTrial]:
        """The trials within ranges that changed; how many are not is said, once for each change."""
        kept = [each for each in finished if lies_within(each, space)]
        change = tuple(f"{name} {space[name]}" for name in sorted(changed))
        if change != self._told:
            self._told = change
            names = ", ".join(sorted(changed))
            notice(
                f"the range of {names} changed: {len(finished) - len(kept)} of {len(finished)} earlier trials lie"
                " outside of it and are not used",
                stacklevel=2,
            )
        return kept

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value from a Latin hypercube whose rows are numbered as trials are, whatever the other parameters."""
        axis = Axis(param_name, param_distribution)
        strata = max(self._startup or STARTS, axis.bits(self._levels))
        block, row = divmod(trial.number, strata)
        rng = np.random.default_rng((self._design(study), block, zlib.crc32(param_name.encode())))
        order, inside = rng.permutation(strata), rng.random(strata)
        return axis.stratum(int(order[row]), strata, float(inside[row]))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next proposal."""
        axes = [Axis(name, distribution) for name, distribution in search_space.items()]
        if not axes:
            return {}
        with self._lock:
            point, about = self._propose(study, trial, axes)
        values = {axis.name: axis.value(at) for axis, at in zip(axes, point.tolist(), strict=True)}
        inner = {axis.name: float(axis.distribution.to_internal_repr(values[axis.name])) for axis in axes}
        study._storage.set_trial_system_attr(trial._trial_id, RELATIVE, inner)
        study._storage.set_trial_user_attr(trial._trial_id, ATTRIBUTE, about)
        return values

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        if self._constraints is not None:
            _process_constraints_after_trial(self._constraints, study, trial, state)

    def _propose(self, study: Study, trial: FrozenTrial, axes: list[Axis]) -> tuple[Floats, dict[str, Any]]:
        """A point [d], and what is said about it."""
        begin = time.perf_counter()
        rng = np.random.default_rng((self._entropy, trial.number))
        history = History.of(study, axes, trial.number)
        self._learn(history, axes, rng)
        levels = self._choices(history, axes, trial, rng)
        qubo = self._surrogate.qubo(levels, rng)
        learned = time.perf_counter()
        states = prod(len(level) for level in levels)
        solution = self._solver_of(states, len(history.taken)).solve(qubo, int(rng.integers(1 << 31)))
        solved = time.perf_counter()
        chosen, how = choose(qubo, solution, levels, history, rng)
        cost = solution.cost
        about = {
            "states": states,
            "chosen": how,
            "predicted": float(self._surrogate.predict(chosen[None])[0]),
            "quality": quality(history),
            "shots": int(cost.shots),
            "evaluations": int(cost.evaluations),
            "queries": int(cost.queries),
            "circuits": int(cost.circuits),
            "qpu_seconds": float(cost.qpu_seconds),
            "dollars": float(cost.dollars),
            "origin": solution.origin,
            "learning_seconds": round(learned - begin, 6),
            "solving_seconds": round(solved - learned, 6),
        }
        if cost.queries:
            about |= {"scan": states / 2, "first_hit": solution.about.get("first_hit")}
        return chosen, about

    def _learn(self, history: History, axes: list[Axis], rng: np.random.Generator) -> None:
        """Fit the surrogate; running trials count as average."""
        names = [f"{axis.name} {axis.distribution}" for axis in axes]
        if names != self._names:
            self._surrogate, self._names = make_surrogate(*self._surrogate_options), names
        values = np.concatenate([robust(history.losses, self._transform), np.zeros(len(history.running))])
        positions = np.concatenate([history.positions, history.running])
        self._surrogate.fit(Observations(positions, values, tuple(axis.ordered for axis in axes)), rng)

    def _choices(
        self, history: History, axes: list[Axis], trial: FrozenTrial, rng: np.random.Generator
    ) -> list[Floats]:
        """The levels of every axis, around one of the best trials; of an enqueued parameter, its value."""
        fixed = trial.system_attrs.get("fixed_params", {})
        ranked = history.losses.argsort(kind="stable")
        centre = history.positions[ranked[min(int(rng.geometric(0.5)), 3, len(ranked)) - 1]]
        given = [position_of(axis, fixed[axis.name]) if axis.name in fixed else None for axis in axes]
        return [
            axis.levels(self._levels, at, len(history.losses), rng) if own is None else np.array([own])
            for axis, at, own in zip(axes, centre.tolist(), given, strict=True)
        ]

    def _solver_of(self, states: int, taken: int) -> Solver:
        """The solver; an exact one gives so many samples that one of them was not evaluated."""
        if self._named is not None:
            name, options, _ = self._named
            if (name == "auto" and states <= SCANNED) or (name == "exact" and "samples" not in options):
                return make_solver("exact", **options, samples=min(states, taken + 1))
        if self._solver is None:
            self._solver = self._made()
        return self._solver

    def _made(self) -> Solver:
        assert self._named is not None
        name, options, where = self._named
        return make_solver("annealing" if name == "auto" else name, **where, **options)

    def _design(self, study: Study) -> int:
        """The seed of the start points, which the first worker of a study sets."""
        if study.study_name not in self._designs:
            known = study._storage.get_study_system_attrs(study._study_id)
            if DESIGN not in known:
                mine = self._fresh() if self._seed is None else self._seed
                study._storage.set_study_system_attr(study._study_id, DESIGN, mine)
                known = study._storage.get_study_system_attrs(study._study_id)
            self._designs[study.study_name] = int(known[DESIGN])
        return self._designs[study.study_name]

    @staticmethod
    def _fresh() -> int:
        return int(np.random.SeedSequence().generate_state(1)[0])


def _is_whole(number: Any, least: int) -> bool:
    """Whether a number is an integer, as 4.0 is too, from `least` on."""
    value: Any = number if isinstance(number, Real) and not isinstance(number, bool) else nan
    return bool(least <= value < inf and value % 1 == 0)


def choose(
    qubo: Qubo, solution: Solution, levels: Sequence[Floats], history: History, rng: np.random.Generator
) -> tuple[Floats, str]:
    """The point [d] to evaluate, and where it is from.

    sample: the best feasible sample that was not evaluated. neighbour: the best state that differs from the best
    sample, repaired where it is not feasible, in one parameter. scan: the best of all, where those are few. random:
    drawn. repeat: the best sample, since the space is exhausted or seems to be.
    """

    def first(bits: Bits, energies: Floats) -> Floats | None:
        for row in energies.argsort(kind="stable").tolist():
            point = _point(bits[row], levels)
            if not history.is_taken(point):
                return point
        return None

    kept, where = np.unique(solution.samples[solution.feasible], axis=0, return_index=True)
    found = first(kept, solution.energies[solution.feasible][where])
    if found is not None:
        return found, "sample"
    best = qubo.repair(solution.bits)[0]
    near = _neighbours(best, qubo)
    found = first(near, qubo.energy(near))
    if found is not None:
        return found, "neighbour"
    states = prod(len(level) for level in levels)
    if states <= LISTED:
        found = first(*qubo.k_best(states))
        return (_point(best, levels), "repeat") if found is None else (found, "scan")
    drawn = qubo.feasible_space().draw(1024, rng)
    found = first(drawn, qubo.energy(drawn))
    return (_point(best, levels), "repeat") if found is None else (found, "random")


def quality(history: History) -> float | None:
    """Spearman's rank correlation of the last 30 proposals' predictions with what came out; None below 5 of them."""
    from scipy.stats import spearmanr

    pairs = [
        (trial.user_attrs[ATTRIBUTE]["predicted"], loss)
        for trial, loss in zip(history.trials, history.losses, strict=True)
        if ATTRIBUTE in trial.user_attrs
    ][-QUALITY:]
    if len(pairs) < 5 or any(len(set(column)) < 2 for column in zip(*pairs, strict=True)):
        return None
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def _point(bits: Bits, levels: Sequence[Floats]) -> Floats:
    """The positions [d] that feasible bits choose."""
    ends = np.cumsum([len(level) for level in levels])[:-1]
    return np.array([level[part.argmax()] for level, part in zip(levels, np.split(bits, ends), strict=True)])


def _neighbours(bits: Bits, qubo: Qubo) -> Bits:
    """All states with the 1 of one block elsewhere; the state itself where there are none."""
    rows = [bits]
    for block in qubo.one_hot:
        for i in block:
            other = bits.copy()
            other[list(block)] = 0
            other[i] = 1
            rows.append(other)
    return np.unique(rows, axis=0)
