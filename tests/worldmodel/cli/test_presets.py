"""Presets: YAML holds what differs from the defaults at the fields of the config dataclasses, and no sentence twice."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.worldmodel.train.runs import ENVIRONMENT, ROOT
from worldmodel.cli.compose import composed, configured, leaves
from worldmodel.cli.schema import catalogue
from worldmodel.compare.config import ArmConfig, TaskConfig
from worldmodel.runs.parts import command_config, options, top
from worldmodel.train.config import TrainConfig

CONFIGS = ROOT / "configs"
FILES = {path.relative_to(CONFIGS).with_suffix("").as_posix(): path for path in sorted(CONFIGS.rglob("*.yaml"))}
COMMANDS = [name for name in FILES if (ROOT / "worldmodel" / name / "config.py").exists()]
PRESETS = [path for name, path in FILES.items() if name not in COMMANDS]
READ = {"arm": ArmConfig, "task": TaskConfig}  # presets that compare reads by itself


def at(values: Any, key: str) -> Any:
    """The value of a dotted key, None where there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def written(path: Path) -> dict[str, Any]:
    values = yaml.safe_load(path.read_text()) or {}
    return {key: value for key, value in values.items() if key != "defaults"}


def repeated(path: Path, usual: dict[str, Any], package: str = "") -> list[str]:
    """The keys of a file that say what the defaults say; one that says the name of the file names a part."""
    values = written(path)
    keys = {key: f"{package}.{key}" if package else key for key in leaves(values)}
    pairs = {keys[key]: (at(values, key), at(usual, keys[key])) for key in keys}
    return [key for key, (value, default) in pairs.items() if value is not None and value == default != path.stem]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_a_preset_holds_what_differs_from_the_defaults(path: Path) -> None:
    group = path.parent.name
    if group in READ:
        assert repeated(path, top(options(READ[group]))) == []
        return
    package = "" if "@package _global_" in path.read_text() else group
    commands = [name for name in COMMANDS if group in catalogue(CONFIGS, name).groups]
    name = "train" if "train" in commands else commands[0]  # whose defaults others change at most
    command = catalogue(CONFIGS, name)
    choices = composed(command, CONFIGS, name, [f"{group}={path.stem}"]).choices
    assert repeated(path, command.defaults(choices), package) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_writes_what_differs_from_its_defaults(name: str) -> None:
    assert repeated(CONFIGS / f"{name}.yaml", top(options(command_config(name)))) == []


def test_no_sentence_of_a_field_is_written_again() -> None:
    sentences = {option.sentence for name in COMMANDS for option in options(command_config(name)).values()}
    sentences |= {option.sentence for schema in READ.values() for option in options(schema).values()} - {""}
    comments = {(name, text) for name, path in FILES.items() for text in re.findall(r"#\s*(.*)", path.read_text())}
    assert [each for each in comments if each[1] in sentences] == []


def test_what_the_check_finds(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("steps: 3\nlog: {every: 250, keep: null}\nname: mine\n")
    usual = {"steps": 4, "log": {"every": 250}, "name": "mine"}
    assert repeated(tmp_path / "mine.yaml", usual) == ["log.every"]


def test_a_folder_of_a_users_with_every_value_needs_no_defaults(tmp_path: Path) -> None:
    values = composed(catalogue(CONFIGS, "train"), CONFIGS, "train", ["replay=prioritized"]).values()
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(values))
    made = configured("train", TrainConfig, ["replay.alpha=0.5", "steps=7"], tmp_path)
    assert made == configured("train", TrainConfig, ["replay=prioritized", "replay.alpha=0.5", "steps=7"])


@pytest.mark.slow
def test_help_of_all_commands_imports_nothing_heavy() -> None:
    heavy = {"torch", "gymnasium", "numba", "scipy", "optuna", "sklearn", "ray"}
    code = (
        "import sys; from worldmodel.cli.command import command\n"
        f"assert [command(name, 'absent:run', ['--help']) for name in {COMMANDS}] == {[0] * len(COMMANDS)}\n"
        f"print(sorted({heavy} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
