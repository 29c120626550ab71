"""The variational eigensolver: the RY-CZ ansatz, trained to put its best samples low."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass as plain
from dataclasses import field
from functools import cached_property
from threading import Event
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.circuits.vqe import vqe_circuit
from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.effect import refuse_idle
from hybrid_opt.errors import Cancelled, ProblemError
from hybrid_opt.problem.quadratic import Bits, Floats
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simd.threads import processors
from hybrid_opt.solvers.running import origin, run, share
from hybrid_opt.solvers.solver import Origin, Solution, Solver
from hybrid_opt.solvers.variational import finish

T = TypeVar("T")

LARGEST = 24  # qubits that are simulated
THREADED = 1 << 18  # amplitudes in all, from which more than one thread works
NOISE = 0.1  # standard deviation of the first angles around those of the uniform superposition
GAIN, WIDTH, DAMPING = 0.1, 0.6, 0.1  # SPSA: first step, first difference (both in radians), steps until it slows down


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class VqeConfig:
    """Variational eigensolver with the RY-CZ ansatz, up to 24 variables.

    training=spsa takes two circuits of `training_shots` a step; training=adjoint is L-BFGS with at most `steps`
    evaluations, before a backend draws the samples.
    """

    layers: NonNegativeInt = 1
    """of CZ, each followed by RY"""
    entangle: bool = True
    """false: the product-state twin"""
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.1
    """part of the samples whose mean energy is minimised (CVaR)"""
    shots: PositiveInt = 1024
    """of the trained circuit"""
    training: Literal["spsa", "adjoint"] = "spsa"
    """spsa (under shots) or adjoint (exact gradients in simulation)"""
    steps: PositiveInt = 100
    """of the training"""
    training_shots: PositiveInt = 64
    """of each circuit of the training"""
    parameters: Literal["trained", "random"] = "trained"
    """random: the control whose angles are not trained"""
    penalty: PositiveFloat | Literal["auto"] = "auto"
    """weight of broken constraints; auto: see Qubo.penalised"""
    descent: bool = False
    """repair the samples and descend from them"""
    shuffle: bool = False
    """true: the control on the shuffled problem"""

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        trained = self.parameters == "trained"
        refuse_idle(self, "alpha training steps training_shots", not trained, "parameters=trained")
        refuse_idle(self, "training_shots", self.training != "spsa", "training=spsa")
        refuse_idle(self, "entangle", not self.layers, "layers from 1")
        return self


@plain
class _Problem:
    """A Qubo on its way: what is asked of the circuits, its angles, what it did cost, all training samples."""

    qubo: Qubo
    asked: Qubo
    rng: np.random.Generator
    angles: Floats
    training: Cost = field(default_factory=Cost)
    seen: list[Bits] = field(default_factory=list)


class Vqe(Solver):
    """Minimises the CVaR of the energy over the angles of the RY-CZ ansatz (Barkoutsos et al. 2020).

    The best state is the best of all shots, those of the training included; `samples` are those of the trained
    circuit. Under SPSA (Spall 1998) every shot of the training counts as one and as an evaluation of the energy.
    Adjoint training takes no shots, but the energies of all 2^n states, which are counted: it shows what the ansatz can
    do, not what it would cost. Without a backend the real amplitudes are simulated, up to 24 qubits.

    angles: float64 [layers + 1, n]. Constraints become penalties, so samples may be infeasible.
    """

    name = "vqe"
    Config = VqeConfig
    runs_on = "circuits"

    def check(self, qubo: Qubo) -> None:
        trained_here = self.config.training == "adjoint" and self.config.parameters == "trained"
        if qubo.n > LARGEST and (self.backend is None or trained_here):
            from hybrid_opt.simulator.ansatz import memory

            raise ProblemError(
                f"solver={self.name}: {qubo.n} qubits need {memory(qubo.n):,} bytes to simulate; "
                f"up to {LARGEST} are accepted"
            )

    def _solve(self, qubos: Sequence[Qubo], seed: int, key: str, stop: Event) -> list[Solution]:
        problems = [self._problem(qubo, np.random.default_rng((seed, number))) for number, qubo in enumerate(qubos)]
        solutions: dict[int, Solution] = {}
        for n in sorted({qubo.n for qubo in qubos}):  # of equal size: in one program
            numbers = [number for number, qubo in enumerate(qubos) if qubo.n == n]
            same = [problems[number] for number in numbers]
            draw = _Draw(self, n, f"{key}-{n}", seed, stop)
            if self.config.parameters == "trained":
                (self._spsa if self.config.training == "spsa" else self._adjoint)(same, draw)
            samples, costs = draw(np.array([problem.angles for problem in same]), self.config.shots, same)
            for number, problem, bits, cost in zip(numbers, same, samples, costs, strict=True):
                solutions[number] = self._finish(problem, bits, cost, draw)
        return [solutions[number] for number in range(len(qubos))]

    def _problem(self, qubo: Qubo, rng: np.random.Generator) -> _Problem:
        asked = self._asked(qubo, rng)
        asked = (asked.penalised(self.config.penalty) if asked.constrained else asked).centred()
        shape = (self.config.layers + 1, qubo.n)
        if self.config.parameters == "random":
            return _Problem(qubo, asked, rng, rng.uniform(-np.pi, np.pi, shape))
        angles = rng.normal(0.0, NOISE, shape)
        angles[-1] += np.pi / 2
        return _Problem(qubo, asked, rng, angles)

    def _spsa(self, problems: list[_Problem], draw: "_Draw") -> None:
        """Simultaneous perturbation: all problems take their steps together, two circuits each."""
        shots, steps = self.config.training_shots, self.config.steps
        scale = np.array([_spread(problem.asked) for problem in problems])
        angles = np.array([problem.angles for problem in problems])  # [B, layers + 1, n]
        for step in range(steps):
            gain = GAIN * ((1 + DAMPING * steps) / (1 + DAMPING * steps + step)) ** 0.602
            width = WIDTH / (1 + step) ** 0.101
            signs = np.array([problem.rng.choice([-1.0, 1.0], angles.shape[1:]) for problem in problems])
            sets = np.concatenate([angles + width * signs, angles - width * signs])
            samples, costs = draw(sets, shots, problems + problems)
            values = np.empty(len(sets))
            for place, (problem, bits, cost) in enumerate(zip(problems + problems, samples, costs, strict=True)):
                problem.seen.append(bits)
                problem.training += cost
                values[place] = _sample_cvar(problem.asked.energy(bits), self.config.alpha)
            slopes = (values[: len(problems)] - values[len(problems) :]) / (2 * width * scale)
            angles -= gain * slopes[:, None, None] * signs
        for problem, trained in zip(problems, angles, strict=True):
            problem.angles = trained

    def _adjoint(self, problems: list[_Problem], draw: "_Draw") -> None:
        """L-BFGS on the exact CVaR of each problem."""
        from scipy.optimize import minimize

        from hybrid_opt.simulator.ansatz import cvar_gradient, ranked

        def train(problem: _Problem) -> None:
            scale, shape = _spread(problem.asked), problem.angles.shape
            energies = problem.asked.diagonal()
            ranking = ranked((energies - energies.mean()) / scale)  # tolerances are relative to values

            def objective(flat: Floats) -> tuple[float, Floats]:
                draw.check()
                value, gradient = cvar_gradient(flat.reshape(shape), draw.sign, ranking, self.config.alpha)
                return value, gradient.ravel()

            options = {"maxfun": self.config.steps, "maxiter": self.config.steps}
            best = minimize(objective, problem.angles.ravel(), jac=True, method="L-BFGS-B", options=options)
            problem.angles = best.x.reshape(shape)
            problem.training += Cost(circuits=int(best.nfev), evaluations=1 << problem.qubo.n)

        draw.together(train, problems)

    def _finish(self, problem: _Problem, samples: Bits, cost: Cost, draw: "_Draw") -> Solution:
        return finish(
            problem.qubo,
            samples,
            problem.seen,
            SolverCost(problem.training, cost),
            descent=problem.rng if self.config.descent else None,
            angles=problem.angles,
            origin=draw.origin(),
            about=draw.about,
        )


class _Draw:
    """Samples of the ansatz with n qubits at many angles: simulated, a thread for each, or one program of a backend."""

    def __init__(self, solver: Vqe, n: int, key: str, seed: int, stop: Event) -> None:
        self.config, self.backend, self.n, self.key, self.seed, self.stop = (
            solver.config,
            solver.backend,
            n,
            key,
            seed,
            stop,
        )
        self.noise, self.results = solver.noise, list[Result]()

    @cached_property
    def sign(self) -> Any:
        """The diagonal of the CZ gates."""
        from hybrid_opt.simulator.ansatz import signs

        return signs(self.n, self.config.entangle)

    @cached_property
    def circuit(self) -> Any:
        return vqe_circuit(self.n, self.config.layers, self.config.entangle)

    @property
    def about(self) -> dict[str, Any]:
        return dict(self.results[-1].about) if self.results else {}

    def origin(self) -> Origin:
        return origin(self.results)

    def check(self) -> None:
        """Raise Cancelled once the job is cancelled."""
        if self.stop.is_set():
            raise Cancelled(f"job {self.key} was cancelled")

    def together(self, work: Callable[[Any], T], parts: Sequence[Any]) -> list[T]:
        """work(part) of each, on all processors where it is worth their while."""
        if len(parts) == 1 or len(parts) << self.n < THREADED:
            return [work(part) for part in parts]
        with ThreadPoolExecutor(min(len(parts), processors())) as pool:
            return list(pool.map(work, parts))

    def __call__(self, angles: Floats, shots: int, problems: list[_Problem]) -> tuple[Sequence[Bits], list[Cost]]:
        """Samples uint8 [shots, n] at each of angles [P, layers + 1, n], drawn with its problem's rng, and costs."""
        self.check()
        if self.backend is None:
            from hybrid_opt.simulator.ansatz import state

            uniform = [problem.rng.random(shots) for problem in problems]
            samples = self.together(
                lambda part: _inverse(state(part[0], self.sign), part[1]), list(zip(angles, uniform, strict=True))
            )
            return samples, [Cost(shots=shots, circuits=1, evaluations=shots)] * len(problems)
        program = CircuitProgram(self.circuit, angles.reshape(len(angles), -1), shots, noise=self.noise)
        number = len(self.results)
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0] >> 1)
        self.results.append(run(self.backend, program, f"{self.key}-{number}", seed, self.stop))
        cost = self.results[-1].cost
        drawn = Cost(evaluations=shots)
        return self.results[-1].samples, [share(cost, len(angles), part) + drawn for part in range(len(angles))]


def _inverse(psi: Floats, uniform: Floats) -> Bits:
    """Samples of the state psi [2^n] by inverse sampling, uint8 [shots, n]."""
    law = np.cumsum(psi * psi)
    states = law.searchsorted(uniform * law[-1], side="right").clip(max=len(psi) - 1)
    bits: Bits = ((states[:, None] >> np.arange(len(psi).bit_length() - 1)) & 1).astype(np.uint8)
    return bits


def _sample_cvar(energies: Floats, alpha: float) -> float:
    """The mean of the lowest part alpha of the samples, at least of one."""
    count = int(np.ceil(alpha * len(energies)))
    return float(np.partition(energies, count - 1)[:count].mean())


def _spread(qubo: Qubo) -> float:
    """The standard deviation of the energy over all states; 1 where they are all equal."""
    fields, couplings, _ = qubo.to_ising()
    return float(np.sqrt((fields**2).sum() + (couplings**2).sum())) or 1.0
