"""Boltzmann machines of the replay: `python benchmarks/replay_boltzmann.py [TABLE ...] [--json PATH]`.

gradients: largest difference between a machine's gradient and finite differences of its log-likelihood (semi-quantum:
of 8 bits and 4 hidden qubits; transverse: of its bound, 6 bits and 2 hidden units).

path_integral: total variation of reads of the path-integral machine, 8 units at gamma 0.7, to the diagonal of the
quantum Gibbs state and to the law of the same couplings without the field, beside what as many exact draws have.

novelty: machines are trained on codes of what a random policy sees in MiniGrid rooms of one kind, and then score codes
of other rooms of that kind and of rooms of kinds that they never saw: area under the ROC curve of the free energy, and
the log-likelihood of the rooms of the same kind. Controls: independent bits, the mean Hamming distance to the five
nearest codes of the training, and how rarely the very code occurred there. Means over seeds with 95 % t-intervals.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, t

from benchmarks.harness import Table, parse, write
from quantum_sampler.codes.learned import LearnedCodes
from quantum_sampler.codes.projection import Codes, RandomProjection, hamming
from quantum_sampler.machines import IndependentBits, Machine, Rbm, SemiQuantumRbm, TransverseMachine
from quantum_sampler.machines.machine import all_spins, spins_of
from quantum_sampler.machines.reader import AnnealerReader, PathIntegralReader
from quantum_sampler.machines.restricted import Restricted

Floats = NDArray[np.float64]
TABLES = ("gradients", "path_integral", "novelty")
GAMMA = 0.7
KNOWN = "MiniGrid-DoorKey-8x8-v0"
OTHERS = (
    "MiniGrid-FourRooms-v0",
    "MiniGrid-LavaGapS7-v0",
    "MiniGrid-Dynamic-Obstacles-8x8-v0",
    "MiniGrid-SimpleCrossingS9N1-v0",
)
KINDS = (11, 6, 3)  # of objects, colours and states of a cell that an agent sees


def table(name: str, seeds: int = 5) -> dict[str, Any]:
    """One of the tables, printed."""
    made: dict[str, Callable[[int], dict[str, Any]]]
    made = {"gradients": gradients, "path_integral": path_integral, "novelty": novelty}
    return made[name](seeds)


def gradients(seeds: int) -> dict[str, Any]:
    """Largest error of the gradients over seeds, central differences with steps of 1e-5."""
    errors: dict[str, float] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        for label, machine in (
            ("semi-quantum RBM, log-likelihood", SemiQuantumRbm(8, 4, rng)),
            ("transverse field, bound", TransverseMachine(6, 2, rng, gamma=GAMMA)),
        ):
            scramble(machine, rng, 0.4)
            spins = spins_of(rng.integers(1 << machine.bits, size=100).astype(np.uint64), machine.bits)
            errors[label] = max(errors.get(label, 0.0), gradient_error(machine, spins, rng))
    shown = Table(
        f"gradients: largest error against finite differences, {seeds} machines each", "error:12.1e", width=40
    )
    for label, error in errors.items():
        shown.row(label, error)
    return {"title": "gradients", "errors": errors}


def gradient_error(machine: Restricted, spins: Floats, rng: np.random.Generator) -> float:
    """Over all parameters; couplings change in pairs, as they are symmetric."""

    def objective() -> float:
        if isinstance(machine, TransverseMachine):
            values = np.linalg.eigvalsh(hamiltonian(machine))
            log_z = np.log(np.exp(values[0] - values).sum()) - values[0]
        else:
            log_z = machine.log_partition(rng)
        return float(-machine._restricted_energy(spins).mean() - log_z)

    model, data, step, worst = machine.model_gradient(rng), machine.mean_gradient(spins), 1e-5, 0.0
    for name, values in machine.parameters.items():
        for place in np.ndindex(values.shape):
            if name == "couplings" and place[0] >= place[1]:
                continue
            places = {place, place[::-1]} if name == "couplings" else {place}
            found = []
            for change in (step, -2 * step, step):
                for each in places:
                    values[each] += change
                found.append(objective())
            difference = (found[0] - found[1]) / (2 * step)
            worst = max(worst, abs(float(model[name][place] - data[name][place]) - difference))
    return worst


def hamiltonian(machine: TransverseMachine) -> Floats:
    """H [2^units, 2^units], element by element."""
    fields, couplings = machine.ising()
    spins = all_spins(machine.units)
    states = np.arange(len(spins))
    matrix = np.diag(spins @ fields + np.einsum("ki,ij,kj->k", spins, couplings, spins))
    for unit in range(machine.units):
        matrix[states, states ^ (1 << unit)] -= GAMMA
    return matrix


def scramble(machine: Machine, rng: np.random.Generator, scale: float) -> None:
    """Normal parameters."""
    for name, values in machine.parameters.items():
        values[...] = scale * rng.standard_normal(values.shape)
        if name == "couplings":
            values[...] = np.triu(values, 1) + np.triu(values, 1).T


def path_integral(seeds: int, reads: int = 5000) -> dict[str, Any]:
    """Total variations of the reads of random machines with normal couplings of deviation 0.5."""
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        machine = TransverseMachine(8, 0, rng, gamma=GAMMA, reader=PathIntegralReader(GAMMA, reads))
        scramble(machine, rng, 0.5)
        values, vectors = np.linalg.eigh(hamiltonian(machine))
        quantum = np.square(vectors) @ np.exp(values[0] - values)
        quantum /= quantum.sum()
        classical = np.exp(-machine._restricted_energy(all_spins(8)))
        classical /= classical.sum()
        drawn = np.bincount(machine.sample(reads, rng).astype(int), minlength=256) / reads
        floor = np.mean([_variation(rng.multinomial(reads, quantum) / reads, quantum) for _ in range(50)])
        rows.append((_variation(drawn, quantum), float(floor), _variation(drawn, classical)))
    shown = Table(
        f"path_integral: total variation of {reads:,} reads, 8 units, gamma {GAMMA}",
        *("to the quantum law:22.3f", "of exact draws:18.3f", "to the classical law:24.3f"),
        label="machine",
        width=8,
    )
    for seed, row in enumerate(rows):
        shown.row(seed, *row)
    return {"title": "path_integral", "reads": reads, "quantum, floor, classical": rows}


def _variation(p: Floats, q: Floats) -> float:
    return float(0.5 * np.abs(p - q).sum())


def observations(kind: str, count: int, seed: int) -> NDArray[np.float32]:
    """One-hot symbols [count, 980] that a random policy sees; a new room every 25 steps, of which each fifth counts."""
    import gymnasium
    import minigrid  # noqa: F401 - it registers its environments

    env = gymnasium.make(kind)
    rng = np.random.default_rng(seed)
    seen: list[Any] = []
    while len(seen) < count:
        view = env.reset(seed=int(rng.integers(1 << 31)))[0]["image"]
        for step in range(25):
            if step % 5 == 0:
                seen.append(view)
            observation, _, terminated, truncated, _ = env.step(int(rng.integers(env.action_space.n)))  # type: ignore[attr-defined]
            if terminated or truncated:
                break
            view = observation["image"]
    env.close()
    views = np.array(seen[:count])
    hot = [np.eye(size, dtype=np.float32)[views[..., channel]] for channel, size in enumerate(KINDS)]
    flat: NDArray[np.float32] = np.concatenate(hot, -1).reshape(count, -1)
    return flat


def novelty(seeds: int, bits: int = 32, hidden: int = 16, train: int = 2000, test: int = 600) -> dict[str, Any]:
    """AUROC of every machine and control, by binarisation."""
    rows: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        known = observations(KNOWN, train, 3 * seed)
        same = observations(KNOWN, test, 3 * seed + 1)
        other = np.concatenate([observations(kind, test // len(OTHERS), 3 * seed + 2) for kind in OTHERS])
        for label, encoder in (
            (f"random projection, {bits} bits", RandomProjection(known.shape[1], bits, seed)),
            (f"learned, {bits} bits", LearnedCodes(known.shape[1], bits, seed)),
            ("learned, 8 bits", LearnedCodes(known.shape[1], 8, seed)),
        ):
            encoder.fit(known)
            codes = encoder.encode(known), encoder.encode(same), encoder.encode(other)
            for name, figures in scored(*codes, encoder.bits, hidden, seed).items():
                rows.setdefault(f"{label}: {name}", []).append(figures)
    shown = Table(
        f"novelty: trained on {KNOWN}; novel: {', '.join(OTHERS)}; {seeds} seeds",
        *("AUROC:16", "log-likelihood:20", "seconds:10.1f"),
        width=68,
    )
    for name, found in rows.items():
        area, likelihood = (interval([figures[column] for figures in found]) for column in (0, 1))
        shown.row(name, area, likelihood, np.mean([figures[2] for figures in found]))
    return {"title": "novelty", "seeds": seeds, "auroc, log-likelihood, seconds": rows}


def scored(known: Codes, same: Codes, other: Codes, bits: int, hidden: int, seed: int) -> dict[str, list[float]]:
    """AUROC, log-likelihood of codes of the same kind, and seconds of training, of each contestant."""
    figures: dict[str, list[float]] = {}
    for name, (machine, steps) in contestants(bits, hidden, seed).items():
        rng, begin = np.random.default_rng((seed, 1)), time.perf_counter()
        if isinstance(machine, IndependentBits):
            machine.fit(known)
        else:
            machine.train(known, steps, 0.05, rng)
            machine.train(known, steps, 0.01, rng)
        seconds = time.perf_counter() - begin
        area = auroc(machine.free_energy(same), machine.free_energy(other))
        figures[name] = [area, machine.log_likelihood(same, rng), seconds]
    for name, score in (("Hamming distance to 5 nearest", _nearest), ("count of the code", _rarity)):
        figures[name] = [auroc(score(same, known), score(other, known)), float("nan"), 0.0]
    return figures


def contestants(bits: int, hidden: int, seed: int) -> dict[str, tuple[Machine, int]]:
    """Machines, and half of the steps of their training."""
    rng = np.random.default_rng((seed, 2))
    made: dict[str, tuple[Machine, int]] = {
        f"semi-quantum RBM, {hidden} hidden": (SemiQuantumRbm(bits, hidden, rng), 500),
        f"RBM, {hidden} hidden": (Rbm(bits, hidden, rng), 500),
        f"RBM, {3 * hidden} hidden": (Rbm(bits, 3 * hidden, rng), 500),
        "independent bits": (IndependentBits(bits), 0),
    }
    if bits <= 10:
        made["transverse field, exact"] = (TransverseMachine(bits, 0, rng, gamma=GAMMA), 100)
        made["transverse field, gamma 1e-6"] = (TransverseMachine(bits, 0, rng, gamma=1e-6), 100)
    else:
        reader = PathIntegralReader(GAMMA, 64)
        made["transverse field, path integral"] = (TransverseMachine(bits, 0, rng, gamma=GAMMA, reader=reader), 100)
        still = PathIntegralReader(1e-6, 64)
        made["Boltzmann machine, gamma 1e-6"] = (TransverseMachine(bits, 0, rng, gamma=1e-6, reader=still), 100)
        mock = AnnealerReader("dwave:mock", 64)
        made["visible Boltzmann machine, dwave:mock"] = (TransverseMachine(bits, 0, rng, reader=mock), 20)
    return made


def _nearest(codes: Codes, known: Codes) -> Floats:
    return np.array([np.partition(hamming(known, code), 4)[:5].mean() for code in codes])


def _rarity(codes: Codes, known: Codes) -> Floats:
    values, counts = np.unique(known, return_counts=True)
    place = np.minimum(values.searchsorted(codes), values.size - 1)
    return -np.where(values[place] == codes, counts[place], 0).astype(np.float64)


def auroc(same: Floats, other: Floats) -> float:
    """Probability that the score of a novel one is the higher, ties counted half (Mann and Whitney)."""
    ranks = rankdata(np.concatenate([same, other]))
    return float((ranks[same.size :].sum() - other.size * (other.size + 1) / 2) / (same.size * other.size))


def interval(values: list[float]) -> str:
    """Mean and half the width of its 95 % t-interval."""
    if np.isnan(values).any():
        return ""
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{np.mean(values):.3f} +- {half:.3f}"


def main() -> None:
    """Print the tables."""
    given = parse(__doc__, TABLES, seeds=5)
    write(given, [table(name, given.seeds) for name in given.parts])


if __name__ == "__main__":
    main()
