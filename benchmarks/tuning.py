"""Learned circuit parameters against classical optimisers: `python benchmarks/tuning.py [--policy FILE] [--seed 1]`.

Median approximation ratio (E - E_max) / (E_min - E_max) of QAOA on problems that are larger than those of the training,
and of other weights: learned angles against the fixed table, the linear ramp, transferred angles, and, at the same
number of circuit evaluations, COBYLA, Nelder-Mead and SPSA from the transferred angles and COBYLA with random restarts.
All score by the exact energy of the angles that they end with; SPSA ends with its last ones, the others with those that
measured best. Intervals are 95 % bootstraps over the problems, differences are paired. The learned schedule is also
asked how many evaluations it needs to reach what COBYLA reaches with 100. The control "learned, constant" moves the
angles of all problems alike, by the mean of the policy's first guesses: what the policy knows of the single problem,
and of its evaluations, is what it is ahead of that.

`python benchmarks/tuning.py speed` times the batched environment at n=10, 3 layers, exact, without a policy. `adapt`
says what a policy gains that goes on learning (tuning_adapt.py); `curves` and `schedule` draw (tuning_figures.py).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from worldmodel.envs.circuits.instances import draw_qubo, draw_spins, qubo_of
from worldmodel.envs.circuits.qaoa_angles import CircuitTuningVector, TuningBatch, TuningConfig

from benchmarks.harness import Option, middle, parse, resampled, write
from hybrid_opt import Qubo
from hybrid_opt.circuits.schedules.features import WIDTHS, Deformation
from hybrid_opt.circuits.schedules.learned import Learned, learned
from hybrid_opt.circuits.schedules.optimised import optimised
from hybrid_opt.circuits.schedules.schedule import SCHEDULES, Schedule
from hybrid_opt.circuits.schedules.table import Angles
from hybrid_opt.simd.threads import processors
from hybrid_opt.simulator.mixers import moments
from hybrid_opt.simulator.qaoa import QaoaSimulator, draw

Method = Callable[[Qubo, int, "Evaluations", int, np.random.Generator], Angles]
LONG = 100  # evaluations of COBYLA that set the mark
NEAR = {"within 0.01 points": 1e-4, "within 0.1 points": 1e-3}  # of the mark
DRAWS = 4000  # of the bootstrap
CONDITIONS: dict[str, tuple[int | None, float]] = {"exact": (None, 0.0), "1024 shots": (1024, 0.0)}
SETS = {  # problems: families, weights of MaxCut
    "larger": (("maxcut", "sk"), "uniform"),
    "exponential": (("maxcut",), "exponential"),
    "normal": (("maxcut",), "normal"),
    "unit": (("maxcut",), "unit"),
    "qubo": (("qubo",), "uniform"),
    "one-hot": (("onehot",), "uniform"),
    "cardinality": (("cardinality",), "uniform"),
}


DIRECTION = "direction"
WHAT = ("quality", "speed", "adapt", "curves", "schedule")


class Spent(Exception):
    """The budget is spent."""


class Evaluations:
    """The mean energy of angles, measured: exactly, or by shots; with depolarising noise. Remembers what it was asked.

    noise: the probability per layer that the state is the maximally mixed one.
    """

    def __init__(self, simulator: QaoaSimulator, shots: int | None, noise: float, rng: np.random.Generator) -> None:
        self.simulator, self.shots, self.noise, self.rng = simulator, shots, noise, rng
        self.error = 0.0
        self.measured: list[float] = []
        self.exact: list[float] = []
        self.angles: list[Angles] = []

    def __call__(self, gammas: Any, betas: Any) -> float:
        """The measured energy."""
        chances = self.simulator.probabilities(gammas, betas)[0]
        energies = self.simulator.energies[0]
        exact = float(chances @ energies)
        kept = (1 - self.noise) ** len(gammas)
        value = kept * exact + (1 - kept) * float(self.simulator.mean[0])
        if self.shots is not None:
            drawn = energies[draw(kept * chances + (1 - kept) / len(chances), self.shots, self.rng)]
            value, self.error = float(drawn.mean()), float(drawn.std()) / self.shots**0.5
        self.measured.append(value)
        self.exact.append(exact)
        self.angles.append((np.array(gammas), np.array(betas)))
        return value

    def ratio(self, angles: Angles) -> float:
        """The exact ratio of these angles; not counted."""
        energies = self.simulator.energies[0]
        value = float(self.simulator.probabilities(*angles)[0] @ energies)
        return float((energies.max() - value) / np.ptp(energies))

    def curve(self) -> np.ndarray:
        """Exact ratios of the angles that measured best, after each evaluation."""
        energies, best = self.simulator.energies[0], np.array(self.measured)
        places = [int(best[: k + 1].argmin()) for k in range(len(best))]
        ratios: np.ndarray = (energies.max() - np.array(self.exact)[places]) / np.ptp(energies)
        return ratios


def _minimised(method: str, restarts: bool) -> Method:
    """A method of scipy, in gammas / scale and betas, from the transferred angles or from random ones over and over."""

    def run(qubo: Qubo, layers: int, evaluate: Evaluations, budget: int, rng: np.random.Generator) -> Angles:
        scale = moments(qubo).scale
        gammas, betas = SCHEDULES["transferred"](qubo, layers)

        def objective(point: np.ndarray) -> float:
            if len(evaluate.measured) >= budget:
                raise Spent
            return evaluate(scale * point[:layers], point[layers:]) / moments(qubo).std

        options: dict[str, Any] = {"rhobeg": 0.1, "tol": 1e-3} if method == "COBYLA" else {"initial_simplex": None}
        try:
            while True:
                start = np.concatenate([gammas / scale, betas])
                if restarts:
                    start = rng.uniform(0, np.repeat([1.5, np.pi / 2], layers))
                if method == "Nelder-Mead":
                    options = {"initial_simplex": start + 0.1 * np.eye(2 * layers + 1, 2 * layers, -1)}
                minimize(objective, start, method=method, options=options)
                if not restarts:
                    break
        except Spent:
            pass
        return evaluate.angles[int(np.argmin(evaluate.measured))]

    return run


def _spsa(qubo: Qubo, layers: int, evaluate: Evaluations, budget: int, rng: np.random.Generator) -> Angles:
    return optimised(qubo, layers, evaluate, budget, method="spsa", rng=rng)


METHODS: dict[str, Method] = {
    "transfer + COBYLA": _minimised("COBYLA", False),
    "random-restart COBYLA": _minimised("COBYLA", True),
    "transfer + Nelder-Mead": _minimised("Nelder-Mead", False),
    "transfer + SPSA": _spsa,
}


class Case(NamedTuple):
    """A problem and its simulator."""

    qubo: Qubo
    simulator: QaoaSimulator


def cases(name: str, instances: int, sizes: tuple[int, int], seed: int) -> list[Case]:
    """Problems of a set; those of a seed are always the same."""
    families, weights = SETS[name]
    rng = np.random.default_rng((seed, list(SETS).index(name)))
    chosen = np.array(families)[rng.integers(len(families), size=instances)]
    variables = rng.integers(sizes[0], sizes[1] + 1, instances)
    if name in ("one-hot", "cardinality"):
        qubos = [draw_qubo(families[0], int(n), rng) for n in variables]
    else:
        drawn = draw_spins(chosen, variables, sizes[1], weights, rng)
        qubos = [qubo_of(drawn, row) for row in range(instances)]
    return [Case(qubo, QaoaSimulator(qubo, threads=1)) for qubo in qubos]


def constant(policy: Learned) -> Schedule:
    """The control: one deformation for all problems, the mean of the policy's first guesses in its training."""
    config = TuningConfig(**policy.policy.about["env"])
    batch = TuningBatch(config, 500)
    batch.begin(np.arange(500), np.random.default_rng(0))
    batch.progress.propose(policy.policy.act(batch.progress.observe())[:, : WIDTHS[config.shape]])
    mean = batch.progress.candidate.mean(0, keepdims=True)

    def schedule(qubo: Qubo, layers: int, evaluate: Any = None, budget: int = 0) -> Angles:
        scale = np.array([moments(qubo).scale])
        gammas, betas = Deformation(config.shape, layers).angles(mean, np.array([layers]), scale)
        return gammas[0], betas[0]

    return schedule


def guesses(problems: list[Case], policy: Learned, layers: int) -> dict[str, np.ndarray]:
    """Ratios [instances] of the angles that are had without evaluations."""
    schedules = {name: SCHEDULES[name] for name in ("fixed", "ramp", "transferred")}
    schedules |= {"learned": policy, "learned, constant": constant(policy)}
    rng = np.random.default_rng(0)
    return {
        name: np.array([Evaluations(s, None, 0.0, rng).ratio(schedule(q, layers)) for q, s in problems])
        for name, schedule in schedules.items()
    }


def searches(
    problems: list[Case], policy: Learned, layers: int, budget: int, shots: int | None, noise: float, seed: int
) -> dict[str, np.ndarray]:
    """Ratios [instances] after `budget` evaluations."""

    def by_policy(qubo: Qubo, p: int, evaluate: Evaluations, most: int, rng: np.random.Generator) -> Angles:
        return policy(qubo, p, evaluate, most)

    start = constant(policy)

    def from_constant(qubo: Qubo, p: int, evaluate: Evaluations, most: int, rng: np.random.Generator) -> Angles:
        return optimised(qubo, p, evaluate, most, method="cobyla", start=start(qubo, p))

    ratios: dict[str, list[float]] = {}
    more = [("learned", by_policy), ("learned, constant + COBYLA", from_constant)]
    for name, method in [*METHODS.items(), *more]:
        for number, (qubo, simulator) in enumerate(problems):
            evaluate = Evaluations(simulator, shots, noise, np.random.default_rng((seed, number)))
            angles = method(qubo, layers, evaluate, budget, np.random.default_rng((seed, number, 1)))
            if len(evaluate.measured) > budget:
                raise RuntimeError(f"{name}: {len(evaluate.measured)} evaluations of {budget}")
            ratios.setdefault(name, []).append(evaluate.ratio(angles))
    return {name: np.array(values) for name, values in ratios.items()}


def mark(problems: list[Case], policy: Learned, layers: int, seed: int) -> dict[str, Any]:
    """The median that COBYLA reaches with LONG evaluations, and the evaluations after which the policy's is as high."""
    long, curves = [], []
    for number, (qubo, simulator) in enumerate(problems):
        rng = np.random.default_rng((seed, number))
        evaluate = Evaluations(simulator, None, 0.0, rng)
        long.append(evaluate.ratio(METHODS["transfer + COBYLA"](qubo, layers, evaluate, LONG, rng)))
        evaluate = Evaluations(simulator, None, 0.0, rng)
        policy(qubo, layers, evaluate, LONG)
        curve = evaluate.curve()
        curves.append(np.pad(curve, (0, LONG - len(curve)), mode="edge"))
    medians, goal = np.median(curves, 0), float(np.median(long))
    figures: dict[str, Any] = {"cobyla": goal, "learned": float(medians[-1]), "curve": medians.tolist()}
    for name, less in {"reached": 0.0, **NEAR}.items():
        there = np.flatnonzero(medians >= goal - less)
        figures[name] = int(there[0]) + 1 if len(there) else None
    return figures


def interval(values: np.ndarray, other: np.ndarray | None = None) -> tuple[float, float, float]:
    """The median, or the difference of two medians over the same problems, with its 95 % bootstrap interval."""

    def gap(one: np.ndarray, rest: np.ndarray | None, axis: int) -> Any:
        return np.median(one, axis) - (0 if rest is None else np.median(rest, axis))

    drawn = gap(resampled(values, DRAWS), None if other is None else resampled(other, DRAWS), 1)
    low, high = middle(drawn)
    return float(gap(values, other, 0)), low, high


def report(title: str, ratios: dict[str, np.ndarray]) -> dict[str, Any]:
    """Print and return a table: medians in percent, and what the learned angles are ahead of the best other."""
    print(f"\n{title}")
    figures: dict[str, Any] = {}
    for name, values in sorted(ratios.items(), key=lambda item: -float(np.median(item[1]))):
        figures[name] = interval(100 * values)
        print("  {:<28}{:8.2f}  [{:.2f}, {:.2f}]".format(name, *figures[name]))
    best = max(
        (name for name in ratios if not name.startswith("learned")), key=lambda name: float(np.median(ratios[name]))
    )
    ahead, low, high = figures["ahead"] = interval(100 * ratios["learned"], 100 * ratios[best])
    print(f"  {'learned':<28}{ahead:+8.2f}  [{low:+.2f}, {high:+.2f}] points ahead of {best}", flush=True)
    return figures


def speed(seconds: float, rows: int) -> dict[str, Any]:
    """Environment steps per second of the batch, resets included; the best second counts, as other work only slows."""
    vector = CircuitTuningVector(rows, sizes=(10, 10), layers=3)
    vector.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (rows, 6)).astype(np.float32)
    best, worked, steps, begun = 0.0, time.process_time(), 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        before, count = time.perf_counter(), 0
        while time.perf_counter() - before < 1:
            for _ in range(10):  # an episode, with its reset
                vector.step(actions)
            count += 10 * rows
        best, steps = max(best, count / (time.perf_counter() - before)), steps + count
    per_cpu = steps / (time.process_time() - worked)
    mean = steps / (time.perf_counter() - begun)
    print(f"{rows} episodes side by side, n=10, 3 layers, exact, {processors()} threads")
    print(f"environment steps per second: {best:,.0f} (best second), {mean:,.0f} (mean)")
    print(f"environment steps per second of processor time: {per_cpu:,.0f}")
    return {"steps_per_second": best, "mean": mean, "per_cpu_second": per_cpu, "rows": rows, "threads": processors()}


def main() -> None:
    given = parse(
        __doc__,
        WHAT,
        WHAT[:1],
        label="PART",
        policy=Option(help="a policy file of worldmodel.tune; default: the one that ships", kind=Path),
        sets=Option(
            list(SETS), f"problems; {DIRECTION}: of adapt, those of optimizer=hybrid", choices=[*SETS, DIRECTION]
        ),
        instances=100,
        sizes=Option([12, 16], "fewest and most variables", nargs=2),
        layers=3,
        evaluations=10,
        noise=(0.05, "depolarising noise per layer, with 1,024 shots"),
        seed=1,
        rows=(256, "of speed: episodes side by side"),
        seconds=(10.0, "of speed"),
        steps=(20_480, "of curves: environment steps of each run"),
        seeds=(3, "of curves: training seeds; of adapt: streams"),
        runs=(Path("runs/tuning-curves"), "of curves: where the runs are"),
        figures=(Path("docs/figures"), "where pictures are written"),
        more=Option([], "of curves: further KEY=VALUE of worldmodel.tune", kind=str, nargs="*"),
    )
    what = given.parts[0]
    if what == "speed":
        figures = speed(given.seconds, given.rows)
    elif what == "curves":
        from benchmarks.tuning_figures import curves

        figures = curves(given.steps, given.seeds, given.runs, given.figures / "tuning_curves.png", given.more)
    elif what == "schedule":
        from benchmarks.tuning_figures import schedule

        problems = cases(given.sets[0], given.instances, tuple(given.sizes), given.seed)
        picture = given.figures / "tuning_schedule.png"
        figures = schedule(problems, learned(given.policy), given.layers, given.evaluations, picture)
    elif what == "adapt":
        from benchmarks.tuning_adapt import adapt, direction_problems

        counts = range(given.seed, given.seed + given.seeds)
        makers: dict[str, Callable[[int], list[Qubo]]] = {
            name: (lambda seed, name=name: [c.qubo for c in cases(name, given.instances, tuple(given.sizes), seed)])  # type: ignore[misc]
            for name in given.sets
            if name != DIRECTION
        }
        if DIRECTION in given.sets:
            makers[DIRECTION] = lambda seed: direction_problems(given.instances, seed)
        streams = {name: [make(seed) for seed in counts] for name, make in makers.items()}
        figures = adapt(streams, learned(given.policy), given.layers, given.evaluations)
    else:
        if DIRECTION in given.sets:
            raise SystemExit(f"--sets {DIRECTION}: accepted with adapt")
        policy = learned(given.policy)
        figures = {"policy": dict(policy.policy.about), "seed": given.seed, "instances": given.instances}
        print(f"policy: {figures['policy']}")
        conditions = CONDITIONS | {f"1024 shots, noise {given.noise}": (1024, given.noise)}
        for name in given.sets:
            problems = cases(name, given.instances, tuple(given.sizes), given.seed)
            free = guesses(problems, policy, given.layers)
            about = f"{name}, n = {given.sizes[0]}..{given.sizes[1]}, {given.layers} layers"
            figures[name] = {"guess": report(f"{about}, no evaluation", free)}
            for condition, (shots, noise) in conditions.items() if name == "larger" else [("exact", (None, 0.0))]:
                found = searches(problems, policy, given.layers, given.evaluations, shots, noise, given.seed)
                found |= {key: free[key] for key in ("fixed", "ramp")}
                figures[name][condition] = report(f"{about}, {given.evaluations} evaluations, {condition}", found)
            if name != "larger":
                continue
            figures[name]["mark"] = mark(problems, policy, given.layers, given.seed)
            shown = {key: value for key, value in figures[name]["mark"].items() if key != "curve"}
            print(f"  evaluations to reach COBYLA's {LONG}: {shown}")
    write(given, figures)


if __name__ == "__main__":
    main()
