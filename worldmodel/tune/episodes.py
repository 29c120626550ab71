"""Greedy episodes of a policy that tunes circuits, and their metrics."""

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.circuits.schedules.learned import TuningPolicy
from worldmodel.envs import Episode
from worldmodel.envs.circuits.qaoa_angles import CircuitTuningVector, TuningConfig
from worldmodel.train.episodes import SEED


def play(
    policy: TuningPolicy, config: TuningConfig, episodes: int, seed: int = SEED
) -> tuple[list[Episode], NDArray[np.float64]]:
    """Greedy episodes of a policy, one after the other in one batch of as many problems, and their final ratios.

    The problems depend on the seed alone. Ratios are NaN on a backend.
    """
    vector = CircuitTuningVector(episodes, **vars(config))
    observation, _ = vector.reset(seed=seed)
    returns, lengths = np.zeros(episodes), np.zeros(episodes, np.int64)
    ratios, running = np.full(episodes, np.nan), np.ones(episodes, np.bool_)
    while running.any():
        observation, rewards, over, _, infos = vector.step(policy.act(observation))
        returns += rewards * running
        lengths += running
        ended = over & running
        if "ratio" in infos:
            ratios[ended] = infos["ratio"][ended]
        running &= ~over
    vector.close()
    rows = zip(returns, lengths, strict=True)
    return [Episode(row, int(length), float(ret)) for row, (ret, length) in enumerate(rows)], ratios


def evaluation_row(played: list[Episode], ratios: NDArray[np.float64]) -> dict[str, float]:
    """The metrics of an evaluation."""
    returns = np.array([episode.ret for episode in played])
    row = {"eval/return": float(returns.mean()), "eval/return_std": float(returns.std())}
    return row if np.isnan(ratios).any() else {**row, "eval/ratio": float(np.median(ratios))}
