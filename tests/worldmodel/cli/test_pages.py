"""`--help` and `--cfg` of the commands, with the configs that ship."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.worldmodel.train.runs import ENVIRONMENT, ROOT
from worldmodel.cli.command import command
from worldmodel.cli.compose import composed, leaves
from worldmodel.cli.errors import validated
from worldmodel.cli.overrides import Command, expanded
from worldmodel.cli.schema import Catalogue
from worldmodel.evaluate.config import EvaluateConfig
from worldmodel.runs.folder import RunFolder, differences
from worldmodel.train.config import TrainConfig

COMMANDS = {
    "train": "worldmodel.train.run:run",
    "evaluate": "worldmodel.evaluate.run:run",
    "search": "worldmodel.search.run:run",
    "explain": "worldmodel.explain.run:run",
    "probe/termination": "worldmodel.probe.termination.run:run",
}
CHOICES = Catalogue(ROOT / "configs", "train").choices


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(name, COMMANDS[name], ["--help"]) == 0
    out, err = capsys.readouterr()
    catalogue = Catalogue(ROOT / "configs", name)
    composition = composed(catalogue, ROOT / "configs", name, [])
    keys = [key for key in leaves(composition.open) if not catalogue.is_free(key)]
    assert err == "" and all(f"  {key}=" in out for key in [*keys, *catalogue.groups])
    assert [key for key in keys if not catalogue.comment(key, composition.choices)] == []


def test_cfg_of_train_is_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", COMMANDS["train"], ["--cfg", "job", "env=pendulum", "steps=1e5"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    config = validated(TrainConfig, values, {})
    assert (config.env.id, config.steps) == ("Pendulum-v1", 100_000)


def test_cfg_of_evaluate_is_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("evaluate", COMMANDS["evaluate"], ["--cfg", "job", "logdir=here"]) == 0
    config = validated(EvaluateConfig, yaml.safe_load(capsys.readouterr().out), {})
    assert (config.logdir, config.checkpoint, config.episodes) == ("here", "latest", 20)


@pytest.mark.parametrize("group", ["env", "size", "replay", "optimizer", "solver"])
def test_every_choice_is_a_configuration(group: str) -> None:
    configs = ROOT / "configs"
    catalogue = Catalogue(configs, "train")
    for choice in catalogue.choices[group]:
        composition = composed(catalogue, configs, "train", [f"{group}={choice}"])
        assert composition.choices[group] == choice
        validated(TrainConfig, composition.values(), {})


REPEATED = {
    "defaults": "",
    "presets": "env=lunarlander training=paper size=25m env.num=2 env.resize=[64,32] budget={dollars:2}",
    "free sections": "'env.kwargs={a:{b:[1,x y],c.d:2},n:nan}' threads=2 precision=float32 seed=7",
    "a mixture": "replay=mixture replay.components.prioritized.alpha=0.4",
    "hybrid": "optimizer=hybrid optimizer.solver={name:qaoa,layers:2} optimizer.escape.patience=5 solver=vqe",
    "an option of a solver": "solver=annealing solver.reads=7 backend=aer",
    **{f"{group}={name}": f"{group}={name}" for group in ("replay", "solver") for name in CHOICES[group]},
}


def train_values(*words: str) -> dict[str, Any]:
    catalogue = Catalogue(ROOT / "configs", "train")
    composition = composed(catalogue, ROOT / "configs", "train", words)
    return validated(TrainConfig, composition.values(), composition.texts).as_dict()


def again(folder: Path, before: Sequence[str], *words: str) -> dict[str, Any]:
    """The values of @config.yaml of a run, with other words behind it."""
    with RunFolder(folder) as run:
        run.write_config({**train_values(*before), "logdir": str(folder)})
    command = Command(Catalogue(ROOT / "configs", "train"), ROOT / "configs", "train")
    return train_values(*expanded([f"@{folder / 'config.yaml'}", *words], command))


@pytest.mark.slow
@pytest.mark.parametrize("words", REPEATED.values(), ids=REPEATED)
def test_the_config_of_a_run_repeats_it(words: str, tmp_path: Path) -> None:
    """All but its folder."""
    given = shlex.split(words)
    assert differences(train_values(*given), again(tmp_path, given), ()) == []


@pytest.mark.slow
def test_groups_and_keys_behind_the_config_of_a_run_count(tmp_path: Path) -> None:
    before = ("replay=prioritized", "replay.alpha=0.9", "size=12m", "steps=77", "replay.capacity=1000")
    after = again(tmp_path, before, "replay=recall", "size=25m", "replay.fit=3", "seed=9")
    assert after == train_values("replay=recall", "size=25m", "replay.fit=3", "seed=9", *before[3:])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_answer_from_any_folder(name: str, tmp_path: Path) -> None:
    words = name.split("/")
    line = [sys.executable, "-m", f"worldmodel.{words[0]}", *words[1:], "--help"]
    done = subprocess.run(line, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"python -m worldmodel.{' '.join(words)} ") and done.stderr == ""
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command_line", "right"),
    [
        ("train learning_rate=1", "did you mean optimizer.lr?"),
        ("train optimizer.learning_rate=1", "did you mean optimizer.lr?"),
        ("train gamma=0.9", "did you mean behavior.discount_horizon?"),
        ("train env.name=X-v0", "did you mean env.id?"),
        ("train env.id.x=1", "did you mean env.id?"),
        ("train num_envs=4", "did you mean env.num?"),
        ("train total_timesteps=9", "did you mean steps?"),
        ("train model_size=12m", "did you mean size?"),
        ("train batch=3", "did you mean batch_size?"),
        ("train eval_every=3", "did you mean eval.every?"),
        ("train eval.freq=3", "did you mean eval.every?"),
        ("train device.name=x", "did you mean device?"),
        ("train buffer_size=3", "did you mean replay.capacity?"),
        ("train replay.exponent=3", "did you mean replay.alpha with replay=annealed or "),
        ("train qubits=3", "qubits=3: unknown key; did you mean circuit.qubits?"),
        ("train name=x", "unknown key; --help lists them"),
        ("train trials=3", "unknown key; it is a key of worldmodel.search"),
        ("train video=x.mp4", "unknown key; it is a key of worldmodel.evaluate"),
        ("train optimizer=adam", "laprop; did you mean optimizer=laprop?"),
        ("train solver=adam", ", vqe\n"),
        ("train solver=anneal", "did you mean solver=annealing?"),
        ("train size=2m", "400m\n"),
        ("train env=pong", "walker2d\n"),
        ("train env=walker", "did you mean env=walker2d?"),
        ("train env=Walk-v0", "did you mean env.id=Walk-v0?"),
        ("train env=CartPole-v1", "did you mean env=cartpole or env.id=CartPole-v1?"),
        ("train cartpole", "cartpole: give env=cartpole"),
        ("train CartPole-v1", "CartPole-v1: give env.id=CartPole-v1"),
        ("train --steps 1000", "--steps: unknown option; give steps=1000"),
        ("train --train-ratio=8", "--train-ratio=8: unknown option; give train_ratio=8"),
        ("train steps 1000", "steps: give steps=1000"),
        ("evaluate runs/x", "runs/x: give logdir=runs/x"),
        ("evaluate best", "best: key=value is accepted; --help lists the keys"),
        ("evaluate ckpt=best", "did you mean checkpoint?"),
        ("evaluate steps=3", "unknown key; it is a key of worldmodel.train"),
        ("search sampler=bayes", "did you mean sampler=gp or tpe?"),
        ("search sampler=cma", "did you mean sampler=cmaes?"),
        ("search sampler=grid", "tpe\n"),
        ("search n_trials=3", "did you mean trials?"),
        ("search direction=maximize", "unknown key; --help lists them"),
        ("train learning-rate=1", "did you mean optimizer.lr?"),
        ("train learnin_rate=1", "did you mean optimizer.lr?"),
        ("train free_bits=1", "did you mean loss.free_nats?"),
        ("tune algorithm=ppo", "did you mean agent?"),
        ("compare arm=classical", "arm is a section; give arm.KEY=VALUE or 'arms=[classical]'"),
    ],
)
def test_suggestions_are_of_the_same_kind_as_the_word(
    command_line: str, right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *words = command_line.split()
    assert command(name, COMMANDS.get(name, "no:target"), words) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1 and right in line


def test_letters_of_any_language_need_no_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", COMMANDS["train"], ["--cfg", "logdir=runs/größe", "env.kwargs.x=名前"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["logdir"] == "runs/größe" and values["env"]["kwargs"] == {"x": "名前"}
    assert command("train", COMMANDS["train"], ["logdir=größe#1"]) == 2
    assert "quote the value: logdir=\"'größe#1'\"" in capsys.readouterr().err
