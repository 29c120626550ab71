"""AnsatzTuning-v0: choose the parameters of a variational eigensolver's ansatz, a few evaluations for each problem."""

from typing import Annotated, Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from worldmodel.envs.circuits.instances import Spins, Weights, draw_spins, qubo_of
from worldmodel.envs.circuits.qaoa_angles import FAR, GAIN, tuning_config

from hybrid_opt.circuits.schedules.features import ENERGY, HISTORY, describe
from hybrid_opt.problem.enumeration import diagonal
from hybrid_opt.simulator import ansatz
from hybrid_opt.simulator.qaoa import draw

Floats = NDArray[np.float64]
REACH = np.pi / 4  # change of an angle by an action of 1


@dataclass(config=ConfigDict(extra="forbid", frozen=True))
class AnsatzConfig:
    """families, weights: see TuningConfig. size: qubits. layers: of CZ gates. budget: evaluations of an episode. shots:
    of an evaluation, null: exact. noise: probability per layer that depolarising noise leaves nothing of the state.
    shot_price: taken from the reward for 1,000 shots.
    """

    families: tuple[Literal["maxcut", "sk", "qubo"], ...] = ("maxcut", "sk")
    weights: Weights = "uniform"
    size: Annotated[int, Field(ge=2, le=12)] = 6
    layers: Annotated[int, Field(ge=0, le=4)] = 1
    budget: Annotated[int, Field(ge=1)] = 30
    shots: Annotated[int, Field(ge=1)] | None = None
    noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shot_price: Annotated[float, Field(ge=0)] = 0.0


class AnsatzTuning(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """The RY-CZ ansatz on one problem an episode; the search begins at |+>, all angles of the last layer pi / 2.

    Observation: rescaled moments of the weights, standardised fields and couplings, sines and cosines of the best
    angles, the last four changes of energy and angles, standard error, budget left. Action: a change of the best
    angles in [-1, 1]. Reward: improvement of the expected energy of the best angles, minus the price of shots.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium annotates it so)

    def __init__(self, render_mode: Literal[None] = None, **options: Any) -> None:
        self.config: AnsatzConfig = tuning_config(AnsatzConfig, options)
        self.render_mode = render_mode
        n, width = self.config.size, self.config.size * (self.config.layers + 1)
        self._signs = ansatz.signs(n, entangle=True)
        size = 15 + n + n * (n - 1) // 2 + (2 + HISTORY) * width + HISTORY + 4
        self.observation_space = spaces.Box(-FAR, FAR, (size,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (width,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw a problem."""
        super().reset(seed=seed)
        n, width = self.config.size, self.action_space.shape[0]  # type: ignore[index]
        family = self.config.families[self.np_random.integers(len(self.config.families))]
        drawn = draw_spins([family], np.array([n]), n, self.config.weights, self.np_random)
        self._pose(drawn)
        self._best = np.zeros(width)
        self._best[-n:] = np.pi / 2
        self._value = self._lowest = self._error = 0.0  # of |+>, whose energy is the mean
        self._points: Floats = np.zeros((0, width))
        self._energies: Floats = np.zeros(0)
        self._made = 0
        return self._observation(), {}

    def _pose(self, drawn: Spins) -> None:
        energies = diagonal(qubo_of(drawn, 0))
        std = float(energies.std()) or 1.0
        self._costs = (energies - energies.mean()) / std
        pairs = np.triu_indices(self.config.size, 1)
        about = describe(drawn.fields, drawn.couplings, drawn.sizes).about[0]
        self._about = np.concatenate([about, drawn.fields[0] / std, drawn.couplings[0][pairs] / std])

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Evaluate the best angles plus the change."""
        config = self.config
        angles = self._best + REACH * np.clip(np.asarray(action, np.float64), -1, 1)
        chances = np.square(ansatz.state(angles.reshape(-1, config.size), self._signs))
        exact = float(chances @ self._costs)
        lost = 1 - (1 - config.noise) ** (config.layers + 1)
        measured, self._error = exact * (1 - lost), 0.0
        if config.shots is not None:
            mixed = chances / chances.sum() * (1 - lost) + lost / len(chances)
            energies = self._costs[draw(mixed, config.shots, self.np_random)]
            measured, self._error = float(energies.mean()), float(energies.std()) / config.shots**0.5
        self._points = np.concatenate([angles[None], self._points])[:HISTORY]
        self._energies = np.concatenate([[measured], self._energies])[:HISTORY]
        reward = -config.shot_price * (config.shots or 0) / 1000
        if measured < self._lowest:
            reward += GAIN * (self._value - exact)
            self._best, self._lowest, self._value = angles, measured, exact
        self._made += 1
        ratio = (self._costs.max() - self._value) / ((self._costs.max() - self._costs.min()) or 1.0)
        return self._observation(), reward, self._made >= config.budget, False, {"ratio": float(ratio)}

    def _observation(self) -> NDArray[np.float32]:
        missing = HISTORY - len(self._points)
        points = np.pad((self._points - self._best) / REACH, [(0, missing), (0, 0)]).ravel()
        energies = np.pad((self._energies - self._lowest) * ENERGY, (0, missing))
        left = 1 - self._made / self.config.budget
        rest = [self._lowest, self._error * ENERGY, min(self._made, HISTORY) / HISTORY, left]
        best = np.sin(self._best), np.cos(self._best)
        seen: NDArray[np.float32] = np.concatenate([self._about, *best, points, energies, rest]).astype(np.float32)
        return np.clip(seen, -FAR, FAR)
