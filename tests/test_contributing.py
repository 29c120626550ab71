"""The examples of CONTRIBUTING.md: each is a file, a test of it, and a config line that opens it from any folder."""

import re
import shlex
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path

import gymnasium as gym
import pytest

from tests.worldmodel.train.runs import TINY
from worldmodel.cli.command import command

PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### An? (\w+)\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE))
PARTS = ("solver", "selector", "cell", "environment", "backend")


def blocks(part: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", SECTIONS[part], re.DOTALL | re.MULTILINE)
    return [code for named, code in found if named == language]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the files are written into, from which modules are imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for part in SECTIONS:
        for code in blocks(part, "python"):
            name = code.partition("\n")[0].removeprefix("# ")
            (tmp_path / name).write_text(code)
            monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    monkeypatch.delitem(gym.registry, "Walk-v0", raising=False)
    invalidate_caches()
    return tmp_path


def test_the_page() -> None:
    """About 20 lines of code, 10 of test, one of configuration."""
    assert set(SECTIONS) == set(PARTS)
    for part in SECTIONS:
        sizes = [len([line for line in code.splitlines() if line.strip()]) for code in blocks(part, "python")]
        assert sizes[0] <= 32 and sizes[1] <= 12 and len(blocks(part, "")) == 1, (part, sizes)


@pytest.mark.parametrize("part", PARTS)
def test_an_example(folder: Path, part: str) -> None:
    """Its own test passes."""
    (name,) = re.findall(r"# (test_\w+)\.py", SECTIONS[part])
    module = import_module(name)
    tests = [test for called, test in vars(module).items() if called.startswith("test_")]
    assert tests
    for test in tests:
        test()


@pytest.mark.parametrize("part", PARTS)
def test_a_config_line(folder: Path, part: str) -> None:
    """A run takes it, by one line: some updates, and a choice where it is of the optimiser."""
    words = shlex.split(blocks(part, "")[0])[3:]
    choices = ["optimizer.every=4", "optimizer.blocks=1"] if "optimizer=hybrid" in words else []
    code = command("train", "worldmodel.train.run:run", [*TINY, *words, *choices, "steps=56", "logdir=run"])
    assert code == 0 and (folder / "run" / "evaluation.json").exists()
