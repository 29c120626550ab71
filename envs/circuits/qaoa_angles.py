"""CircuitTuning-v0: choose the angles of QAOA circuits, a few evaluations for each problem."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from worldmodel.envs.circuits.instances import BLOCK, Family, Weights, draw_qubo, draw_spins
from worldmodel.envs.errors import EnvironmentRefused

from hybrid_opt.circuits.schedules.features import WIDTHS, Progress, ShapeName, describe, describe_qubo, whitened
from hybrid_opt.errors import ProblemError
from hybrid_opt.parts import complaint
from hybrid_opt.problem.file import load_problems
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.mixed import MixedSimulator

Floats = NDArray[np.float64]
GAIN = 10.0  # reward of an improvement by one standard deviation of the energies
FEWEST, MOST = 2.0**5, 2.0**13  # shots that a policy can choose
STOP = 0.5  # an action above this stops
LARGEST = 18  # variables of a problem
FAR = 10.0  # bound of the observations


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class TuningConfig:
    """families: what the problems are; file: those of `file`, written by `hybrid_opt.problem.file`. weights: of MaxCut.
    sizes: fewest and most variables. layers: of the circuit, or fewest and most. shape: of the deformation of the
    angles that an action changes. budget: evaluations of an episode. shots: of an evaluation, null: exact. noise:
    probability per layer that depolarising noise leaves nothing of the state. backend: where evaluations run.
    choose_shots, stop: whether the action has an entry for the number of shots, or to end the episode. shot_price:
    taken from the reward for 1,000 shots. threads: of simulation.
    """

    families: tuple[Family, ...] = ("maxcut", "sk")
    weights: Weights = "uniform"
    sizes: tuple[Annotated[int, Field(ge=2, le=LARGEST)], Annotated[int, Field(ge=2, le=LARGEST)]] = (6, 10)
    layers: Annotated[int, Field(ge=1, le=8)] | tuple[int, int] = 3
    shape: ShapeName = "fourier"
    budget: Annotated[int, Field(ge=1)] = 10
    shots: Annotated[int, Field(ge=1)] | None = None
    noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    backend: str = "statevector"
    choose_shots: bool = False
    stop: bool = False
    shot_price: Annotated[float, Field(ge=0)] = 0.0
    file: str | None = None
    threads: Annotated[int, Field(ge=1)] | None = None

    @property
    def layer_range(self) -> tuple[int, int]:
        """Fewest and most layers."""
        return (self.layers, self.layers) if isinstance(self.layers, int) else self.layers

    @property
    def actions(self) -> int:
        """Numbers in an action."""
        return WIDTHS[self.shape] + self.choose_shots + self.stop

    @model_validator(mode="after")
    def _consistent(self) -> "TuningConfig":
        low, high = self.layer_range
        if not 1 <= low <= high <= 8:
            raise ValueError(f"layers={self.layers}: 1 to 8, or [fewest, most] of these, is accepted")
        if not self.families or self.sizes[0] > self.sizes[1]:
            raise ValueError(f"families={self.families}, sizes={self.sizes}: a family, and [fewest, most] are accepted")
        if "onehot" in self.families and self.sizes[0] < BLOCK:
            raise ValueError(f"sizes={self.sizes}: at least {BLOCK} variables are accepted with families=[onehot]")
        if (self.file is not None) != ("file" in self.families):
            raise ValueError(f"file={self.file}: a file of problems and families=[file] are accepted together only")
        if self.backend != "statevector" and self.shots is None and not self.choose_shots:
            raise ValueError(f"shots=null: a number is accepted with backend={self.backend}")
        if self.backend != "statevector" and self.noise:
            raise ValueError(f"noise={self.noise}: 0 is accepted with backend={self.backend}, which has its own")
        return self


def tuning_config(config: Any, options: dict[str, Any]) -> Any:
    """Options as this kind of config. Raises EnvironmentRefused, in one line, for those that are not accepted."""
    try:
        return config(**options)
    except ValidationError as error:
        raise EnvironmentRefused(f"env.kwargs.{complaint(error)}") from error


class TuningBatch:
    """R episodes of circuit tuning side by side, as arrays: what all the environments here are made of.

    The episode's first guess is its first evaluation. Rewards are improvements of the expected energy of the best
    angles so far, in standard deviations times GAIN; at first over the transferred angles. Those of a backend are
    measured, and at first over the mean energy.
    """

    def __init__(self, config: TuningConfig, rows: int) -> None:
        self.config, self.rows = config, rows
        self.problems = load_problems(config.file) if config.file is not None else []
        free = [qubo.n for qubo in self.problems if not qubo.constrained]
        if any(qubo.feasible_space().size > 1 << LARGEST for qubo in self.problems):
            raise ProblemError(f"file={config.file}: holds problems of more than 2^{LARGEST} states, which is the most")
        self.widest = max([config.sizes[1], *free])
        self.progress = Progress(rows, config.shape, config.layer_range[1], config.budget)
        self.simulator = MixedSimulator(rows, self.widest, config.threads)
        self.qubos: list[Qubo | None] = [None] * rows  # those that have constraints, or are sent to a backend
        self.value: Floats = np.zeros(rows)  # expected energies of the best angles
        self.shots_spent = np.zeros(rows, np.int64)
        self.measure: Any = None
        if config.backend != "statevector":
            from worldmodel.envs.circuits.energies import BackendEnergies

            self.measure = BackendEnergies(config.backend)

    def begin(self, rows: NDArray[np.int64], rng: np.random.Generator) -> None:
        """Draw new problems for these rows."""
        config = self.config
        families = np.array(config.families)[rng.integers(len(config.families), size=len(rows))]
        sizes = rng.integers(config.sizes[0], config.sizes[1] + 1, len(rows))
        layers = rng.integers(config.layer_range[0], config.layer_range[1] + 1, len(rows))
        free = np.isin(families, ("maxcut", "sk", "qubo"))
        if free.any():
            drawn = draw_spins(families[free], sizes[free], self.widest, config.weights, rng)
            self.put_spins(rows[free], drawn.fields, drawn.couplings, drawn.sizes, layers[free])
        for place in np.flatnonzero(~free):
            family, size = str(families[place]), int(sizes[place])
            file = family == "file"
            qubo = self.problems[rng.integers(len(self.problems))] if file else draw_qubo(family, size, rng)
            self.put(int(rows[place]), qubo, int(layers[place]))
        self._start(rows)

    def put_spins(
        self, rows: NDArray[np.int64], fields: Floats, couplings: Floats, sizes: NDArray[np.int64], layers: Any
    ) -> None:
        """Problems without constraints in these rows; see `draw_spins`."""
        self.simulator.put_spins(rows, fields, couplings)
        self.progress.begin(rows, describe(fields, couplings, sizes), layers)
        for place, row in enumerate(rows):
            self.qubos[row] = None
            if self.measure is not None:
                from worldmodel.envs.circuits.instances import Spins, qubo_of

                self.qubos[row] = qubo_of(Spins(fields, couplings, sizes), place)

    def put(self, row: int, qubo: Qubo, layers: int) -> None:
        """Any Qubo in this row."""
        if qubo.constrained:
            self.simulator.put(row, qubo)
        else:
            fields, couplings = whitened(qubo)
            self.simulator.put_spins(np.array([row]), fields[None], couplings[None])
        self.progress.begin([row], describe_qubo(qubo), layers)
        self.qubos[row] = qubo

    def _start(self, rows: NDArray[np.int64]) -> None:
        self.shots_spent[rows] = 0
        self.value[rows] = 0.0
        if self.measure is None:  # what the transferred angles reach, which the policy is not told
            self.value[rows] = self.simulator.values(*self.progress.angles())[rows]

    def step(self, actions: Floats, rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        """Evaluate what the actions [R, A] propose: rewards [R], whether the episode is over, whether it was stopped.

        A stop is obeyed after the first evaluation, and evaluates nothing more.
        """
        config, progress = self.config, self.progress
        width = WIDTHS[config.shape]
        actions = np.asarray(actions, np.float64)
        halted = (actions[:, -1] > STOP) & (progress.made > 0) if config.stop else np.zeros(self.rows, np.bool_)
        shots = self._shots(actions[:, width]) if config.choose_shots else np.full(self.rows, config.shots or 0)
        kept = progress.best.copy(), progress.lowest.copy()
        gammas, betas = progress.propose(actions[:, :width])
        exact, measured, errors = self._evaluate(gammas, betas, shots, rng)
        better = progress.note(measured, errors)
        if halted.any():
            progress.best[halted], progress.lowest[halted] = kept[0][halted], kept[1][halted]
            better &= ~halted
        shots = np.where(halted, 0, shots)
        self.shots_spent += shots
        reached = np.where(better, exact, self.value)
        rewards = GAIN * (self.value - reached) - config.shot_price * shots / 1000
        self.value = reached
        return rewards, (progress.made >= config.budget) | halted, halted

    def _shots(self, action: Floats) -> NDArray[np.int64]:
        part = (np.clip(action, -1, 1) + 1) / 2
        return np.rint(FEWEST * (MOST / FEWEST) ** part).astype(np.int64)

    def _evaluate(
        self, gammas: Floats, betas: Floats, shots: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[Floats, Floats, Floats]:
        """Expected energies without noise, what is measured, and its standard errors, [R] each."""
        if self.measure is not None:
            qubos = [qubo for qubo in self.qubos if qubo is not None]
            means, errors = self.measure(qubos, gammas, betas, self.progress.layers, shots, rng)
            return means, means, errors
        exact = self.simulator.values(gammas, betas)
        lost = 1 - (1 - self.config.noise) ** self.progress.layers.astype(np.float64)
        if not shots.any():
            return exact, exact * (1 - lost), np.zeros(self.rows)
        return exact, *self.simulator.sample(gammas, betas, shots, lost, rng)

    def ratios(self) -> Floats:
        """Approximation ratios (E - E_max) / (E_min - E_max) of the best angles, [R]; of simulations."""
        span = self.simulator.highest - self.simulator.lowest
        ratios: Floats = (self.simulator.highest - self.value) / np.where(span == 0, 1.0, span)
        return ratios

    def close(self) -> None:
        """Close the backend."""
        if self.measure is not None:
            self.measure.close()


def tuning_spaces(config: TuningConfig) -> tuple[Any, Any]:
    """Observations and actions of one episode."""
    seen = spaces.Box(-FAR, FAR, (Progress.size(config.shape),), np.float32)
    return seen, spaces.Box(-1.0, 1.0, (config.actions,), np.float32)


class CircuitTuning(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """One problem an episode. Options: those of TuningConfig.

    Observation: rescaled moments of the problem's weights, size, layers, best angles, the last four changes of energy
    and parameters, standard error, budget left. Action: a change of the best parameters in [-1, 1], then, if so
    configured, shots and stop. Terminated: the budget is spent, or the policy stopped.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium annotates it so)

    def __init__(self, render_mode: Literal[None] = None, **options: Any) -> None:
        self.config: TuningConfig = tuning_config(TuningConfig, options)
        self.render_mode = render_mode
        self.batch = TuningBatch(self.config, 1)
        self.observation_space, self.action_space = tuning_spaces(self.config)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw a problem."""
        super().reset(seed=seed)
        self.batch.begin(np.array([0]), self.np_random)
        return self.batch.progress.observe()[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Evaluate the angles that the action proposes."""
        rewards, over, _ = self.batch.step(np.asarray(action)[None], self.np_random)
        info = {} if self.batch.measure is not None else {"ratio": float(self.batch.ratios()[0])}
        info["shots"] = int(self.batch.shots_spent[0])
        return self.batch.progress.observe()[0], float(rewards[0]), bool(over[0]), False, info

    def close(self) -> None:
        """Close the backend, if there is one."""
        self.batch.close()


class CircuitTuningVector(VectorEnv[Any, Any, Any]):
    """Many of these episodes as one batched simulation; one that ends begins anew within the same step."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(self, num_envs: int = 64, render_mode: Literal[None] = None, **options: Any) -> None:
        self.num_envs, self.render_mode = num_envs, render_mode
        self.config: TuningConfig = tuning_config(TuningConfig, options)
        self.batch = TuningBatch(self.config, num_envs)
        self.single_observation_space, self.single_action_space = tuning_spaces(self.config)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rows = np.arange(num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Draw problems for all rows; a seed of each row is taken together with the others."""
        if seed is not None:
            self._np_random = np.random.default_rng(seed)  # type: ignore[arg-type]
        self.batch.begin(self._rows, self.np_random)
        return self.batch.progress.observe(), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Evaluate all proposals. Infos: `ratio` and `shots` [R], and `final_obs` [R] where an episode ended."""
        rewards, over, _ = self.batch.step(actions, self.np_random)
        seen = self.batch.progress.observe()
        infos: dict[str, Any] = {"shots": self.batch.shots_spent.copy()}
        if self.batch.measure is None:
            infos["ratio"] = self.batch.ratios()
        if over.any():
            infos |= {"final_obs": np.array([None] * self.num_envs, object), "_final_obs": over}
            for row in np.flatnonzero(over):
                infos["final_obs"][row] = seen[row]
            self.batch.begin(np.flatnonzero(over), self.np_random)
            seen = self.batch.progress.observe()
        return seen, rewards, over, np.zeros(self.num_envs, np.bool_), infos

    def close_extras(self, **kwargs: Any) -> None:
        """Close the backend, if there is one."""
        self.batch.close()
