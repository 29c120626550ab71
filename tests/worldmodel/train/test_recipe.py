"""What `training=auto` becomes, and that runs keep what they began with."""

from pathlib import Path

import pytest

from tests.worldmodel.train.runs import train
from worldmodel.runs.folder import read_config

NOTHING = ("steps=60", "eval.final_episodes=0", "train_ratio=4", "control.period=3")
PENDULUM = ("env=pendulum", "optimizer.warmup=0")


def agent_of(folder: Path) -> str:
    return str(read_config(folder)["model"]["agent"])


@pytest.mark.parametrize(
    ("words", "agent"),
    [
        (PENDULUM, "control"),
        (("env=cartpole",), "dreamer"),
        (("env=pendulum", "training=quick"), "dreamer"),
        (("env=cartpole", "training=control"), "control"),
        (("env=pendulum", "model.heads.actor=narrow"), "dreamer"),
    ],
)
def test_the_spaces_and_the_parts_choose(tmp_path: Path, words: tuple[str, ...], agent: str) -> None:
    assert train(*NOTHING, *words, f"logdir={tmp_path / 'run'}") == 0
    assert agent_of(tmp_path / "run") == agent


def test_a_memory_brings_its_recipe_and_a_run_with_it_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, words = tmp_path / "run", ("env=tmaze", "env.kwargs.delay=5", "model.memory=qmatrix", "optimizer.warmup=0")
    assert train(*NOTHING, *words, f"logdir={run}") == 0
    assert "training=memory: " in capsys.readouterr().out and read_config(run)["behavior"]["entropy"] == 0.03
    assert train(*NOTHING, *words, f"logdir={run}", "steps=70") == 0
    assert "continuing at step 60" in capsys.readouterr().out


@pytest.mark.parametrize("training", ["quick", "control"])
def test_a_run_keeps_its_own_and_so_do_its_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], training: str
) -> None:
    """By `training=auto`, which would choose control for a new run."""
    run, other = tmp_path / "run", tmp_path / "other"
    assert train(*NOTHING, *PENDULUM, f"training={training}", f"logdir={run}") == 0
    assert train(*NOTHING, *PENDULUM, f"logdir={run}", "steps=70") == 0
    assert "continuing at step 60" in capsys.readouterr().out
    assert train(*NOTHING, *PENDULUM, f"init={run}", f"logdir={other}") == 0
    assert agent_of(other) == agent_of(run) == {"quick": "dreamer"}.get(training, training)
