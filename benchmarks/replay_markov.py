"""Mixing of chains over latent codes: `python benchmarks/replay_markov.py [ENERGIES ...] [--run LOGDIR] [--json PATH]`.

The spectral gap of Metropolis chains with quantum, local and uniform proposals, by exact diagonalisation, on n = 4..8
bits, and the k of gap ~ 2^(-k n) fitted to the mean gap of the instances (Layden et al. 2023, arXiv 2203.12497), with
a 95 % bootstrap interval over instances. Energies:

cartpole, minigrid: an Ising machine, fitted by maximum likelihood (l2 = 0.01) to codes of observations of a random
policy, by random projections about their medians. run: the same with the deterministic latents in the replay of a run.
Each is listed as it was fitted, so that temperature 1 is the codes' own law, and at "unit couplings": divided by the
root mean square of its coefficients, so that temperatures are those of the paper. glass: normal couplings and fields.
shuffled: energies of such glasses, in random places. An instance is a seed of data, of projections, or of coefficients.
A proposal does not depend on the temperature.

Then the steps that an independent draw takes in equilibrium (integrated autocorrelation time of the energy, n = 8), in
steps and in evaluations of the law. Quantum evolution is Trotterised as in the selector, or exact; g and t are
averaged over 4 x 8 midpoints of their ranges.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Option, Table, middle, parse, write
from quantum_sampler.chains.autocorrelation import integrated_time
from quantum_sampler.chains.flip_proposals import LocalProposal, UniformProposal
from quantum_sampler.chains.ising_fit import Ising, fit_ising
from quantum_sampler.chains.quantum_proposal import QuantumProposal
from quantum_sampler.chains.tempering import Tempering
from quantum_sampler.codes.projection import RandomProjection
from quantum_sampler.selector import Floats
from tests.oracles.chains import exact_mean_matrix, exact_time, spectral_gap, transition_matrix

SIZES = range(4, 9)
POINTS = (4, 8)  # of g and of t
TEMPERATURES = (1.0, 0.5, 0.25)
STEPS = 2000  # of 16 tempering chains, for their autocorrelation
KINDS: dict[str, Callable[[Floats], Floats]] = {
    "quantum": lambda energies: QuantumProposal(energies).mean_matrix(*POINTS),
    "quantum, exact": lambda energies: exact_mean_matrix(energies, points=POINTS),
    "local": lambda energies: LocalProposal(energies.size.bit_length() - 1).mean_matrix(),
    "uniform": lambda energies: UniformProposal(energies.size.bit_length() - 1).mean_matrix(),
}
ENVIRONMENTS = {"cartpole": "CartPole-v1", "minigrid": "MiniGrid-DoorKey-5x5-v0"}
TABLES = ("cartpole", "minigrid", "glass", "shuffled")


def observations(name: str, steps: int, seed: int) -> Floats:
    """Observations of a random policy, flat, float64 [steps, F], standardised; constant ones are left out."""
    import gymnasium

    if name == "minigrid":
        import minigrid  # noqa: F401

    environment: Any = gymnasium.make(ENVIRONMENTS[name])
    rng = np.random.default_rng(seed)
    found = []
    done = True
    for _ in range(steps):
        if done:
            seen, _ = environment.reset(seed=int(rng.integers(2**31)))
        else:
            seen, _, terminated, truncated, _ = environment.step(int(rng.integers(environment.action_space.n)))
        done = False if done else terminated or truncated
        found.append(np.asarray(seen["image"] if isinstance(seen, dict) else seen, np.float64).ravel())
    return standardised(np.array(found))


def standardised(features: Floats) -> Floats:
    """Columns that vary, with mean 0 and variance 1."""
    spread = features.std(0)
    return np.asarray((features[:, spread > 0] - features.mean(0)[spread > 0]) / spread[spread > 0])


def latents(logdir: Path) -> Floats:
    """Deterministic latents in the replay of the newest checkpoint of a run, standardised, float64 [N, F]."""
    files = sorted(logdir.glob("checkpoints/step-*/latents.npz"))
    if not files:
        raise SystemExit(f"--run {logdir}: no checkpoints/step-*/latents.npz are there")
    with np.load(files[-1]) as stored:
        parts = [stored[key] for key in stored.files if key.endswith("/deter")]
    words = np.concatenate(parts)
    if words.dtype == np.int16:  # the upper halves of float32
        words = (words.astype(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return standardised(words.astype(np.float64))


def fitted(features: Floats, bits: int, seed: int) -> Ising:
    """The machine of the codes of features."""
    projection = RandomProjection(features.shape[1], bits, seed)
    projection.fit(features)
    counts = np.bincount(projection.encode(features).astype(np.int64), minlength=1 << bits)
    return fit_ising(counts.astype(np.float64), 0.01)


def glass(bits: int, seed: int) -> Ising:
    """Normal couplings and fields."""
    rng = np.random.default_rng((bits, seed))
    return Ising(rng.normal(size=bits), np.triu(rng.normal(size=(bits, bits)), 1))


def unit(machine: Ising) -> Ising:
    """The machine with coefficients of root mean square 1."""
    upper = machine.couplings[np.triu_indices(machine.h.size, 1)]
    scale = float(np.sqrt(np.mean(np.concatenate([machine.h, upper]) ** 2)))
    return Ising(machine.h / scale, machine.couplings / scale)


def gaps(energies: Callable[[int, int], Floats], seeds: int) -> dict[str, Floats]:
    """Spectral gaps [temperatures, sizes, seeds] of each kind of chain; energies(bits, seed) [2^bits]."""
    found: dict[str, Floats] = {kind: np.empty((len(TEMPERATURES), len(SIZES), seeds)) for kind in KINDS}
    for row, bits in enumerate(SIZES):
        for seed in range(seeds):
            instance = energies(bits, seed)
            for kind, matrix in KINDS.items():
                proposal = matrix(instance)
                found[kind][:, row, seed] = [spectral_gap(proposal, -instance / t) for t in TEMPERATURES]
    return found


def exponent(found: Floats) -> tuple[float, float, float]:
    """k of the mean gap ~ 2^(-k n), and a 95 % interval from 1,000 resamplings of the instances."""

    def slope(sample: Floats) -> float:
        return float(-np.polyfit(list(SIZES), np.log2(sample.mean(1)), 1)[0])

    rng = np.random.default_rng(0)
    ways = rng.integers(found.shape[1], size=(1000, len(SIZES), found.shape[1]))
    resampled = [slope(np.take_along_axis(found, way, 1)) for way in ways]
    low, high = middle(resampled)
    return slope(found), low, high


def table(name: str, energies: Callable[[int, int], Floats], seeds: int) -> dict[str, Any]:
    """The gaps of one family of energies, printed."""
    found = gaps(energies, seeds)
    rows: dict[str, Any] = {}
    for place, temperature in enumerate(TEMPERATURES):
        shown = Table(
            f"{name}, temperature {temperature:g}, {seeds} instances of each n",
            *("k:8.3f", "95 %:16", "k of median:14.3f", f"mean gap, n = {SIZES[0]}..{SIZES[-1]}:42"),
        )
        for kind in KINDS:
            values = found[kind][place]
            k, low, high = exponent(values)
            median = float(-np.polyfit(list(SIZES), np.log2(np.median(values, axis=1)), 1)[0])
            row = {"k": k, "interval": [low, high], "median": median, "gaps": values.tolist()}
            rows[f"{kind}, {temperature:g}"] = row
            means = " ".join(f"{mean:.2g}" for mean in values.mean(1))
            shown.row(kind, k, f"{low:.2f}..{high:.2f}", median, means)
    return {"energies": name, "seeds": seeds, "kinds": rows}


def times(name: str, energies: Callable[[int, int], Floats], seeds: int, bits: int = 8) -> dict[str, Any]:
    """Median steps, and evaluations of the law, for an independent energy in equilibrium. Printed."""
    found: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "tempering")}
    replicas = 8
    for seed in range(seeds):
        instance = energies(bits, seed)
        law = np.exp(-(instance - instance.min()))
        law /= law.sum()
        for kind, matrix in KINDS.items():
            found[kind].append(exact_time(transition_matrix(matrix(instance), -instance), law, instance))
        rng = np.random.default_rng(seed)
        start = rng.choice(law.size, (replicas, 16), p=law)
        chain = Tempering(-instance, replicas)
        trace = chain.run(chain.run(start, 200, rng).last, STEPS, rng)
        found["tempering"].append(integrated_time(instance[trace.visited]))
    title = f"{name}, n = {bits}: median autocorrelation time of the energy"
    shown = Table(title, "steps:10.1f", "evaluations:14.1f")
    rows = {}
    for kind, values in found.items():
        steps = float(np.median(values))
        rows[kind] = {"steps": steps, "evaluations": steps * (replicas if kind == "tempering" else 1)}
        shown.row(kind, *rows[kind].values())
    return {"energies": name, "times": rows}


def families(name: str, steps: int, seeds: int, run: Path | None) -> dict[str, Callable[[int, int], Floats]]:
    """Energies by label: functions of bits and seed."""
    if name == "glass":
        return {"glass": lambda bits, seed: glass(bits, seed).energies()}
    if name == "shuffled":
        return {
            "shuffled": lambda bits, seed: np.random.default_rng((7, bits, seed)).permutation(
                glass(bits, seed).energies()
            )
        }
    data = (
        [latents(run)] if name == "run" and run else [observations(name, steps, seed) for seed in range(min(seeds, 8))]
    )
    return {
        f"{name}, as fitted": lambda bits, seed: fitted(data[seed % len(data)], bits, seed).energies(),
        f"{name}, unit couplings": lambda bits, seed: unit(fitted(data[seed % len(data)], bits, seed)).energies(),
    }


def main() -> None:
    """Print the tables."""
    given = parse(
        __doc__,
        [*TABLES, "run"],
        TABLES,
        label="ENERGIES",
        seeds=40,
        steps=(4000, "observations of each run of a random policy"),
        run=Option(help="a run whose replay gives the latents", kind=Path),
    )
    if given.run and given.parts == list(TABLES):
        given.parts.append("run")
    if "run" in given.parts and not given.run:
        raise SystemExit("energies run: --run LOGDIR says of which")
    tables = []
    for name in given.parts:
        for label, energies in families(name, given.steps, given.seeds, given.run).items():
            tables.append(table(label, energies, given.seeds) | times(label, energies, min(10, given.seeds)))
    write(given, {"points": POINTS, "tables": tables})


if __name__ == "__main__":
    main()
