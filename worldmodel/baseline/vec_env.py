"""Circuit tuning as Stable-Baselines3 sees it: the batched environment behind its VecEnv."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from worldmodel.envs.circuits.qaoa_angles import CircuitTuningVector


class TuningVecEnv(VecEnv):
    """Many episodes as one batched simulation. Infos hold `ratio`, `shots` and what Stable-Baselines3 expects at the
    end of an episode.
    """

    def __init__(self, vector: CircuitTuningVector) -> None:
        self.vector = vector
        super().__init__(vector.num_envs, vector.single_observation_space, vector.single_action_space)
        self._seed: int | None = None
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)

    def reset(self) -> NDArray[np.float32]:
        """Draw problems for all rows."""
        seed, self._seed = self._seed, None
        observation: NDArray[np.float32] = self.vector.reset(seed=seed)[0]
        self._returns[:], self._lengths[:] = 0, 0
        return observation

    def seed(self, seed: int | None = None) -> list[int | None]:
        """The seed of all rows together, from the next reset on."""
        self._seed = seed
        return [seed] * self.num_envs

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for step_wait."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Take the step: observations, rewards, dones, infos."""
        seen, rewards, over, _, more = self.vector.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(over):
            episode = {"r": float(self._returns[row]), "l": int(self._lengths[row]), "t": 0.0}
            infos[row] = {"terminal_observation": more["final_obs"][row], "TimeLimit.truncated": False}
            infos[row] |= {"episode": episode, "shots": int(more["shots"][row])}
            if "ratio" in more:
                infos[row]["ratio"] = float(more["ratio"][row])
        self._returns[over], self._lengths[over] = 0, 0
        return seen, rewards.astype(np.float32), over, infos

    def close(self) -> None:
        """Close the environment."""
        self.vector.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute that all rows share."""
        return [getattr(self.vector, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused: the rows are one simulation."""
        raise AttributeError(attr_name)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Refused: the rows are one simulation."""
        raise AttributeError(method_name)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No row has a wrapper; returns and lengths are counted here."""
        return [False] * len(list(self._get_indices(indices)))
