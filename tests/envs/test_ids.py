"""The environments that the project promises to run, each for twenty random steps; and its presets."""

import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from worldmodel.envs.registry import find

from tests.envs.test_environments import config, flat_step, random_actions
from worldmodel.envs import EnvConfig, Environments

PRESETS = sorted((Path(__file__).parent.parent.parent / "configs" / "env").glob("*.yaml"))
PACKAGES = {
    "MiniGrid": "minigrid",
    "LunarLander": "Box2D",
    "BipedalWalker": "Box2D",
    "CarRacing": "Box2D",
    "ALE": "ale_py",
    "dm_control": "dm_control",
}


def need(env_id: str) -> None:
    """Skip where the extra of an id is not installed."""
    package = next((package for prefix, package in PACKAGES.items() if env_id.startswith(prefix)), None)
    if package is None and env_id.endswith("-v5"):
        package = "mujoco"
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{env_id} needs {package}, which is not installed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "options", "observations", "action"),
    [
        ("CartPole-v1", {}, {"observation": (4,)}, (2,)),
        ("Acrobot-v1", {}, {"observation": (6,)}, (3,)),
        ("MountainCarContinuous-v0", {}, {"observation": (2,)}, (1,)),
        ("Pendulum-v1", {}, {"observation": (3,)}, (1,)),
        ("FrozenLake-v1", {}, {"observation": (1,)}, (4,)),
        ("Taxi-v4", {}, {"observation": (1,)}, (6,)),
        ("Blackjack-v1", {}, {"0": (1,), "1": (1,), "2": (1,)}, (2,)),
        ("CliffWalking-v1", {}, {"observation": (1,)}, (4,)),
        ("MiniGrid-DoorKey-5x5-v0", {}, {"direction": (1,), "image": (147,)}, (7,)),
        ("LunarLander-v3", {}, {"observation": (8,)}, (4,)),
        ("CarRacing-v3", {}, {"image": (96, 96, 3)}, (1, 1, 1)),
        ("ALE/Pong-v5", {}, {"image": (64, 64, 3)}, (6,)),
        ("ALE/Pong-v5", {"atari": True, "action_repeat": 4}, {"image": (64, 64, 3)}, (6,)),
        ("ALE/Pong-v5", {"atari": True, "grayscale": True, "resize": [96, 80]}, {"image": (96, 80, 1)}, (6,)),
        ("dm_control/walker-walk-v0", {}, {"orientations": (14,), "height": (1,), "velocity": (9,)}, (1,) * 6),
        (
            "dm_control/walker-walk-v0",
            {"kwargs": {"from_pixels": True, "size": [64, 48]}, "action_repeat": 2},
            {"image": (64, 48, 3)},
            (1,) * 6,
        ),
        ("HalfCheetah-v5", {}, {"observation": (17,)}, (1,) * 6),
    ],
)
def test_promised_ids(
    env_id: str, options: dict[str, Any], observations: dict[str, tuple[int, ...]], action: tuple[int, ...]
) -> None:
    need(env_id)
    runs = []
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            env = Environments(config(env_id, **options), num=1, seed=0)
        assert {key: spec.shape for key, spec in env.observation_specs.items()} == observations
        assert env.action_spec.sizes == action
        env.reset()
        runs.append([flat_step(env.step(actions)) for actions in random_actions(env, 20)])
        assert all(value.any() for key, value in env.current.observation.items() if key == "image")
        env.close()
    assert runs[0] == runs[1]


def test_minigrid_shows_symbols() -> None:
    need("MiniGrid")
    with pytest.warns(UserWarning, match="mission"):
        env = Environments(config("MiniGrid-DoorKey-5x5-v0"), num=2, seed=0)
    spec = env.observation_specs["image"]
    assert spec.kind == "categorical"
    assert spec.classes == (11, 6, 4) * 49
    raw = find("MiniGrid-DoorKey-5x5-v0")
    reference = gym.make(raw)
    record = env.reset()
    for actions in random_actions(env, 60):
        record = env.step(actions).current
        assert (record.observation["image"] < np.array(spec.classes)).all()
    assert reference.observation_space["image"].shape == (7, 7, 3)  # type: ignore[index]


GRIDS = {
    "FullyObsWrapper": ("categorical", (75,)),
    "DictObservationSpaceWrapper": ("categorical", (147,)),
    "SymbolicObsWrapper": ("vector", (75,)),
    "RGBImgObsWrapper 1": ("vector", (75,)),
    "RGBImgObsWrapper 16": ("image", (80, 80, 3)),
    "ImgObsWrapper": ("vector", (147,)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_minigrid_in_a_wrapper(name: str) -> None:
    """Symbols are classes where the image still is MiniGrid's; else a line says that they are not."""
    need("MiniGrid")
    wrapper, _, size = name.partition(" ")
    kwargs = {"wrapper": wrapper, "options": {"tile_size": int(size)} if size else {}}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        env = Environments(config("tests.envs.custom:Grid-v0", kwargs=kwargs), num=1, seed=0)
    key = "observation" if wrapper == "ImgObsWrapper" else "image"
    spec = env.observation_specs[key]
    assert (spec.kind, spec.shape) == GRIDS[name]
    plain = [str(line.message) for line in told if "grid of symbols" in str(line.message)]
    assert len(plain) == (spec.kind == "vector")
    env.reset()
    for actions in random_actions(env, 5):
        env.step(actions)
    env.close()


def test_what_only_looks_like_minigrid(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs neither its package nor its classes."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "minigrid"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "minigrid", None)
    env = Environments(config("tests.envs.custom:Viewed-v0"), num=1, seed=0)
    np.testing.assert_array_equal(env.reset().observation["image"], np.full((1, 147), 200))


def test_atari_counts_frames() -> None:
    need("ALE")
    env = Environments(config("ALE/Pong-v5", atari=True, action_repeat=4, time_limit=80), num=1, seed=0)
    env.reset()
    lengths = [e.length for actions in random_actions(env, 40) for e in env.step(actions).episodes]
    assert lengths
    assert set(lengths) == {80}


def test_control_suite_is_truncated_at_its_limit() -> None:
    need("dm_control")
    env = Environments(config("dm_control/cartpole-balance-v0", action_repeat=100), num=1, seed=0)
    env.reset()
    steps = [env.step(actions) for actions in random_actions(env, 10)]
    assert [len(step.ended) for step in steps] == [0] * 9 + [1]
    assert steps[-1].ended.truncated.all()
    assert not steps[-1].ended.terminated.any()
    assert steps[-1].episodes[0].length == 1000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_task_of_the_control_suite() -> None:
    need("dm_control")
    find("dm_control/walker-walk-v0")
    tasks = [env_id for env_id in gym.registry if env_id.startswith("dm_control/")]
    assert len(tasks) >= 51
    for env_id in tasks:
        runs = []
        for before in (0, 5):  # earlier episodes leave no trace
            env = Environments(config(env_id, time_limit=5), num=1, seed=0)
            env.reset()
            for actions in random_actions(env, before, seed=1):
                env.step(actions)
            env.reset()
            runs.append([flat_step(env.step(actions))[:7] for actions in random_actions(env, 4)])
            env.close()
        assert runs[0] == runs[1], env_id


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets(preset: Path) -> None:
    """Each is valid, names a registered environment and sets nothing but the environment, the steps and groups."""
    text = preset.read_text()
    assert text.startswith("# @package _global_\n")
    content = yaml.safe_load(text)
    assert set(content) <= {"env", "steps", "defaults"}
    chosen = EnvConfig(**content["env"])
    need(chosen.id)
    find(chosen.id)


def test_there_are_presets() -> None:
    assert {"cartpole", "acrobot", "pendulum", "dmc_proprio", "dmc_vision", "atari100k", "minigrid"} <= {
        path.stem for path in PRESETS
    }


@pytest.mark.parametrize("name", ["atari100k", "dmc_vision", "dmc_proprio", "minigrid", "cliffwalking"])
def test_presets_run(name: str) -> None:
    content = yaml.safe_load(next(path for path in PRESETS if path.stem == name).read_text())
    need(content["env"]["id"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = Environments(EnvConfig(**content["env"]), num=1, seed=0, evaluation=True)
    env.reset()
    for actions in random_actions(env, 3):
        env.step(actions)
    env.close()
