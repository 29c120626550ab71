"""The command line: composition, one-line errors, help, and where the packages are taken from."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

import worldmodel
from worldmodel.cli.command import command, stopped_by_signals
from worldmodel.cli.compose import composed as compose_command
from worldmodel.cli.compose import leaves
from worldmodel.cli.schema import Catalogue

ROOT = Path(worldmodel.__file__).parent.parent
STRICT = ConfigDict(extra="forbid", frozen=True)
TREE = {
    "train.yaml": """\
# Trains a model.
defaults:
  - _self_
  - size: 1m  # the size of the model
  - replay: uniform  # which experience is replayed
  - env: cartpole  # the task

steps: 15000  # environment steps
seed: 0  # seed of everything
logdir: runs/${env.id}-${seed}  # the folder of the run;
                                # an existing run is continued
init:  # weights to start from
threads: auto  # threads, "#" is no comment
env:  # where experience comes from
  id: CartPole-v1  # a Gymnasium id
  kwargs: {}  # passed to gymnasium.make
  resize: auto  # auto or [H,W]
log:  # what is written
  every: 10  # seconds
  tags:  # names
    - a
""",
    "search.yaml": "# Searches.\ndefaults:\n  - train\n  - _self_\ntrials: 5  # trials\n",
    "needy.yaml": "logdir: ???  # the folder of the run\n",
    "env/cartpole.yaml": "# @package _global_\nenv:\n  id: CartPole-v1\n",
    "env/atari/pong.yaml": "# @package _global_\ndefaults:\n  - override /size: 12m\nenv:\n  id: ALE/Pong-v5\n"
    "  kwargs:\n    frameskip: 1\nsteps: 400000\n",
    "replay/uniform.yaml": "selector: uniform\ncapacity: 10  # items\n",
    "replay/mixture.yaml": "selector: mixture\nparts: {uniform: {share: 1.0}}  # parts\n",
    "env/braces.yaml": "# @package _global_\nenv: {id: X}\nlog: {every: 2}\nmodel: {units: 3}\n",
    "replay/prioritized.yaml": "selector: prioritized\ncapacity: 10  # items\nexponent: 0.6  # of the priority\n",
    "size/1m.yaml": "# @package model\nunits: 512  # units of a layer\n",
    "size/12m.yaml": "# @package model\nunits: 1024  # units of a layer\n",
}


@dataclass(config=STRICT)
class Env:
    id: str
    kwargs: dict[str, Any]
    resize: Literal["auto", False] | tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


@dataclass(config=STRICT)
class Log:
    every: Annotated[float, Field(gt=0)]
    tags: list[str]


@dataclass(config=STRICT)
class Replay:
    selector: Literal["uniform", "prioritized", "mixture"]
    capacity: Annotated[int, Field(ge=1)] = 1
    exponent: float = 0.0
    parts: dict[str, Any] | None = None


@dataclass(config=STRICT)
class Model:
    units: int


@dataclass(config=STRICT)
class Config:
    steps: Annotated[int, Field(ge=0)]
    seed: int
    logdir: str
    init: str | None
    threads: Annotated[int, Field(ge=1)] | Literal["auto"]
    env: Env
    log: Log
    replay: Replay
    model: Model

    def __post_init__(self) -> None:
        if self.steps == 7:
            raise ValueError("steps=7 does not go with\nthis seed")


class DeadEnvironment(Exception):
    exit_code = 1


class Stopped(Exception):
    exit_code = 130


received: list[Config] = []


def run(config: Config) -> None:
    received.append(config)


def fail(config: Config) -> int:
    match config.init:
        case "dies":
            raise DeadEnvironment("env.id=X: died\nin step 3")
        case "interrupted":
            raise KeyboardInterrupt
        case "stopped":
            raise Stopped("saved at step 3")
        case "bug":
            raise ZeroDivisionError
    return 3


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def composed(configs: Path, *words: str, target: str = "run") -> Config:
    received.clear()
    assert command("train", f"{__name__}:{target}", words, configs) == 0
    return received[0]


def test_defaults_arrive_as_the_dataclass(configs: Path) -> None:
    config = composed(configs)
    assert config.steps == 15000 and config.logdir == "runs/CartPole-v1-0" and config.init is None
    assert config.model.units == 512 and config.replay.selector == "uniform"


def test_overrides(configs: Path) -> None:
    config = composed(configs, "steps=1e5", "env=atari/pong", "replay=prioritized", "+seed=2", "log={every:0.5}")
    assert config.steps == 100_000 and isinstance(config.steps, int)
    assert config.logdir == "runs/ALE/Pong-v5-2" and config.model.units == 1024
    assert config.replay.exponent == 0.6 and config.log.every == 0.5 and config.log.tags == ["a"]
    assert composed(configs, "env.resize=[64,32]").env.resize == (64, 32)
    assert composed(configs, "env=atari/pong", "size=1m").model.units == 512


def test_free_section_takes_anything(configs: Path) -> None:
    config = composed(configs, "env=atari/pong", "env.kwargs.a=1", "+env.kwargs.b.c=x", "env.kwargs={d:[1]}")
    assert config.env.kwargs == {"frameskip": 1, "a": 1, "b": {"c": "x"}, "d": [1]}
    assert composed(configs, "env=atari/pong", "~env.kwargs.frameskip").env.kwargs == {}
    parts = composed(
        configs, "replay=mixture", "replay.parts.prioritized.share=0.5", "~replay.parts.uniform"
    ).replay.parts
    assert parts == {"prioritized": {"share": 0.5}}


def test_text_is_taken_as_it_was_written(configs: Path) -> None:
    config = composed(configs, "logdir=0123", "env.id=1e5", "init=true")
    assert (config.logdir, config.env.id, config.init) == ("0123", "1e5", "true")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("stpes=3", "stpes=3: unknown key; did you mean steps?"),
        ("every=3", "every=3: unknown key; did you mean log.every?"),
        ("env.di=X", "env.di=X: unknown key; did you mean env.id?"),
        ("log={evry:1}", "log={evry:1}: unknown key log.evry; did you mean log.every?"),
        ("replay.foo=1", "replay.foo=1: unknown key; --help lists them"),
        ("env=braces log.evry=1", "log.evry=1: unknown key; did you mean log.every?"),
        ("env=braces model.unit=1", "model.unit=1: unknown key; did you mean model.units?"),
        ("+new.key=1", "+new.key=1: unknown key; --help lists them"),
        ("++new=1", "++new=1: unknown key; --help lists them"),
        ("hydra.job.name=x", "hydra.job.name=x: unknown key; --help lists them"),
        ("replay.exponent=1", "unknown key; did you mean replay.exponent with replay=prioritized?"),
        ("env@x=cartpole", "env@x=cartpole: unknown key; did you mean env?"),
        ("~steps", "~steps: keys cannot be removed; give steps=VALUE"),
        ("~env", "~env: env is one of atari/pong, braces, cartpole"),
        ("env=CartPole", "env is one of atari/pong, braces, cartpole; did you mean env=cartpole?"),
        ("env=null", "env=null: env is one of atari/pong, braces, cartpole"),
        ("size=2m", "size=2m: size is one of 1m, 12m\n"),
        ("log=3", "log=3: log is a section; its keys are log.every, log.tags"),
        ("env.kwargs=3", "env.kwargs=3: env.kwargs is a section; give env.kwargs.KEY=VALUE"),
        ("steps", "steps: give steps=VALUE"),
        ("--hlep", "--hlep: unknown option; accepted are --help, --cfg, --version and key=value"),
        ("steps=1,2", "steps=1,2: one value is accepted"),
        ("logdir=a#b", "logdir=a#b: has characters with a meaning of their own; quote the value: logdir=\"'a#b'\""),
        ("a..b=3", "a..b=3: not of the form key=value"),
        ("logdir=${sede}", "logdir=${sede}: Interpolation key 'sede' not found"),
        ("steps=abc", "steps=abc: must be a whole number"),
        ("steps=1.5", "steps=1.5: must be a whole number"),
        ("steps=", "steps=: must be a whole number"),
        ("steps={a:1}", "steps={a:1}: must be a whole number"),
        ("steps=-1", "steps=-1: must be greater than or equal to 0"),
        ("steps=true", "steps=true: must be a number"),
        ("log={every:false}", "log.every=false: must be "),
        ("log.every=0", "log.every=0: must be greater than 0"),
        ("replay.capacity=null", "replay.capacity=null: must be a whole number"),
        ("replay.selector=uni", "replay.selector=uni: must be uniform, prioritized or mixture"),
        ("threads=many", "threads=many: must be a whole number or auto"),
        ("env.resize=big", "env.resize=big: must be auto or false or a list such as [1,2]"),
        ("env.resize=[64,0]", "env.resize.1=0: must be greater than or equal to 1"),
        ("env.resize=[64]", "env.resize=[64]: must be auto or false or a longer list"),
        ("steps=-1 seed=x log.every=q", "steps=-1: must be greater than or equal to 0 (and 2 more)"),
        ("steps=7", "steps=7 does not go with this seed"),
        ("steps=???", "steps=VALUE: must be given"),
        ("name=a\udcff", "'name=a\\udcff': has bytes that are no UTF-8"),
    ],
)
def test_wrong_input_is_one_line(configs: Path, capsys: pytest.CaptureFixture[str], words: str, error: str) -> None:
    received.clear()
    assert command("train", f"{__name__}:run", words.split(), configs) == 2
    out, err = capsys.readouterr()
    assert out == "" and not received
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert error in err


def test_a_current_folder_that_is_gone(
    configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert command("main", f"{__name__}:run", [], configs=configs) == 2
    assert capsys.readouterr().err.startswith("error: the current folder cannot be used: No such file or directory; ")


def test_mandatory_value(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("needy", f"{__name__}:run", [], configs) == 2
    assert capsys.readouterr().err == "error: logdir=VALUE: must be given\n"
    assert command("needy", f"{__name__}:run", ["--cfg"], configs) == 0


def test_exit_codes(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def code(init: str) -> int:
        return command("train", f"{__name__}:fail", [f"init={init}"], configs)

    assert code("dies") == 1
    assert capsys.readouterr().err == "error: env.id=X: died in step 3\n"
    assert code("interrupted") == 130
    capsys.readouterr()
    assert code("stopped") == 130
    assert capsys.readouterr().err == "saved at step 3\n"
    assert code("code") == 3
    with pytest.raises(ZeroDivisionError):
        code("bug")


def test_help_lists_groups_and_keys(
    configs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert command("train", "absent:run", ["--help", "env=atari/pong"], configs) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == ["python -m worldmodel.train [group=choice] [key=value] ...", "Trains a model."]
    at = lines.index("size=12m the size of the model")
    assert lines[at + 1] == "1m, 12m"
    for line in (
        "steps=400000 environment steps",
        "logdir=runs/${env.id}-${seed} the folder of the run; an existing run is continued",
        "init=null weights to start from",
        'threads=auto threads, "#" is no comment',
        "env: where experience comes from",
        "env.kwargs={frameskip:1} passed to gymnasium.make",
        "log.tags=[a] names",
        "log.every=10 seconds",
        "model.units=1024 units of a layer",
        "replay.capacity=10 items",
    ):
        assert line in lines
    assert lines[lines.index("With replay=prioritized") + 1] == "replay.exponent=0.6 of the priority"


def test_help_of_a_command_on_top_of_another(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("search", "absent:run", ["--help"], configs) == 0
    out = capsys.readouterr().out
    assert "Searches." in out and "trials=5" in out and "environment steps" in out and "env=cartpole" in out


@pytest.mark.parametrize("option", ["--cfg", "--cfg=job", "--cfg job"])
def test_cfg_prints_the_resolved_yaml(configs: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert command("train", "absent:run", [*option.split(), "steps=3"], configs) == 0
    out = capsys.readouterr().out
    assert "steps: 3\n" in out and "logdir: runs/CartPole-v1-0\n" in out and "hydra" not in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", "absent:run", ["--version"]) == 0
    assert capsys.readouterr().out == f"worldmodel {worldmodel.__version__}\n"


def python(code: str, folder: Path, path: Path = ROOT) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    words = [sys.executable, "-c", code]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_help_imports_nothing_heavy_and_leaves_nothing_behind(configs: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from worldmodel.cli.command import command\n"
        f"assert command('train', 'absent:run', ['--help'], pathlib.Path({str(configs)!r})) == 0\n"
        "import worldmodel.runs.folder, worldmodel.runs.metrics, worldmodel.runs.progress\n"
        "print(sorted({'torch', 'gymnasium', 'tensorflow', 'matplotlib'} & sys.modules.keys()))\n"
    )
    here = tmp_path / "here"
    here.mkdir()
    assert python(code, here).splitlines()[-1] == "[]"
    assert not any(here.iterdir())


def test_everything_in_our_configs_has_its_sentence() -> None:
    configs = ROOT / "configs"
    catalogue = Catalogue(configs, "train")
    composition = compose_command(catalogue, configs, "train", [])
    assert catalogue.title
    assert [group for group, sentence in catalogue.groups.items() if not sentence] == []
    keys = [key for key in leaves(composition.open) if not catalogue.is_free(key)]
    silent = [key for key in keys if not catalogue.comment(key, composition.choices)]
    for choice, entries in catalogue.options.items():
        for key, entry in entries.items():
            if not entry.section and not catalogue.is_free(key) and not catalogue.comment(key, dict([choice])):
                silent.append(f"{key} of {'='.join(choice)}")
    assert silent == []


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An installation: the package with its configs and environments inside."""
    site = tmp_path / "site"
    unwanted = shutil.ignore_patterns("__pycache__", "configs")
    shutil.copytree(ROOT / "worldmodel", site / "worldmodel", ignore=unwanted)
    shutil.copytree(ROOT / "hybrid_opt", site / "hybrid_opt", ignore=unwanted)
    shutil.copytree(ROOT / "envs", site / "worldmodel/envs", ignore=unwanted, dirs_exist_ok=True)
    for name, text in {**TREE, "needy.yaml": "steps: 1  # steps\n"}.items():
        (site / "worldmodel/configs" / name).parent.mkdir(parents=True, exist_ok=True)
        (site / "worldmodel/configs" / name).write_text(text)
    (site / "worldmodel/train/__main__.py").write_text(
        "from worldmodel.cli.command import command\nraise SystemExit(command('needy', 'worldmodel.needy.run:run'))\n"
    )
    (site / "worldmodel/needy").mkdir()
    (site / "worldmodel/needy/config.py").write_text(
        "from pydantic.dataclasses import dataclass\n@dataclass\nclass NeedyConfig:\n    steps: int\n"
    )
    (site / "worldmodel/needy/run.py").write_text(
        "from worldmodel.needy.config import NeedyConfig\n"
        "def run(config: NeedyConfig) -> None:\n"
        "    import worldmodel.envs.errors, envs.corridor\n"
        "    print(envs.corridor.origin, worldmodel.envs.errors.__file__)\n"
    )
    return site


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder of a user's, who keeps an envs package and configs of his own there."""
    here = tmp_path / "here"
    for name in ("envs", "configs"):
        (here / name).mkdir(parents=True)
    (here / "envs/__init__.py").write_text("")
    (here / "envs/corridor.py").write_text("origin = 'mine'\n")
    (here / "configs/needy.yaml").write_text("nonsense: 1\n")
    return here


def test_runs_in_a_folder_with_an_envs_package(site: Path, here: Path) -> None:
    words = [sys.executable, "-m", "worldmodel.train", "steps=2"]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(words, check=False, cwd=here, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["mine", str(site / "worldmodel/envs/errors.py")]


@pytest.mark.parametrize("order", ["envs.corridor, worldmodel.envs.errors", "worldmodel.envs.errors, envs.corridor"])
@pytest.mark.parametrize("installed", [True, False])
def test_an_envs_package_of_the_users_in_either_order(site: Path, here: Path, order: str, installed: bool) -> None:
    code = f"import sys, {order}; print(envs.corridor.origin, worldmodel.envs.errors.__file__)"
    file = site / "worldmodel/envs/errors.py" if installed else ROOT / "envs/errors.py"
    assert python(code, here, site if installed else ROOT).split() == ["mine", str(file)]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(first: signal.Signals) -> None:
    work, before = SimpleNamespace(stopping=False), signal.getsignal(first)
    with pytest.raises(KeyboardInterrupt), stopped_by_signals(work):
        signal.raise_signal(first)
        assert work.stopping
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(first) is before


def test_the_package_imports_light(tmp_path: Path) -> None:
    out = python("import worldmodel, sys; print('torch' in sys.modules, worldmodel.__version__)", tmp_path)
    assert out.split() == ["False", worldmodel.__version__]
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = worldmodel.lod


def _too_large(kind: str) -> None:
    if kind == "numpy":
        np.empty(1 << 55)
    elif kind == "torch":
        torch.empty(1 << 55)
    raise MemoryError


@pytest.mark.parametrize("kind", ["numpy", "torch", "python"])
def test_memory_that_is_not_there_is_one_line(
    configs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    monkeypatch.setattr("worldmodel.cli.command._run", lambda *_: _too_large(kind))
    assert command("train", "worldmodel.train.run:run", [], configs) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory in ") and line.endswith("horizons or images need less")
