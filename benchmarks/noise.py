"""Noise models against density matrices, and the router of two moons, trained clean and tested noisy.

    OMP_NUM_THREADS=1 python benchmarks/noise.py [kernel solvers moons aware] [--seeds 20] [--json PATH]

kernel: rows of a circuit layer, on average, against the exact density matrix: the largest gap in standard errors.
solvers: samples of QAOA and VQE on the noisy simulator, against the same.
moons: accuracy of routers by noise. `source` is the circuit of arXiv 2512.22296, under its two channels: depolarising
noise of p on each qubit after the encoding, and after the layers. `gates` is the same circuit under
`noise=depolarizing`, and `suite` that of `suite=router`, which encodes its inputs in each layer.
aware: the source's router, trained in the noise of the test.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Table, parse, write
from hybrid_opt import CircuitLayer, Qubo, make_solver
from hybrid_opt.backends.noise import noise_of
from hybrid_opt.circuits.encodings.angle import Angle
from hybrid_opt.circuits.qaoa import qaoa_program
from hybrid_opt.circuits.vqe import vqe_circuit
from tests.oracles.density_matrix import each_qubit, noisy_law
from worldmodel.cli.compose import configured
from worldmodel.compare.statistics import mean_interval
from worldmodel.compare.tasks.descent import Descent
from worldmodel.compare.tasks.losses import Task
from worldmodel.compare.tasks.parts import PARTED
from worldmodel.evaluate.sweep import Cell, breakdown, crossing
from worldmodel.fit.config import FitConfig
from worldmodel.launch import hardware
from worldmodel.model.routers.router import Router, shares

MODELS = ("depolarizing", "amplitude_damping", "phase_damping")
NOISES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
MOONS = ["task=moons", "optimizer=adam", "rate=0.05", "steps=480", "test_every=40", "model.experts=2"]
MOONS += ["model.front=none", "circuit.qubits=2", "circuit.layers=3"]
RUNS = 128  # random runs of a noisy circuit, whose mean is its expectation
CHANCE = 0.5  # accuracy of a random policy


class Once(Angle):
    """RX(x_q) on qubit q, in the first layer alone."""

    once, scaled = True, False


class Source(Router):
    """The router of the source: an encoding, three entangling layers, <Z> of two qubits, a linear map, softmax."""

    p = 0.0  # of both channels

    def __init__(self, inputs: int, experts: int) -> None:
        super().__init__()
        self.circuit = CircuitLayer(inputs, inputs, inputs, 3, encoding="benchmarks.noise:Once")
        self.out = nn.Linear(inputs, experts)

    def forward(self, x: Tensor) -> Tensor:
        return shares(self.out(self.means(x)))

    def means(self, x: Tensor) -> Tensor:
        """<Z>, exactly. A channel shrinks Bloch vectors by 1 - 4p/3. RX(x + pi) prepares the opposite of RX(x)."""
        if not self.p:
            exact: Tensor = self.circuit(x)
            return exact
        kept, means = 1 - 4 * self.p / 3, torch.zeros_like(x)
        for turned in np.ndindex(*[2] * x.shape[1]):
            chance = math.prod((1 - kept) / 2 if each else (1 + kept) / 2 for each in turned)
            means = means + chance * self.circuit(x + math.pi * torch.tensor(turned))
        return kept * means


class Averaged(nn.Module):
    """The mean of random runs of a circuit under the noise of its gates."""

    def __init__(self, layer: CircuitLayer, p: float) -> None:
        super().__init__()
        kind = "benchmarks.noise:Once" if not layer.encoding.scaled else "angle"
        given: dict[str, Any] = {"qubits": layer.qubits, "layers": layer.layers, "encoding": kind}
        self.layer = CircuitLayer(layer.inputs, **given, noise={"name": "depolarizing", "p": p})
        self.layer.load_state_dict(layer.state_dict())
        self.layer.generator = torch.Generator().manual_seed(0)
        self.encoding = layer.encoding

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = self.layer(x.repeat(RUNS, 1)).view(RUNS, *x.shape).mean(0)
        return mean


def kernel(p: float, rows: int = 20000) -> dict[str, Any]:
    """Gaps of a layer's outputs, in standard errors of the mean over rows, and the largest gap itself."""
    table = Table(f"rows of a circuit layer against the density matrix, p={p:g}", *COLUMNS, label="noise", width=20)
    figures = {}
    for name in MODELS:
        gaps, errors = [], []
        for seed in range(5):
            torch.manual_seed(seed)
            layer = CircuitLayer(3, None, 3, 3, observables="probabilities", noise={"name": name, "p": p})
            x = torch.randn(3)
            with torch.no_grad():
                y = layer(x.expand(rows, -1)).double()
            law = torch.tensor(noisy_law(layer.circuit(x), p if name == "depolarizing" else each_qubit(KRAUS[name], p)))
            gaps.append((y.mean(0) - law).abs())
            errors.append(y.std(0) / rows**0.5)
        gap, error = torch.stack(gaps), torch.stack(errors)
        rms = float((gap / error).square().mean().sqrt())
        table.row(name, float(gap.max()), float(error.max()), rms, float((gap / error).max()))
        figures[name] = {"gap": float(gap.max()), "error": float(error.max()), "rms": rms}
    return figures


COLUMNS = ("gap:>10.5f", "1 s.e.:>10.5f", "rms of s.e.:>13.2f", "most s.e.:>11.2f")


def _twirled(p: float) -> list[Any]:
    z, x, y = (1 - np.sqrt(1 - p)) ** 2 / 4, np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]])
    flips = [np.sqrt(p / 4) * x, np.sqrt(p / 4) * y, np.sqrt(z) * np.diag([1, -1])]
    return [np.sqrt(1 - p / 2 - z) * np.eye(2), *flips]


KRAUS: dict[str, Any] = {
    "amplitude_damping": _twirled,
    "phase_damping": lambda p: [np.diag([1, np.sqrt(1 - p)]), np.diag([0, np.sqrt(p)])],
}


def solvers(p: float, shots: int = 50000) -> dict[str, Any]:
    """Samples of the trained circuits against the density matrix: chi-square over its degrees of freedom."""
    columns = ("chi2 / dof:>12.2f", "clean:>12.2f", "gap:>10.5f", "energy:>10.3f", "clean:>10.3f")
    table = Table(f"samples of solvers against the density matrix, p={p:g}", *columns, label="solver", width=30)
    qubo, figures = Qubo(np.random.default_rng(2).normal(size=(5, 5))), {}
    for name, options in (("qaoa", {"layers": 2}), ("vqe", {"layers": 2, "steps": 20})):
        for model in MODELS:
            given = {"shots": shots, **options}
            solution = make_solver(name, noise={"name": model, "p": p}, **given).solve(qubo, 1)
            assert solution.angles is not None
            if name == "qaoa":
                circuit, values = qaoa_program([qubo.clipped().centred()], solution.angles[:1], solution.angles[1:])
                circuit = circuit.assign_parameters(values[0])
            else:
                circuit = vqe_circuit(5, 2).assign_parameters(solution.angles.ravel())
            kraus = {**KRAUS, "amplitude_damping": _amplitude}
            law = noisy_law(circuit, p if model == "depolarizing" else each_qubit(kraus[model], p))
            clean, states = noisy_law(circuit, 0.0), solution.samples.astype(int) @ (1 << np.arange(5))
            found = np.bincount(states, minlength=32)
            chi, against = (
                float(((found - shots * each) ** 2 / np.maximum(shots * each, 1e-9)).sum() / 31)
                for each in (law, clean)
            )
            every = ((np.arange(32)[:, None] >> np.arange(5)) & 1).astype(np.int8)
            row = {"chi2": chi, "chi2_clean": against, "gap": float(np.abs(found / shots - law).max())}
            row |= {"energy": float(solution.energies.mean()), "energy_clean": float(clean @ qubo.energy(every))}
            table.row(f"{name}, {model}", *row.values())
            figures[f"{name} {model}"] = row
    return figures


def _amplitude(p: float) -> list[Any]:
    return [np.diag([1, np.sqrt(1 - p)]), np.array([[0, np.sqrt(p)], [0, 0]])]


def trained(seed: int, router: str, p: float = 0.0) -> Task:
    """Two moons, learned as `suite=router` does. p: of both channels of the source's router, in training."""
    config = configured("fit", FitConfig, [*MOONS, f"model.router={router}"])
    task = PARTED["moons"](seed, config.parts, config.units)
    model: Any = task.model
    model.router.p = p
    Descent(task, seed, torch.optim.Adam(list(task.parameters.items()), lr=config.rate)).until(
        config.steps, every=10**9
    )
    return task


def moons(seeds: int) -> dict[str, Any]:
    """Accuracy of each router at each noise."""
    scores: dict[str, dict[float, list[float]]] = {
        name: {p: [] for p in NOISES} for name in ("source", "gates", "suite", "linear")
    }
    for seed in range(seeds):
        task = trained(seed, "benchmarks.noise:Source")
        router: Any = task.model.router
        own = router.circuit
        for p in NOISES:
            router.p = p
            scores["source"][p].append(1 - task.test())
        router.p = 0.0
        for p in NOISES:
            router.circuit = Averaged(own, p) if p else own
            scores["gates"][p].append(1 - task.test())
        task = trained(seed, "circuit")
        model: Any = task.model
        angles = model.router.head.angles
        own = angles.body
        for p in NOISES:
            angles.body = Averaged(own, p) if p else own
            scores["suite"][p].append(1 - task.test())
        linear = 1 - trained(seed, "linear").test()
        for p in NOISES:
            scores["linear"][p].append(linear)
    return told("two moons, trained clean, tested noisy", scores, scores["linear"][0.0])


def aware(seeds: int) -> dict[str, Any]:
    """Accuracy of the source's router, trained and tested at the same noise."""
    found: dict[float, list[float]] = {p: [] for p in NOISES}
    for p in NOISES:
        for seed in range(seeds):
            found[p].append(1 - trained(seed, "benchmarks.noise:Source", p).test())
    return told("two moons, trained noisy, tested noisy", {"source": found}, None)


def told(title: str, scores: dict[str, dict[float, list[float]]], control: list[float] | None) -> dict[str, Any]:
    """The table of accuracies, with the breakdown and the crossing with the control."""
    columns = [f"{p:g}:>8.3f" for p in NOISES]
    table = Table(title, *columns, "breakdown:>11", "crossing:>10", label="p", width=10)
    figures = {}
    for name, by_noise in scores.items():
        cells = [Cell(p, None, tuple(found)) for p, found in by_noise.items()]
        found = [cell.interval for cell in cells]
        broken = None if name == "linear" else breakdown(cells, CHANCE, found[0].value)
        met = None if control is None or name == "linear" else crossing(cells, float(np.mean(control)))
        last = ["none" if value is None else f"{value:.3g}" for value in (broken, met)]
        table.row(name, *(each.value for each in found), *last)
        halves = [(each.high - each.low) / 2 for each in found]
        table.row("  +-", *halves, "", "")
        figures[name] = {
            "accuracy": {p: mean_interval({"": values})._asdict() for p, values in by_noise.items()},
            "breakdown": broken,
            "crossing": met,
        }
    return figures


def main() -> None:
    """Run the parts that are asked for."""
    options = parse(__doc__, ("kernel", "solvers", "moons", "aware"), label="PART", seeds=20, p=0.05)
    hardware.set_threads(1)
    assert noise_of("depolarizing") is not None
    figures: dict[str, Any] = {}
    for part in options.parts:
        of_noise = {"kernel": kernel, "solvers": solvers}
        figures[part] = (
            of_noise[part](options.p) if part in of_noise else {"moons": moons, "aware": aware}[part](options.seeds)
        )
    write(options, figures)


if __name__ == "__main__":
    main()
