"""Training, with some updates, and evaluation at its end on environments of every kind."""

import json
import math
from pathlib import Path

import pytest

from tests.worldmodel.train.runs import rows, train

SMALL = ("steps=56", "eval.final_episodes=1", "env.eval_time_limit=5")
PLUGINS = {
    "MiniGrid": "minigrid",
    "LunarLander": "Box2D",
    "CarRacing": "Box2D",
    "ALE": "ale_py",
    "dm_control": "dm_control",
}
FAST = (
    *("CartPole-v1", "Acrobot-v1", "MountainCarContinuous-v0", "Pendulum-v1", "FrozenLake-v1", "Taxi-v4"),
    *("Blackjack-v1", "CliffWalking-v1", "MiniGrid-DoorKey-5x5-v0", "LunarLander-v3"),
)
SLOW = ("CarRacing-v3", "ALE/Pong-v5", "dm_control/walker-walk-v0")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*left out", "ignore:.*resized", "ignore:.*out of date")
@pytest.mark.parametrize("env", [*FAST, *(pytest.param(env, marks=pytest.mark.slow) for env in SLOW)])
def test_an_environment(tmp_path: Path, env: str) -> None:
    for prefix, package in PLUGINS.items():
        if env.startswith(prefix):
            pytest.importorskip(package)
    assert train(f"env.id={env}", *SMALL, f"logdir={tmp_path}") == 0
    last = next(row for row in reversed(rows(tmp_path)) if "updates" in row)
    assert last["updates"] >= 1 and math.isfinite(last["loss/model"])
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert len(result["returns"]) == 1 and result["finished"] == 56


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*left out", "ignore:.*resized")
@pytest.mark.parametrize("preset", ["atari100k", "dmc_proprio", "dmc_vision", "minigrid", "pendulum"])
def test_a_preset(tmp_path: Path, preset: str) -> None:
    package = {"atari100k": "ale_py", "dmc": "dm_control", "minigrid": "minigrid"}.get(preset.partition("_")[0])
    if package:
        pytest.importorskip(package)
    assert train(f"env={preset}", *SMALL, "steps=240", "train_ratio=0.5", f"logdir={tmp_path}") == 0
