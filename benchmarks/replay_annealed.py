"""Annealed batches beside their controls: `python benchmarks/replay_annealed.py [TABLE ...] [--json PATH]`.

error: relative mean squared error |estimate - mean|^2 / |mean|^2 of the mean gradient of a pool, estimated from one
batch of k by sum(g / inclusion) / N, over pools and batches. The task: directions f_i of 16 latent features from 8
normal clusters (spread 0.5 around centres of unit variance), log-normal priorities p_i (sigma 1), and gradients g_i =
p_i d_i, where d_i is the unit vector along 0.8 f_i + 0.6 of a random direction (alignment 0.8). So priorities are exact
and features tell part of the direction. `--alignment 0` takes the features' use away. PER draws k times in proportion
to p with importance weights.

consecutive: the same error against the mean of a buffer of 4,096 items, of the mean of 32 batches that one planning of
the selector makes, when each of its pools serves one or several of them.

law: total variation between 20,000 reads and the exact law at N = 16, k = 4, and what exact draws show. Samples of
annealers that have another size than the batch's are dropped, so fewer are left.

Times are of the processor, one thread, of planning one batch from one pool; compilation is not counted.
"""

import time
from threading import Event
from typing import Any

import numpy as np

from benchmarks.harness import Table, middle, parse, resampled, write
from quantum_sampler import make_selector
from quantum_sampler.batches import BatchLaw, Engine, Reads, drawn, make_engine, matched, similarity
from quantum_sampler.batches.engine import Local
from quantum_sampler.batches.repair import repaired
from quantum_sampler.selectors.annealed import AnnealedConfig
from quantum_sampler.selectors.prioritized import Prioritized, PrioritizedConfig

TABLES = ("error", "consecutive", "law", "time")
Entry = tuple[str, dict[str, Any], float, str]  # engine, its options, redundancy, utility
ANNEALED: dict[str, Entry] = {
    "kawasaki": ("kawasaki", {}, 2.0, "inclusion"),
    "kawasaki, redundancy 1": ("kawasaki", {}, 1.0, "inclusion"),
    "kawasaki, redundancy 0": ("kawasaki", {}, 0.0, "inclusion"),
    "kawasaki, 1,024 reads": ("kawasaki", {"reads": 1024}, 2.0, "inclusion"),
    "kawasaki, u = log priority": ("kawasaki", {}, 2.0, "priority"),
    "kawasaki, u = log priority, redundancy 1": ("kawasaki", {}, 1.0, "priority"),
    "annealing, penalty": ("annealing", {"sweeps": 64}, 2.0, "inclusion"),
    "path_integral, penalty": ("path_integral", {"sweeps": 64}, 2.0, "inclusion"),
    "dwave:mock, repaired": ("auto", {"backend": "dwave:mock"}, 2.0, "inclusion"),
    "dwave:mock, dropped": ("auto", {"backend": "dwave:mock", "infeasible": "drop"}, 2.0, "inclusion"),
    "dwave:mock, penalty 1, repaired": (
        "auto",
        {"backend": "dwave:mock", "options": {"penalty": 1.0}},
        2.0,
        "inclusion",
    ),
}
CONTROLS: dict[str, Entry] = {
    "k-DPP": ("dpp", {}, 0.0, "priority"),
    "systematic PPS": ("systematic", {}, 0.0, "priority"),
    "local pivotal method": ("pivotal", {}, 0.0, "priority"),
    "facility location, randomised": ("facility", {}, 0.0, "priority"),
    "facility location, lazy greedy": ("facility_greedy", {}, 0.0, "priority"),
    "greedy + swap": ("greedy", {}, 2.0, "priority"),
    "repair alone": ("repair", {}, 2.0, "inclusion"),
}
SLOW = ("path_integral, penalty", *(label for label in ANNEALED if label.startswith("dwave")))  # a tenth of the pools
FLOOR = AnnealedConfig().floor


class RepairAlone(Local):
    """The repair of empty reads: the classical control of what it adds to those of an annealer."""

    def reads(self, law: BatchLaw, batches: int, rng: np.random.Generator) -> Reads:
        return Reads(repaired(law, np.zeros((256, len(law))), rng))


def engine_of(name: str, options: dict[str, Any]) -> Engine:
    """An engine by name, the control `repair` among them."""
    return RepairAlone() if name == "repair" else make_engine(name, **options)


def task(rng: np.random.Generator, items: int, alignment: float) -> tuple[Any, Any, Any]:
    """Features [N, 16], priorities [N] and gradients [N, 16]; see above."""
    centres = rng.normal(size=(8, 16))
    features = centres[rng.integers(8, size=items)] + 0.5 * rng.normal(size=(items, 16))
    priorities = rng.lognormal(0, 1, items)
    noise = rng.normal(size=(items, 16))
    directions = alignment * _unit(features) + np.sqrt(1 - alignment**2) * _unit(noise)
    return features, priorities, priorities[:, None] * _unit(directions)


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def law_of(features: Any, priorities: Any, size: int, redundancy: float, utility: str) -> BatchLaw:
    """The law of a pool as the selector makes it."""
    alike, logs = similarity(features, np.ones(len(features), bool)), np.log(priorities)
    shape = (alike, size, redundancy)
    return BatchLaw(matched(logs, *shape) if utility == "inclusion" else logs, *shape)


def relative(estimates: Any, mean: Any) -> Any:
    """|estimate - mean|^2 / |mean|^2 of estimates [B, D]: [B]."""
    return ((estimates - mean) ** 2).sum(1) / (mean @ mean)


def pool_errors(entry: Entry, pools: int, size: int, pool: int, batches: int, alignment: float) -> tuple[Any, float]:
    """Mean relative error of each pool, and the share of infeasible samples."""
    name, options, redundancy, utility = entry
    engine, errors = engine_of(name, options), []
    for number in range(pools):
        rng = np.random.default_rng((0, number))
        features, priorities, g = task(rng, pool, alignment)
        law = law_of(features, priorities, size, redundancy, utility)
        wanted = 1 if name not in ("dpp", "systematic", "pivotal") else batches
        draw = drawn(law, engine.draw([law], wanted, rng, Event())[0], batches, FLOOR, rng)
        estimates = (g[draw.members] / draw.inclusion[draw.members][..., None]).sum(1) / pool
        errors.append(relative(estimates, g.mean(0)).mean())
    infeasible = engine.metrics().get("infeasible", 0.0)
    engine.close()
    return np.array(errors), infeasible


def with_replacement(pools: int, size: int, pool: int, batches: int, alignment: float, by_priority: bool) -> Any:
    """The same of PER with importance weights (weight exponent 1), or of uniform draws."""
    errors = []
    for number in range(pools):
        rng = np.random.default_rng((0, number))
        _, priorities, g = task(rng, pool, alignment)
        chances = priorities / priorities.sum() if by_priority else np.full(pool, 1 / pool)
        items = rng.choice(pool, (batches, size), p=chances)
        errors.append(relative((g[items] / (pool * chances[items])[..., None]).mean(1), g.mean(0)).mean())
    return np.array(errors)


def error_table(pools: int, batches: int, alignment: float, pool: int = 64, size: int = 8) -> dict[str, Any]:
    title = (
        f"error of the mean gradient, N = {pool}, k = {size}, alignment {alignment:g}, floor {FLOOR:g}, {pools} pools"
    )
    shown = Table(title, "relative MSE:13.3f", "times PER:11.3f", "95 %:15", "infeasible:12.1%", width=44)
    shape = (size, pool, batches, alignment)
    per = with_replacement(pools, *shape, True)
    found: dict[str, Any] = {"PER": (per, 0.0), "uniform": (with_replacement(pools, *shape, False), 0.0)}
    rows: dict[str, Any] = {}
    for label in ("PER", "uniform", *ANNEALED, *CONTROLS):
        if label not in found:
            count = min(pools, max(4, pools // 10)) if label in SLOW else pools
            found[label] = pool_errors((ANNEALED | CONTROLS)[label], count, *shape)
        errors, infeasible = found[label]
        pairs = np.stack([errors, per[: len(errors)]], 1)
        one, other = resampled(pairs, 1000, seed=1).mean(1).T
        low, high = middle(one / other)
        ratio = pairs[:, 0].mean() / pairs[:, 1].mean()
        rows[label] = {"mse": float(errors.mean()), "ratio": float(ratio), "low": low, "high": high}
        rows[label] |= {"infeasible": infeasible, "pools": len(errors)}
        shown.row(label, errors.mean(), ratio, f"{low:.3f}..{high:.3f}", infeasible)
    return {"table": "error", "alignment": alignment, "pool": pool, "size": size, "rows": rows}


def consecutive_table(plannings: int, alignment: float, size: int = 8) -> dict[str, Any]:
    title = f"consecutive: error of one batch, and of the mean of the 32 of a planning, 4,096 items, k = {size}"
    shown = Table(title, "one batch:13.3f", "mean of 32:13.4f", width=44)
    rng = np.random.default_rng(0)
    features, priorities, g = task(rng, 4096, alignment)
    exact: dict[str, Any] = {"alpha": 1.0, "epsilon": 1e-9}
    shapes: dict[str, Any] = {"PER": None}
    for pool_by in ("uniform", "priority"):
        for per_pool in (1, 4, 32):
            label = f"pools of 64 by {pool_by}, {per_pool} batches of each"
            shapes[label] = {"pool_by": pool_by, "per_pool": per_pool}
    shapes["pools of 64 by priority, pivotal"] = {"pool_by": "priority", "engine": "pivotal"}
    rows: dict[str, Any] = {}
    for label, options in shapes.items():
        selector: Any = Prioritized(PrioritizedConfig(**exact, stratified=False), 4096, 0, 16)
        if options is not None:
            selector = make_selector("annealed", 4096, 0, 16, **exact, inline=True, **options)
        selector.add(np.arange(4096), priorities, features.astype(np.float32))
        selector.select(size)
        one, many = [], []
        for number in range(plannings):
            selector.prepare(number)
            batches = [selector.select(size) for _ in range(32)]
            estimates = np.stack([(g[b.ids] / b.inclusion[:, None]).sum(0) / 4096 for b in batches])
            one.append(relative(estimates, g.mean(0)).mean())
            many.append(relative(estimates.mean(0)[None], g.mean(0))[0])
        rows[label] = {"one": float(np.mean(one)), "mean": float(np.mean(many))}
        shown.row(label, *rows[label].values())
    return {"table": "consecutive", "alignment": alignment, "rows": rows}


def law_table(instances: int, reads: int = 20_000) -> dict[str, Any]:
    shown = Table(
        f"law: total variation to the exact law, N = 16, k = 4, redundancy 2, {instances} pools, {reads:,} reads",
        *("TV:10.4f", "floor:10.4f", "excess:10.4f", "infeasible:12.1%"),
        width=44,
    )
    engines: dict[str, tuple[str, dict[str, Any]]] = {
        "kawasaki": ("kawasaki", {"reads": reads}),
        "annealing, balanced weak penalty, 64 sweeps": ("annealing", {"reads": reads, "sweeps": 64}),
        "annealing, automatic penalty, 64 sweeps": (
            "annealing",
            {"reads": reads, "sweeps": 64, "options": {"penalty": "auto"}},
        ),
        "annealing, range of an optimiser": (
            "annealing",
            {"reads": reads, "sweeps": 64, "options": {"beta_range": None, "penalty": "auto"}},
        ),
        "annealing, exchange moves": ("annealing", {"reads": reads, "sweeps": 16, "options": {"constraints": "moves"}}),
        "path_integral, weak penalty, 64 sweeps": ("path_integral", {"reads": reads, "sweeps": 64}),
        "qaoa, 4 layers": ("qaoa", {"reads": reads}),
        "dwave:mock, repaired": ("auto", {"reads": reads // 10, "backend": "dwave:mock"}),
    }
    rows: dict[str, Any] = {}
    for label, (name, options) in engines.items():
        engine, found = engine_of(name, options), []
        for number in range(instances):
            rng = np.random.default_rng((0, number))
            features, priorities, _ = task(rng, 16, 0.8)
            law = law_of(features, priorities, 4, 2.0, "inclusion")
            batches, chances = law.exact()
            names = (1 << batches).sum(1)
            members = engine.draw([law], 1, rng, Event())[0].members
            counts = np.bincount(np.searchsorted(names, (1 << members).sum(1)), minlength=len(names))
            ideal = rng.multinomial(len(members), chances, 10) / len(members)
            found.append([np.abs(x - chances).sum(-1).mean() / 2 for x in (counts / len(members), ideal)])
        infeasible = engine.metrics().get("infeasible", 0.0)
        engine.close()
        tv, floor = np.mean(found, 0)
        rows[label] = {"tv": float(tv), "floor": float(floor), "infeasible": infeasible}
        shown.row(label, tv, floor, tv - floor, infeasible)
    return {"table": "law", "rows": rows}


def time_table(repeats: int, size: int = 8) -> dict[str, Any]:
    sizes = (64, 128, 256)
    title = f"time: milliseconds of the processor for one planned batch, k = {size}, 256 reads where there are reads"
    shown = Table(title, *(f"N = {pool}:12.2f" for pool in sizes), width=44)
    rows: dict[str, Any] = {}
    for label, (name, options, redundancy, utility) in (ANNEALED | CONTROLS).items():
        rows[label] = {}
        for pool in sizes:
            if label in SLOW and pool > 64:
                continue
            engine, spent = engine_of(name, options), []
            for number in range(repeats + 1):
                rng = np.random.default_rng((0, number))
                features, priorities, _ = task(rng, pool, 0.8)
                begin = time.process_time()
                law = law_of(features, priorities, size, redundancy, utility)
                drawn(law, engine.draw([law], 1, rng, Event())[0], 1, FLOOR, rng)
                spent.append(time.process_time() - begin)
            engine.close()
            rows[label][pool] = 1e3 * float(np.median(spent[1:]))
        shown.row(label, *(rows[label].get(pool) for pool in sizes))
    return {"table": "time", "size": size, "rows": rows}


def table(name: str, pools: int = 100, batches: int = 256, alignment: float = 0.8) -> dict[str, Any]:
    """Print a table of TABLES and return its figures. pools: how many are averaged over; fewer make it faster."""
    if name == "error":
        return error_table(pools, batches, alignment)
    if name == "consecutive":
        return consecutive_table(max(4, pools // 2), alignment)
    if name == "law":
        return law_table(max(2, pools // 20))
    return time_table(max(3, pools // 10))


def main() -> None:
    """Print the tables."""
    batches, alignment = (256, "of each pool"), (0.8, "of gradients with features, 0 to 1")
    given = parse(__doc__, TABLES, pools=100, batches=batches, alignment=alignment)
    write(given, [table(name, given.pools, given.batches, given.alignment) for name in given.parts])


if __name__ == "__main__":
    main()
