"""Recall by amplitude amplification: `OMP_NUM_THREADS=1 python benchmarks/replay_recall.py [TABLE ...] [--json PATH]`.

queries: one item of N is marked, nobody knows how many are; mean queries of a search, drawn and by the exact law, and
their slope on log N. Beside them the classical controls: a draw by rejection takes 1 / P tests of an item (P = 1/N),
one scan takes N and serves the whole batch, and so does the loading of the amplitudes. outcomes: what the searches
found, against probabilities in proportion to priority. speed: milliseconds of `select`, beside `prioritized`. circuit:
two-qubit gates of the search as a circuit; the lookup of the codes is part of each iteration.
"""

from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import Table, in_turn, parse, slope, write
from quantum_sampler import Selector, make_selector
from quantum_sampler.amplitude.amplification import Search
from tests.oracles.recall_circuit import recall_circuit

TABLES = ("queries", "outcomes", "speed", "circuit")
FEATURES = 64
ONLY_SEARCHES = {"floor": 1e-12}  # no draw of the sum tree but where a search fails


def filled(items: int, seed: int, losses: Any, **options: Any) -> tuple[Selector, Any]:
    """A selector whose items have all been visited, and their features [items, FEATURES], normal ones."""
    features = np.random.default_rng((seed, items)).standard_normal((items, FEATURES), np.float32)
    selector: Selector = make_selector("recall", items, (seed, 1), FEATURES, **options)
    selector.add(np.arange(items), losses, features)
    selector.prepare(0)
    return selector, features


def queries_table(sizes: list[int], batch: int, batches: int, seed: int) -> dict[str, Any]:
    """Queries to find the one marked item."""
    shown = Table(
        f"queries of a search for one of N items, the marked fraction unknown; a scan serves {batch}",
        *("mean:10.1f", "by the law:12.1f", "/ sqrt(N):11.3f", "found:9.4f"),
        *("rejection a draw:18,.0f", "scan:9,", "loading:9,.0f"),
        label="N",
        width=8,
    )
    rows: dict[int, dict[str, float]] = {}
    for size in sizes:
        options = {"bits": 64, "radius": 0, "neighbours": 0, **ONLY_SEARCHES}
        selector, features = filled(size, seed, np.ones(size), **options)
        chosen = np.random.default_rng((seed, size, 1)).integers(size, size=batches)
        spent, found = [], []
        for item in chosen:
            drawn = selector.select(batch, features[item])
            figures = selector.metrics()
            assert figures["marked"] == 1 / size
            spent.append(figures["queries"] / batch)
            found.append(np.mean(drawn.source == 0))
        search = Search.within(9 * int(np.sqrt(size)))
        rows[size] = {
            "mean": float(np.mean(spent)),
            "law": search.expected_queries(1 / size),
            "found": float(np.mean(found)),
            "rejection": 1 / figures["marked_mass"],
            "scan": size,
            "loading": figures["loading"],
        }
        mean, law, found_share, *others = rows[size].values()
        shown.row(size, mean, law, mean / np.sqrt(size), found_share, *others)
    table: dict[str, Any] = {"title": "queries", "batch": batch, "batches": batches, "rows": rows}
    for key in ("mean", "law"):
        table[f"slope_of_{key}"] = slope(list(rows), [row[key] for row in rows.values()])
        print(f"slope of the logarithm of the {key} on log N: {table[f'slope_of_{key}']:.4f}")
    return table


def outcomes_table(items: int, draws: int, seed: int) -> dict[str, Any]:
    """Found items against their priorities."""
    from scipy.stats import chi2

    shown = Table(
        f"outcomes of {draws:,} searches in {items:,} items with losses over four orders of magnitude",
        *(
            "marked:8",
            "mass:10.5f",
            "success:9.4f",
            "queries:9.1f",
            "chi2 / df:11.3f",
            "p:8.3f",
            "TV:9.4f",
            "floor:9.4f",
        ),
        label="radius",
        width=8,
    )
    losses = np.exp(np.random.default_rng(seed).normal(0.0, 2.0, items))
    rows: dict[int, dict[str, float]] = {}
    for radius in (8, 10, 12):
        selector, features = filled(items, seed, losses, radius=radius, neighbours=0, **ONLY_SEARCHES)
        batch = selector.select(draws, features[0])
        figures = selector.metrics()
        law, tree = batch.law(np.arange(items), 1), selector.select(1).law(np.arange(items), 1)
        marked = np.flatnonzero(law > tree * (1 + 1e-9))
        counts = np.bincount(batch.ids[batch.source == 0], minlength=items)
        assert counts.sum() == counts[marked].sum()
        expected = counts.sum() * tree[marked] / tree[marked].sum()
        usual = expected >= 5.0  # what is rarer is taken together
        observed = np.append(counts[marked][usual], counts[marked][~usual].sum())
        means = np.append(expected[usual], expected[~usual].sum())
        observed, means = observed[means > 0], means[means > 0]
        statistic, degrees = float((np.square(observed - means) / means).sum()), observed.size - 1
        floor = np.sqrt(2 / np.pi) * np.sqrt(expected * (1 - expected / counts.sum())).sum() / 2 / counts.sum()
        rows[radius] = {
            "marked": marked.size,
            "mass": figures["marked_mass"],
            "success": float(np.mean(batch.source == 0)),
            "queries": figures["queries"] / draws,
            "chi_square": statistic,
            "degrees": degrees,
            "p": float(chi2.sf(statistic, degrees)),
            "variation": float(np.abs(counts[marked] - expected).sum() / 2 / counts.sum()),
            "floor": float(floor),
        }
        row = rows[radius]
        own = row["mass"], row["success"], row["queries"], statistic / degrees
        shown.row(radius, marked.size, *own, row["p"], row["variation"], row["floor"])
    return {"title": "outcomes", "items": items, "draws": draws, "rows": rows}


def speed_table(sizes: list[int], batch: int, repeats: int, seed: int) -> dict[str, Any]:
    """Median milliseconds of a select, by the clock and of this thread on a processor; they take turns."""
    shown = Table(
        f"milliseconds of select, batch {batch}, {repeats} repeats",
        *("recall:10.2f", "busy:9.2f", "8 contexts:12.2f", "busy:9.2f", "prioritized:13.3f", "busy:9.3f"),
        label="N",
        width=10,
    )
    rows: dict[int, dict[str, float]] = {}
    for size in sizes:
        losses = np.random.default_rng(seed).random(size)
        recall, features = filled(size, seed, losses)
        tree: Selector = make_selector("prioritized", size, seed)
        tree.add(np.arange(size), losses)
        times = in_turn(
            {
                "recall": partial(recall.select, batch, features[0]),
                "contexts": partial(recall.select, batch, features[:8]),
                "prioritized": partial(tree.select, batch),
            },
            repeats,
        )
        medians = {name: (1e3 * np.median(each, axis=0)).tolist() for name, each in times.items()}
        rows[size] = {name: pair[0] for name, pair in medians.items()}
        rows[size] |= {f"{name}_busy": pair[1] for name, pair in medians.items()}
        shown.row(size, *(value for pair in medians.values() for value in pair))
    return {"title": "speed", "batch": batch, "repeats": repeats, "rows": rows}


def circuit_table(sizes: list[int], bits: int, seed: int) -> dict[str, Any]:
    """Two-qubit gates of the start, and of each iteration."""
    from qiskit import transpile

    title = f"two-qubit gates of the circuit, codes of {bits} bits, radius 1"
    shown = Table(title, "qubits:9", "start:9,", "iteration:11,", label="N", width=8)
    rows: dict[int, dict[str, int]] = {}
    for size in sizes:
        rng = np.random.default_rng((seed, size))
        probabilities, codes = rng.dirichlet(np.ones(size)), rng.integers(1 << bits, size=size).astype(np.uint64)
        gates = []
        for iterations in (0, 1):
            circuit = recall_circuit(probabilities, codes, 0, 1, bits, iterations)
            gates.append(transpile(circuit, basis_gates=["cx", "u"], optimization_level=1).count_ops().get("cx", 0))
        rows[size] = {"qubits": circuit.num_qubits, "start": gates[0], "iteration": gates[1] - gates[0]}
        shown.row(size, *rows[size].values())
    return {"title": "circuit", "bits": bits, "rows": rows}


def table(name: str, seed: int = 0) -> dict[str, Any]:
    """One of the tables, at the sizes of the docs. Printed."""
    if name == "queries":
        return queries_table([1 << n for n in range(8, 17)], batch=256, batches=40, seed=seed)
    if name == "outcomes":
        return outcomes_table(4096, draws=200_000, seed=seed)
    if name == "speed":
        return speed_table([15_625, 1_000_000], batch=256, repeats=50, seed=seed)
    return circuit_table([4, 8, 16, 32], bits=4, seed=seed)


def main() -> None:
    """Print the tables."""
    given = parse(__doc__, TABLES, seed=0)
    write(given, [table(name, given.seed) for name in given.parts])


if __name__ == "__main__":
    main()
