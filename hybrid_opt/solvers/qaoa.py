"""The quantum approximate optimisation algorithm."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass as plain
from dataclasses import field, replace
from threading import Event
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from hybrid_opt.backends.backend import CircuitProgram, Result
from hybrid_opt.circuits.qaoa import qaoa_program
from hybrid_opt.circuits.schedules.adaptation import Adaptation
from hybrid_opt.circuits.schedules.learned import learned
from hybrid_opt.circuits.schedules.optimised import Method, optimised
from hybrid_opt.circuits.schedules.schedule import SCHEDULES, Schedule, ScheduleName
from hybrid_opt.cost import Cost, SolverCost
from hybrid_opt.effect import refuse_idle
from hybrid_opt.errors import Cancelled, ProblemError
from hybrid_opt.problem.enumeration import LARGEST
from hybrid_opt.problem.quadratic import Bits, Floats
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.mixers import Mixer, MixerName, mixer_of, unentangled
from hybrid_opt.simulator.qaoa import Precision, QaoaSimulator, check_memory
from hybrid_opt.solvers.local_search import descend
from hybrid_opt.solvers.running import origin, run, share
from hybrid_opt.solvers.solver import Solution, Solver
from hybrid_opt.solvers.variational import finish

ALONE = 18  # up to so many qubits' worth of states, problems are solved side by side, one thread each


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, arbitrary_types_allowed=True))
class QaoaConfig:
    """Quantum approximate optimisation algorithm.

    angles may be a callable with the contract of `hybrid_opt.circuits.schedules`; `adapt` is described in
    `hybrid_opt.circuits.schedules.adaptation`, `mixer` in `mixer_of`.
    """

    layers: PositiveInt = 4
    """of phase and mixer"""
    shots: PositiveInt = 1024
    """of the final circuit"""
    angles: ScheduleName | Callable[..., Any] = "optimised"
    """schedule: fixed, ramp, transferred, optimised or learned"""
    policy: str | None = None
    """of angles=learned: a policy file of worldmodel.tune; null: the one that ships"""
    adapt: bool = False
    """of angles=learned: go on learning the first guess from the problems that are met, in simulation"""
    optimizer: Method = "adjoint"
    """of angles=optimised: adjoint (gradients in simulation), cobyla or spsa (under shots)"""
    evaluations: NonNegativeInt = 20
    """most evaluations of a schedule"""
    training_shots: PositiveInt = 128
    """of each evaluation by cobyla or spsa"""
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.25
    """part of the samples whose mean energy is minimised (CVaR); 1: all"""
    mixer: MixerName = "auto"
    """x (free problems), xy, ring (xy between neighbours), or auto: x or xy, whichever keeps the constraints"""
    penalty: PositiveFloat | Literal["auto"] = "auto"
    """weight of broken constraints; auto: see Qubo.penalised"""
    warm_start: Literal["none", "greedy"] | tuple[float, ...] = "none"
    """none, greedy (a random state's descent), or bits or probabilities to start from"""
    rounding: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    """keeps the start of warm_start off 0 and 1"""
    entangle: bool = True
    """false: the control without couplings in the phases"""
    parameters: Literal["trained", "random"] = "trained"
    """random: the control whose angles are drawn anew for every problem and never trained"""
    shuffle: bool = False
    """true: the control on the shuffled problem"""
    descent: bool = False
    """repair the samples and descend from them"""
    precision: Precision = "complex64"
    """of simulation: complex64 or complex128"""
    device: str = "cpu"
    """of simulation: cpu or cuda"""
    threads: PositiveInt | None = None
    """of simulation; null: those of the process"""

    @field_validator("adapt")
    @classmethod
    def _learns(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("angles") != "learned":
            raise ValueError("true is accepted with angles=learned")
        return value

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        trained = self.parameters == "trained"
        searched = trained and (callable(self.angles) or self.angles in ("optimised", "learned"))
        asks = searched and (callable(self.angles) or self.evaluations > 0)  # evaluations of the circuit
        schedule = "parameters=trained and angles=optimised, learned or a callable"
        refuse_idle(self, "angles", not trained, "parameters=trained")
        refuse_idle(self, "policy", self.angles != "learned", "angles=learned")
        refuse_idle(self, "evaluations", not searched, schedule)
        refuse_idle(self, "optimizer", not asks, f"{schedule}, and evaluations")
        refuse_idle(self, "alpha", not (asks or self.adapt), f"{schedule}, and evaluations")
        refuse_idle(self, "training_shots", not asks or self.optimizer == "adjoint", "optimizer=cobyla or spsa")
        refuse_idle(self, "rounding", self.warm_start == "none", "warm_start")
        refuse_idle(self, "penalty", self.mixer != "x", "mixer=x")
        return self


@plain
class _Problem:
    """A Qubo on its way: what is asked of the circuit (without an offset), what it did cost, all training samples."""

    qubo: Qubo
    asked: Qubo
    mixer: Mixer
    rng: np.random.Generator
    training: Cost = field(default_factory=Cost)
    seen: list[Bits] = field(default_factory=list)
    angles: Floats = field(default_factory=lambda: np.zeros((2, 0)))
    results: list[Result] = field(default_factory=list)
    simulator: QaoaSimulator | None = None


class Qaoa(Solver):
    """QAOA (Farhi et al. 2014) with the mixers of the alternating operator ansatz (Hadfield et al. 2019).

    angles: float64 [2, layers], gammas and betas; a layer is exp(i beta mixer) exp(-i gamma (C - mean) / std).
    One-hot blocks and cardinalities are kept by the mixer, so that all samples are feasible but for a backend's noise.

    Without a backend all feasible states are simulated, up to 2^24 of them and of what memory holds. With one, angles
    are still trained in simulation unless optimizer is cobyla or spsa or the schedule needs no training; the problems
    of a call that agree in their constraints are then sampled in one program.

    Cost: adjoint training counts one circuit for each value with its gradient, and the energies of all states as
    evaluations: it shows what the circuit can do, not what it would cost. Under shots, each shot is an evaluation.
    The best state is the best of all shots, those of the training included; `samples` are those of the final circuit.
    """

    name = "qaoa"
    Config = QaoaConfig
    runs_on = "circuits"

    def __init__(self, config: QaoaConfig, **where: Any) -> None:
        super().__init__(config, **where)
        self.adaptation: Adaptation | None = None
        if config.adapt:
            self.adaptation = Adaptation(learned(config.policy).policy, config.layers, config.alpha)

    def _check_options(self, here: bool) -> None:
        simulated = here or self._simulates
        refuse_idle(self.config, "precision device threads", not simulated, "training in simulation", "solver.")

    def metrics(self) -> dict[str, float]:
        """Those of the adaptation."""
        return self.adaptation.metrics() if self.adaptation is not None else {}

    def state_dict(self) -> dict[str, Any]:
        """That of the adaptation."""
        return self.adaptation.state_dict() if self.adaptation is not None else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""
        if self.adaptation is not None and state:
            self.adaptation.load_state_dict(state)

    def check(self, qubo: Qubo) -> None:
        config = self.config
        if config.angles == "learned":
            learned(config.policy)
        if not config.entangle:
            unentangled(self._penalised(qubo))
        if isinstance(config.warm_start, tuple) and len(config.warm_start) != qubo.n:
            raise ProblemError(f"solver.warm_start: {len(config.warm_start)} values; {qubo.n} are accepted")
        warm = np.full(qubo.n, 0.5) if config.warm_start != "none" else None
        mixer = mixer_of(self._penalised(qubo), config.mixer, warm, config.rounding)
        if self.backend is None or self._simulates or mixer.ones is not None:
            size = self._penalised(qubo).feasible_space().size
            if size > LARGEST:
                other = "" if self.backend is None else "; optimizer=cobyla or spsa, or a schedule without training"
                raise ProblemError(
                    f"solver={self.name}: {size:,} feasible states; up to {LARGEST:,} are simulated{other}"
                )
            check_memory(size, qubo.n, precision=config.precision)

    @property
    def _simulates(self) -> bool:
        """Whether training asks the simulator for gradients."""
        config = self.config
        searched = config.angles in ("optimised", "learned") or callable(config.angles)
        return bool(
            config.parameters == "trained" and config.evaluations and searched and config.optimizer == "adjoint"
        )

    def _solve(self, qubos: Sequence[Qubo], seed: int, key: str, stop: Event) -> list[Solution]:
        problems = [self._problem(qubo, np.random.default_rng((seed, number))) for number, qubo in enumerate(qubos)]
        schedule = self._schedule()

        def train(number: int) -> None:
            if stop.is_set():
                raise Cancelled(f"job {key} was cancelled")
            threads = 1 if together > 1 else self.config.threads
            self._train(problems[number], schedule, f"{key}-{number}", seed, stop, threads)

        from hybrid_opt.simd.threads import processors

        small = self.backend is None and all(problem.asked.feasible_space().size <= 1 << ALONE for problem in problems)
        together = min(len(problems), self.config.threads or processors()) if small else 1
        with ThreadPoolExecutor(together, "qaoa") as pool:
            list(pool.map(train, range(len(problems))))
        if self.backend is None:
            solved = [self._simulated(problem) for problem in problems]
        else:
            solved = self._sampled(problems, key, seed, stop)
        if self.adaptation is not None and not stop.is_set():
            self.adaptation.learn([p.asked for p in problems], lambda number: self._simulator(problems[number], 1))
        return solved

    def _schedule(self) -> Schedule | None:
        """What chooses the angles of trained circuits, by now; None: the optimizer alone."""
        config = self.config
        if config.angles == "learned":
            return learned(config.policy) if self.adaptation is None else self.adaptation.schedule()
        return config.angles if callable(config.angles) else None

    def _sampled(self, problems: list[_Problem], key: str, seed: int, stop: Event) -> list[Solution]:
        """Final samples from the backend, those of problems that agree in their constraints in one program."""
        groups: dict[Any, list[int]] = {}
        for number, problem in enumerate(problems):
            asked, starts = problem.asked, tuple(start.tobytes() for start in problem.mixer.starts)
            groups.setdefault((asked.n, asked.one_hot, asked.cardinality, starts), []).append(number)
        solutions: dict[int, Solution] = {}
        for place, numbers in enumerate(groups.values()):
            same = [problems[number] for number in numbers]
            result = self._run(
                same, np.array([p.angles for p in same]), self.config.shots, f"{key}-{place}", seed, stop
            )
            for part, problem in enumerate(same):
                problem.results.append(result)
                cost = share(result.cost, len(same), part) + Cost(evaluations=self.config.shots)
                solutions[numbers[part]] = self._finish(problem, result.samples[part], cost)
        return [solutions[number] for number in range(len(problems))]

    def _problem(self, qubo: Qubo, rng: np.random.Generator) -> _Problem:
        config, training = self.config, Cost()
        asked = self._penalised(self._asked(qubo, rng)).centred()
        warm: Any = None if config.warm_start == "none" else config.warm_start
        if warm == "greedy":
            start, _ = asked.repair(rng.integers(0, 2, (1, qubo.n), np.uint8))
            states, evaluations = descend(asked, start, rng)
            warm, training = states[0], Cost(evaluations=int(evaluations[0]))
        return _Problem(qubo, asked, mixer_of(asked, config.mixer, warm, config.rounding), rng, training)

    def _penalised(self, qubo: Qubo) -> Qubo:
        return qubo.penalised(self.config.penalty) if self.config.mixer == "x" and qubo.constrained else qubo

    def _simulator(self, problem: _Problem, threads: int | None) -> QaoaSimulator:
        return QaoaSimulator(
            problem.asked,
            mixer=problem.mixer,
            phases=None if self.config.entangle else unentangled(problem.asked),
            precision=self.config.precision,
            device=self.config.device,
            threads=threads,
        )

    def _train(
        self, problem: _Problem, schedule: Schedule | None, key: str, seed: int, stop: Event, threads: int | None
    ) -> None:
        config = self.config
        if self.backend is None or self._simulates:
            problem.simulator = self._simulator(problem, threads)
        if config.parameters == "random":
            ranges = SCHEDULES["transferred"](problem.asked, 1)[0][0] * 2, np.pi / 2
            problem.angles = np.stack([problem.rng.uniform(0, high, config.layers) for high in ranges])
        elif callable(config.angles) or config.angles in ("optimised", "learned"):
            evaluate: Any = (_Exact if self._simulates else _Shots)(self, problem, key, seed, stop)
            if schedule is not None:
                angles = schedule(problem.asked, config.layers, evaluate, config.evaluations)
            else:
                method, rng = config.optimizer, problem.rng
                angles = optimised(problem.asked, config.layers, evaluate, config.evaluations, method=method, rng=rng)
            problem.angles = np.asarray(angles, np.float64)
        else:
            problem.angles = np.asarray(SCHEDULES[config.angles](problem.asked, config.layers))
        if problem.angles.shape != (2, config.layers) or not np.isfinite(problem.angles).all():
            raise ProblemError(f"solver.angles: shape {problem.angles.shape}; finite ones of (2, {config.layers})")

    def _run(self, problems: list[_Problem], angles: Floats, shots: int, key: str, seed: int, stop: Event) -> Result:
        """One program of the backend: angles [P, 2, layers] of one problem, or of as many problems."""
        assert self.backend is not None
        asked = [problem.asked for problem in problems]
        circuit, parameters = qaoa_program(
            asked, angles[:, 0], angles[:, 1], mixer=problems[0].mixer, entangle=self.config.entangle
        )
        program = CircuitProgram(circuit, parameters, shots, noise=self.noise)
        return run(self.backend, program, key, seed, stop)

    def _simulated(self, problem: _Problem) -> Solution:
        assert problem.simulator is not None
        samples, _ = problem.simulator.sample(problem.angles[0], problem.angles[1], self.config.shots, problem.rng)
        problem.simulator = None  # its memory
        shots = self.config.shots
        return self._finish(problem, samples[0], Cost(shots=shots, circuits=1, evaluations=shots))

    def _finish(self, problem: _Problem, samples: Bits, cost: Cost) -> Solution:
        return finish(
            problem.qubo,
            samples,
            problem.seen,
            SolverCost(problem.training, cost),
            descent=problem.rng if self.config.descent else None,
            angles=problem.angles,
            origin=origin(problem.results),
            about=problem.results[-1].about if problem.results else {},
        )


class _Exact:
    """The objective in simulation, with its gradient."""

    def __init__(self, solver: Qaoa, problem: _Problem, key: str, seed: int, stop: Event) -> None:
        self.alpha, self.problem, self.key, self.stop = solver.config.alpha, problem, key, stop
        assert problem.simulator is not None
        self.simulator = problem.simulator
        problem.training += Cost(evaluations=self.simulator.size)

    def __call__(self, gammas: Floats, betas: Floats) -> float:
        self._count()
        return float(self.simulator.value(gammas, betas, self.alpha)[0])

    def gradient(self, gammas: Floats, betas: Floats) -> tuple[float, Floats, Floats]:
        self._count()
        value, by_gamma, by_beta = self.simulator.gradient(gammas, betas, self.alpha)
        return float(value[0]), by_gamma[0], by_beta[0]

    def _count(self) -> None:
        if self.stop.is_set():
            raise Cancelled(f"job {self.key} was cancelled")
        self.problem.training += Cost(circuits=1)


class _Shots:
    """The objective under shots, of the backend or of the simulator."""

    def __init__(self, solver: Qaoa, problem: _Problem, key: str, seed: int, stop: Event) -> None:
        self.solver, self.problem, self.key, self.seed, self.stop = solver, problem, key, seed, stop
        self.error = 0.0  # standard error of the last value

    def __call__(self, gammas: Floats, betas: Floats) -> float:
        problem, config = self.problem, self.solver.config
        if self.stop.is_set():
            raise Cancelled(f"job {self.key} was cancelled")
        shots, number = config.training_shots, len(problem.seen)
        if self.solver.backend is None:
            assert problem.simulator is not None
            samples = problem.simulator.sample(gammas, betas, shots, problem.rng)[0][0]
            cost = Cost(shots=shots, circuits=1)
        else:
            seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0] >> 1)
            angles, key = np.stack([gammas, betas])[None], f"{self.key}-training-{number}"
            result = self.solver._run([problem], angles, shots, key, seed, self.stop)
            problem.results.append(result)
            samples, cost = result.samples[0], replace(result.cost, wall_seconds=0.0)
        problem.training += cost + Cost(evaluations=shots)
        problem.seen.append(samples)
        energies = problem.asked.energy(samples)
        feasible = problem.asked.feasible(samples)
        energies = energies[feasible] if feasible.any() else energies
        count = int(np.ceil(config.alpha * len(energies)))
        lowest = np.partition(energies, count - 1)[:count]
        self.error = float(lowest.std()) / count**0.5
        return float(lowest.mean())
