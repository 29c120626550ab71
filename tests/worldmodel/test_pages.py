"""`--help` and `--cfg` of the commands, with the configs that ship."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.worldmodel.runs import ENVIRONMENT, ROOT
from worldmodel.catalogue import Catalogue
from worldmodel.command import command
from worldmodel.composition import composed, leaves
from worldmodel.config import TrainConfig
from worldmodel.evaluating import EvaluateConfig
from worldmodel.validation import validated

COMMANDS = {
    "train": "worldmodel.training:run",
    "evaluate": "worldmodel.evaluating:run",
    "search": "worldmodel.searching:run",
}


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


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_answer_from_any_folder(name: str, tmp_path: Path) -> None:
    line = [sys.executable, "-m", f"worldmodel.{name}", "--help"]
    done = subprocess.run(line, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"python -m worldmodel.{name} ") and done.stderr == ""
    assert not any(tmp_path.iterdir())
