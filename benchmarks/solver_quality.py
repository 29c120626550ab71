"""Quality of the solvers on random problems: `python benchmarks/solver_quality.py [TABLE ...] [--json PATH]`.

Tables: dense and rugged (QAOA, and its controls), vqe (beside its product twin), grover (the slope of its queries). In
each, random sampling, greedy descent and simulated annealing have as many energy evaluations in all as the solver that
the table is about, training included, and once more as many as it takes final shots; one that cannot stop there exactly
stops before or after, as its column says. Training with exact gradients takes no shots, but the energies of all states:
they are counted.

dense: x'Mx with all entries of M normal. rugged: spin glasses on random 3-regular graphs with normal couplings and
fields of a tenth of that, which break the symmetry; those where 20 % or more of 500 greedy descents (single flips, from
random states) end in the optimum are dropped, and their number is given.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from math import isqrt
from typing import Any

import numpy as np

from benchmarks.harness import Option, Table, parse, slope, write
from hybrid_opt import ProblemError, Qubo, Solution, make_solver

TABLES = ("dense", "rugged", "vqe", "grover")
DESCENTS, RUGGED = 500, 0.2  # how many say what one descent achieves, and the most of them that may succeed
SWEEPS = 100  # of an anneal, where the evaluations allow as many
SHOTS = 1024
Contestants = dict[str, tuple[str, dict[str, Any]]]  # label -> solver and its options


@dataclass
class Instance:
    qubo: Qubo
    minimum: float

    def solved(self, solution: Solution) -> bool:
        """Whether it is the optimum, up to rounding."""
        return bool(solution.energy <= self.minimum + 1e-9 * (1 + abs(self.minimum)))


def dense(n: int, seed: int) -> Iterator[Instance]:
    """Random dense problems without end."""
    for number in count():
        qubo = Qubo(np.random.default_rng((seed, n, number)).normal(size=(n, n)))
        yield Instance(qubo, qubo.minimum()[1])


def rugged(n: int, seed: int, dropped: list[Instance]) -> Iterator[Instance]:
    """Spin glasses on which greedy descents fail; the others are appended to `dropped`."""
    greedy = make_solver("greedy", restarts=DESCENTS)
    for number in count():
        rng = np.random.default_rng((seed, n, number))
        couplings = np.zeros((n, n))
        couplings[tuple(_regular_graph(n, 3, rng).T)] = rng.normal(size=3 * n // 2)
        qubo = Qubo.from_ising(0.1 * rng.normal(size=n), couplings)
        instance = Instance(qubo, qubo.minimum()[1])
        ends = greedy.solve(qubo, seed=number).energies
        if np.mean(ends <= instance.minimum + 1e-9) < RUGGED:
            yield instance
        else:
            dropped.append(instance)


def _regular_graph(n: int, degree: int, rng: np.random.Generator) -> Any:
    """Edges int64 [n degree / 2, 2] of a random simple regular graph, by pairing of stubs."""
    while True:
        edges = np.sort(rng.permutation(np.repeat(np.arange(n), degree)).reshape(-1, 2), axis=1)
        if (edges[:, 0] < edges[:, 1]).all() and len(np.unique(edges, axis=0)) == len(edges):
            return edges


def evaluations(solution: Solution) -> int:
    """Energies that were computed, or shots that were taken, whichever is more."""
    return max(int(solution.cost.evaluations), int(solution.cost.shots))


def rivals(budget: int, n: int) -> Contestants:
    """The classical solvers with so many evaluations."""
    sweeps = max(1, min(SWEEPS, budget // n))
    return {
        f"random sampling, {budget:,}": ("random", {"shots": budget}),
        f"greedy descents, {budget:,}": ("greedy", {"evaluations": budget}),
        f"simulated annealing, {budget:,}": ("annealing", {"reads": max(1, budget // (sweeps * n)), "sweeps": sweeps}),
    }


def row(name: str, options: dict[str, Any], instances: Sequence[Instance], seed: int) -> dict[str, Any]:
    """Solve all instances with a solver: how many optima, and at what cost."""
    begin = time.perf_counter()
    solver = make_solver(name, **options)
    solutions: list[Solution] = solver.submit([instance.qubo for instance in instances], seed=seed).result()
    pairs = list(zip(instances, solutions, strict=True))
    return {
        "solver": name,
        "options": options,
        "optimum": sum(instance.solved(solution) for instance, solution in pairs),
        "instances": len(instances),
        "gap": float(np.mean([solution.energy - instance.minimum for instance, solution in pairs])),
        "training_shots": float(np.mean([solution.cost.training.shots for solution in solutions])),
        "shots": float(np.mean([solution.cost.shots for solution in solutions])),
        "evaluations": float(np.mean([evaluations(solution) for solution in solutions])),
        "seconds": (time.perf_counter() - begin) / len(instances),
    }


def compare(title: str, contestants: Contestants, instances: list[Instance], seed: int) -> dict[str, Any]:
    """A table of the contestants, and of the classical solvers with the evaluations of the first of them, and with as
    many as there are final shots. Printed.
    """
    columns = (
        "optimum found:14",
        "mean gap:10.3f",
        "training shots:16,.0f",
        "shots in all:14,.0f",
        "evaluations:13,.0f",
    )
    table = Table(title, *columns, "seconds each:14.3f", width=36)
    rows: dict[str, Any] = {}
    pending = dict(contestants)
    while pending:
        label = next(iter(pending))
        rows[label] = found = row(*pending.pop(label), instances, seed)
        costs = (found[key] for key in ("training_shots", "shots", "evaluations", "seconds"))
        table.row(label, f"{found['optimum']} of {found['instances']}", round(found["gap"], 3) + 0.0, *costs)
        if len(rows) == 1:
            for budget in sorted({round(found["evaluations"]), SHOTS}, reverse=True):
                pending |= rivals(budget, instances[0].qubo.n)
    return {"title": title, "rows": rows}


def qaoa_table(kind: str, n: int, number: int, seed: int) -> dict[str, Any]:
    """QAOA by its defaults on dense or rugged problems, beside its controls."""
    dropped: list[Instance] = []
    instances = list(islice(dense(n, seed) if kind == "dense" else rugged(n, seed, dropped), number))
    contestants: Contestants = {
        "QAOA": ("qaoa", {"shots": SHOTS}),
        "QAOA, transferred angles": ("qaoa", {"shots": SHOTS, "angles": "transferred"}),
        "QAOA, linear ramp": ("qaoa", {"shots": SHOTS, "angles": "ramp"}),
        "QAOA, no couplings in the phases": ("qaoa", {"shots": SHOTS, "entangle": False}),
        "QAOA, random angles": ("qaoa", {"shots": SHOTS, "parameters": "random"}),
        "QAOA, shuffled problem": ("qaoa", {"shots": SHOTS, "shuffle": True}),
    }
    note = f", {len(dropped)} dropped" if kind == "rugged" else ""
    return compare(f"{kind}, n = {n}{note}: QAOA by its defaults", contestants, instances, seed) | {
        "dropped": len(dropped)
    }


def vqe_table(n: int, number: int, seed: int) -> dict[str, Any]:
    """VQE under shots, beside its product twin, its controls and exact training."""
    instances = list(islice(dense(n, seed), number))
    adjoint = {"shots": SHOTS, "training": "adjoint"}
    contestants: Contestants = {
        "VQE": ("vqe", {"shots": SHOTS}),
        "VQE, product twin": ("vqe", {"shots": SHOTS, "entangle": False}),
        "VQE, random parameters": ("vqe", {"shots": SHOTS, "parameters": "random"}),
        "VQE, shuffled problem": ("vqe", {"shots": SHOTS, "shuffle": True}),
        "VQE, exact training": ("vqe", adjoint),
        "VQE, exact training, product twin": ("vqe", adjoint | {"entangle": False}),
    }
    title = f"vqe, n = {n}: CVaR, trained by SPSA; exact training knows all {1 << n:,} energies"
    return compare(title, contestants, instances, seed)


def grover_table(sizes: Sequence[int], number: int, seed: int) -> dict[str, Any]:
    """Queries of Grover adaptive search to the first hit, and their slope; others with 9 sqrt(N) evaluations."""
    shown = Table(
        "grover: queries to the first hit of the optimum, and optima found by all within 9 sqrt(N)",
        *("mean:10.1f", "median:10.1f", "in all:10,.0f", "grover:14", "random:14", "greedy:14", "annealing:14"),
        label="n",
        width=4,
    )
    rows: dict[int, dict[str, Any]] = {}
    for n in sizes:
        instances = list(islice(dense(n, seed), number))
        solutions = make_solver("grover").submit([instance.qubo for instance in instances], seed=seed).result()
        hits = [solution.about["first_hit"] for solution in solutions]
        found = [hit for hit in hits if hit is not None]
        optima = {"grover": len(found)}
        for name, how in rivals(isqrt(81 << n), n).values():
            optima[name] = row(name, how, instances, seed)["optimum"]
        queries = float(np.mean([solution.cost.queries for solution in solutions]))
        rows[n] = {"mean": float(np.mean(found)), "median": float(np.median(found)), "queries": queries} | optima
        counts = (f"{value} of {number}" for value in optima.values())
        shown.row(n, rows[n]["mean"], rows[n]["median"], queries, *counts)
    table: dict[str, Any] = {"title": "grover", "instances": number, "rows": rows}
    if len(rows) > 1:
        for key in ("mean", "median"):
            table[f"slope_of_{key}"] = slope([2**n for n in rows], [each[key] for each in rows.values()])
            print(f"slope of the logarithm of the {key} on log N: {table[f'slope_of_{key}']:.3f}")
    return table


def main() -> None:
    """Print the tables."""
    sizes = Option(help="variables; by default 16 20 (vqe: 16, grover: 6..14)", kind=int, nargs="+")
    given = parse(__doc__, TABLES, sizes=sizes, instances=100, seed=0)
    how, tables = (given.instances, given.seed), []
    try:
        for table in given.parts:
            if table == "grover":
                tables.append(grover_table(given.sizes or range(6, 15), *how))
            elif table == "vqe":
                tables += [vqe_table(n, *how) for n in given.sizes or (16,)]
            else:
                tables += [qaoa_table(table, n, *how) for n in given.sizes or (16, 20)]
    except ProblemError as error:
        raise SystemExit(f"error: {error}") from error
    write(given, {"descents": DESCENTS, "tables": tables})


if __name__ == "__main__":
    main()
