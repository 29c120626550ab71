"""The registry: ids, suggestions, plugins and missing extras."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from worldmodel.envs.registry import find

from worldmodel.envs import EnvConfig, EnvironmentRefused, Environments, make_env

ROOT = Path(__file__).parent.parent.parent


def refusal(env_id: str) -> str:
    with pytest.raises(EnvironmentRefused) as caught:
        find(env_id)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in text
    assert text.startswith(f"env.id={env_id}: ")
    return text


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("CartPol-v1", "CartPole-v1"),
        ("cartpole-v1", "CartPole-v1"),
        ("CartPole", "CartPole-v"),
        ("Taxi-v3", "Taxi-v4"),
        ("FrozenLake", "FrozenLake-v1"),
        ("frozen_lake-v1", "FrozenLake-v1"),
    ],
)
def test_the_nearest_id_is_suggested(wrong: str, right: str) -> None:
    assert f"did you mean {right}" in refusal(wrong)


@pytest.mark.parametrize(
    ("module", "wrong", "right"),
    [
        ("minigrid", "MiniGrid-DorKey-5x5-v0", "MiniGrid-DoorKey-5x5-v0"),
        ("ale_py", "Pong-v5", "ALE/Pong-v5"),
        ("ale_py", "pong", "ALE/Pong-v5"),
        ("dm_control", "walker_walk-v0", "dm_control/walker-walk-v0"),
        ("dm_control", "dm_control/walker_walk-v0", "dm_control/walker-walk-v0"),
    ],
)
def test_plugins_have_suggestions_too(module: str, wrong: str, right: str) -> None:
    pytest.importorskip(module)
    assert f"did you mean {right}" in refusal(wrong)


@pytest.mark.parametrize("name", ["#", "X", "Walk-v0", "MyEnv-v0", "Foo-v0", "Lunar-v3"])
def test_nothing_near(name: str) -> None:
    assert refusal(name).endswith("is registered; accepted: a Gymnasium id or module:Id-v0")


def test_ids_of_plugins_without_their_namespace_are_found() -> None:
    pytest.importorskip("ale_py")
    assert find("PongNoFrameskip-v4").id == "PongNoFrameskip-v4" and find("Alien-v0").id == "Alien-v0"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("./my_envs.py:Walk-v0", "did you mean env.id=my_envs:Walk-v0?"),
        ("my_envs.py:Walk-v0", "did you mean env.id=my_envs:Walk-v0?"),
        ("pkg/mod.py:Walk-v0", "did you mean env.id=pkg.mod:Walk-v0?"),
        ("/a/b/my.py:Walk-v0", "env.id=my:Walk-v0 is accepted where /a/b is on PYTHONPATH"),
        (".my:Walk-v0", "did you mean env.id=my:Walk-v0?"),
        ("/a/b/my.py", "env.id=my:Id-v0 is accepted where /a/b is on PYTHONPATH"),
    ],
)
def test_a_file_is_no_module(wrong: str, right: str) -> None:
    assert right in refusal(wrong)


def test_modules_of_the_user() -> None:
    assert find("tests.envs.custom:Counting-v0").id == "Counting-v0"
    assert "ModuleNotFoundError: No module named 'absent_module'" in refusal("absent_module:Foo-v0")
    assert "did you mean tests.envs.custom:Counting-v0?" in refusal("tests.envs.custom:Countin-v0")


def test_a_module_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faulty_module.py").write_text("1 / 0\n")
    (tmp_path / "leaving_module.py").write_text("import sys; sys.exit()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "ZeroDivisionError" in refusal("faulty_module:Foo-v0")
    assert "module 'leaving_module' cannot be imported (SystemExit" in refusal("leaving_module:Foo-v0")


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_module_in_the_folder_of_the_run(tmp_path: Path, mode: str) -> None:
    """Also where that folder has an envs package of its own and is first on the path."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    (tmp_path / "mine.py").write_text(
        "import sys, gymnasium\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "gymnasium.register('Mine-v0', 'mine:Mine')\n"
        "class Mine(CartPoleEnv): pass\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import worldmodel.envs as envs\n"
        f"sys.path.remove({str(ROOT)!r})\n"
        f"env = envs.Environments(envs.EnvConfig(id='mine:Mine-v0', vectorization={mode!r}), 2, 0)\n"
        "print(env.reset().observation['observation'].shape, sys.path[0] == ''); env.close()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.stdout.split("\n")[0] == "(2, 4) True", result.stderr


@pytest.mark.parametrize(
    ("blocked", "env_id", "extra"),
    [
        ("minigrid", "MiniGrid-DoorKey-5x5-v0", "minigrid"),
        ("minigrid", "BabyAI-GoToRedBall-v0", "minigrid"),
        ("ale_py", "ALE/Pong-v5", "atari"),
        ("dm_control", "dm_control/walker-walk-v0", "dmc"),
        ("Box2D", "LunarLander-v3", "box2d"),
        ("mujoco", "HalfCheetah-v5", "mujoco"),
    ],
)
def test_a_missing_extra_is_named(blocked: str, env_id: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] in (blocked, "dm_control")]:
        monkeypatch.delitem(sys.modules, module)
    for registered in [name for name in gym.registry if name == env_id and not name.endswith(("r-v3", "h-v5"))]:
        monkeypatch.delitem(gym.registry, registered)

    class Blocker:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] == blocked:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    rendering = os.environ.get("MUJOCO_GL")
    monkeypatch.setattr(sys, "meta_path", [Blocker(), *sys.meta_path])
    text = refusal(env_id)
    assert f'pip install "worldmodel[{extra}]"' in text
    assert f"needs {blocked}" in text
    assert os.environ.get("MUJOCO_GL") != "disable" or rendering == "disable"  # it says nothing about OpenGL


@pytest.mark.parametrize(
    "config",
    [
        EnvConfig(id="CartPole-v1", kwargs={"no_such_option": 1}),
        EnvConfig(id="Ant-v3"),
        EnvConfig(id="FrozenLake-v1", kwargs={"map_name": "9x9"}),
    ],
)
def test_an_environment_that_cannot_be_made(config: EnvConfig) -> None:
    with pytest.raises((EnvironmentRefused, RuntimeError)) as caught:
        make_env(config)
    assert config.id in str(caught.value)
    assert "\n" not in str(caught.value)
    if config.kwargs:
        assert str(config.kwargs) in str(caught.value) or "KeyError" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"num": 0},
        {"action_repeat": 0},
        {"time_limit": 0},
        {"vectorization": "threads"},
        {"resize": [60, 64]},
        {"resize": "never"},
        {"eval_time_limit": None},
        {"repeat": 2},
    ],
)
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        EnvConfig(id="CartPole-v1", **options)  # type: ignore[arg-type]


def test_lists_and_floats_of_a_yaml_are_accepted() -> None:
    config = EnvConfig(id="CartPole-v1", resize=[64, 32], eval_time_limit=1e5)  # type: ignore[arg-type]
    assert config.resize == (64, 32)
    assert config.eval_time_limit == 100000
    Environments(config, 1, 0).close()
