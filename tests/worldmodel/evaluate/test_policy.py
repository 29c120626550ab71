"""`worldmodel.load`: raw observations of Gymnasium in, actions of the environment out."""

import shutil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from worldmodel.envs.errors import EnvironmentRefused

import worldmodel
from tests.worldmodel import worlds  # noqa: F401  # registers
from tests.worldmodel.train.runs import train
from worldmodel.launch.hardware import MachineError
from worldmodel.runs.array_file import CorruptFile
from worldmodel.runs.folder import RunFolderError


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory, "steps=80", "eval.every=50", "eval.episodes=1")


def trained(factory: pytest.TempPathFactory, *words: str) -> Path:
    path = factory.mktemp("runs") / "run"
    assert train(*words, f"logdir={path}") == 0
    return path


def play(agent: Any, env: gymnasium.Env[Any, Any], seed: int = 0, greedy: bool = True) -> tuple[list[Any], float]:
    """Play an episode of at most 50 steps; returns actions and return."""
    observation, _ = env.reset(seed=seed)
    state, actions, total = None, [], 0.0
    for _ in range(50):
        action, state = agent.act(observation, state, greedy=greedy)
        assert env.action_space.contains(action), action
        observation, reward, terminated, truncated, _ = env.step(action)
        actions.append(action)
        total += float(reward)
        if terminated or truncated:
            break
    return actions, total


def test_the_example_of_the_documentation(cartpole: Path) -> None:
    lines = (worldmodel.load.__doc__ or "").splitlines()
    start = next(i for i, line in enumerate(lines) if "agent = worldmodel.load" in line)
    code = "\n".join(line[8:] for line in lines[start:] if line.strip())
    assert len(code.splitlines()) <= 10
    names: dict[str, Any] = {"worldmodel": worldmodel, "gymnasium": gymnasium}
    exec(code.replace("runs/cartpole", str(cartpole)), names)
    assert names["done"] and type(names["action"]) is int


def test_it_plays_what_the_evaluation_played(cartpole: Path) -> None:
    """The same seeds and the same noise: one stream of one episode."""
    from worldmodel.envs.environments import episode_seed

    from worldmodel.train.episodes import SEED

    assert (
        train_and_evaluate(cartpole)
        == play(worldmodel.load(cartpole, device="cpu"), gymnasium.make("CartPole-v1"), episode_seed(SEED, True, 0, 0))[
            1
        ]
    )


def train_and_evaluate(run: Path) -> float:
    import json

    from tests.worldmodel.train.runs import evaluate

    assert evaluate(f"logdir={run}", "episodes=1") == 0
    return float(json.loads((run / "evaluations.jsonl").read_text().splitlines()[-1])["mean"])


def test_greedy_and_sampled_actions(cartpole: Path) -> None:
    env = gymnasium.make("CartPole-v1")
    first, second = (play(worldmodel.load(cartpole), env, seed=3) for _ in range(2))
    assert first == second
    agent = worldmodel.load(cartpole)
    sampled = [play(agent, env, seed=3, greedy=False)[0] for _ in range(3)]
    assert sampled[0] != sampled[1] or sampled[1] != sampled[2]


def test_an_episode_repeats_by_its_seed(cartpole: Path) -> None:
    """Its latents are drawn, also where greedy: to the bit the same for a seed, others without one."""
    agent, observation = worldmodel.load(cartpole), np.array([0.1, -0.2, 0.05, 0.3], np.float32)

    def latents(**options: Any) -> bytes:
        state = None
        for _ in range(4):
            _, state = agent.act(observation, state, **(options if state is None else {}))
        return bytes(state.state.stoch.numpy().tobytes())  # type: ignore[union-attr]

    assert latents(seed=3) == latents(seed=3) and len({latents() for _ in range(8)}) > 1
    assert latents(greedy=False, seed=3) == latents(greedy=False, seed=3)


def test_the_state_is_the_memory_of_the_episode(cartpole: Path) -> None:
    agent = worldmodel.load(cartpole)
    observation = np.zeros(4, np.float32)
    _, first = agent.act(observation)
    _, again = worldmodel.load(cartpole).act(observation)
    assert all((one == other).all() for one, other in zip(first.state, again.state, strict=True))
    _, later = agent.act(observation, first)
    assert not (later.state.deter == first.state.deter).all()


@pytest.mark.slow
def test_nested_observations_and_rescaled_actions(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = trained(tmp_path_factory, "steps=45", "env.id=tests.worldmodel.worlds:Picture-v0")
    actions, _ = play(worldmodel.load(path), gymnasium.make("Picture-v0"), greedy=False)
    assert len(actions) == 12 and np.ptp(np.stack(actions), axis=0).min() > 0.5
    assert actions[0].shape == (2,) and actions[0].dtype == np.float64


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*left out", "ignore:.*resized")
@pytest.mark.parametrize("action", ["multidiscrete", "multibinary", "integers", "box"])
def test_actions_of_every_space(tmp_path_factory: pytest.TempPathFactory, action: str) -> None:
    kwargs = f"env.kwargs={{observation:nested,action:{action}}}"
    path = trained(tmp_path_factory, "steps=20", "env.id=tests.envs.custom:Sampled-v0", kwargs, "env.time_limit=9")
    env = gymnasium.make("Sampled-v0", observation="nested", action=action, max_episode_steps=9)
    assert len(play(worldmodel.load(path), env)[0]) == 9


@pytest.mark.filterwarnings("ignore:.*left out")
def test_symbols_of_minigrid(tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("minigrid")
    path = trained(tmp_path_factory, "steps=45", "env=minigrid", "env.time_limit=10")
    actions, _ = play(worldmodel.load(path), gymnasium.make("MiniGrid-DoorKey-5x5-v0"))
    assert all(type(action) is int for action in actions)


def test_checkpoints_by_name(cartpole: Path) -> None:
    (latest,) = [path for path in (cartpole / "checkpoints").iterdir() if path.name.startswith("step-")]
    best = cartpole / "checkpoints" / "best.pt"
    assert worldmodel.load(cartpole).checkpoint == latest and worldmodel.load(cartpole).step == 80
    assert worldmodel.load(cartpole, "best").checkpoint == best
    assert worldmodel.load(str(cartpole), best).step in (50, 80)
    assert worldmodel.load(cartpole, latest.name).checkpoint == latest


@pytest.mark.parametrize(
    "observation", [np.zeros(3), np.array([0, 0, np.nan, 0]), "text", {"position": 1.0}, None, np.zeros((1, 5))]
)
def test_wrong_observations(cartpole: Path, observation: Any) -> None:
    with pytest.raises(ValueError, match="CartPole-v1"):
        worldmodel.load(cartpole).act(observation)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(3), r"has shape \(3,\), its space declares \(4,\)"),
        (np.zeros(4, complex), "its space declares float32"),
        (np.array([100.0, 0, 0, 0]), "has value 100.0, its space declares -4.8"),
    ],
)
def test_observations_are_checked_as_those_of_a_run(cartpole: Path, observation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"none of CartPole-v1 .*{message}"):
        worldmodel.load(cartpole).act(observation)


def test_a_later_observation_may_leave_its_bounds_as_in_a_run(cartpole: Path) -> None:
    agent, far = worldmodel.load(cartpole), np.array([100.0, 0, 0, 0])
    _, state = agent.act(np.zeros(4), None)
    with pytest.warns(UserWarning, match="has value 100.0, its space declares -4.8") as told:
        for _ in range(3):
            _, state = agent.act(far, state)
    assert len(told) == 1


def test_a_state_and_a_seed_of_every_type(cartpole: Path) -> None:
    agent = worldmodel.load(cartpole)
    observation = np.zeros(4, np.float32)
    actions = [agent.act(observation, greedy=False, seed=seed)[0] for seed in (3, np.int64(3), np.uint8(3))]
    assert len(set(actions)) == 1
    with pytest.raises(TypeError, match=r"state of type tuple: None or the second value that act returned is accepted"):
        agent.act(observation, agent.act(observation))


def test_an_environment_that_has_changed_since(cartpole: Path, tmp_path: Path) -> None:
    """Weights that fit by their shapes would take one field for another."""

    class Renamed(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Dict(poles=gymnasium.spaces.Box(-1, 1, (4,)))
        action_space = gymnasium.spaces.Discrete(2)

    gymnasium.register("Renamed-v0", lambda **_: Renamed())
    path = shutil.copytree(cartpole, tmp_path / "run")
    config = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(config.replace("id: CartPole-v1", "id: Renamed-v0"))
    with pytest.raises(EnvironmentRefused, match=r"its observations are poles float32 \(4,\), those of the checkpoint"):
        worldmodel.load(path)


def test_what_cannot_be_loaded(cartpole: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run"):
        worldmodel.load(tmp_path)
    with pytest.raises(CorruptFile, match="holds no checkpoint"):
        worldmodel.load(cartpole, "none")
    with pytest.raises(MachineError, match="device=gpu"):
        worldmodel.load(cartpole, device="gpu")
    (tmp_path / "config.yaml").write_text((cartpole / "config.yaml").read_text().replace("CartPole-v1", "CatPole-v1"))
    with pytest.raises(EnvironmentRefused, match="did you mean CartPole-v1"):
        worldmodel.load(tmp_path)
