"""Wrong input to `worldmodel.search`: one line that says what is accepted, exit code 2, and nothing left behind."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.worldmodel.train.runs import TINY, line_of
from worldmodel.cli.command import command
from worldmodel.search.samplers import Qubo, say_uncounted

LR = "space.optimizer.lr"
OWN = "space=empty space.train_ratio"

CASES = {
    "no workers": ("workers=0", "workers=0: must be greater than or equal to 1"),
    "no trials": ("trials=0", "trials=0: must be greater than or equal to 1"),
    "sampler": ("sampler=tpo", "sampler=tpo: sampler is one of cmaes, gp, qubo, random, tpe; did you mean"),
    "space": ("space=dreemer", "space is one of circuit, dreamer, empty, rates; did you mean space=dreamer?"),
    "option of a sampler": ("sampler=tpe sampler.levels=3", "sampler.levels=3: unknown key"),
    "objective": ("objective=fame", "objective=fame: must be final_return, return_area or return_per_minute"),
    "pruner": ("pruner=hyperband pruner.reduction_factor=1", "pruner.reduction_factor=1: must be greater than"),
    "curve": ("curve=eval/return", "curve=eval/return: needs evaluations during training; eval.every=0 of steps=10000"),
    "key": ("space.optimizer.lrr={type:float,low:1,high:2}", "space: optimizer.lrr=1.0: unknown key; did you mean"),
    "range": (f"{LR}.low=1", f"{LR}: low=1.0 is above high=0.003; low <= high is accepted"),
    "logarithm": (f"{LR}.low=0", f"{LR}: low=0.0 with log=true: more than 0 is accepted"),
    "step": (f"{LR}.step=0.1", f"{LR}: step=0.1 with log=true: one of the two is accepted"),
    "number": (f"{LR}.low=small", f"{LR}.low=small: must be a number"),
    "kind": (f"{LR}.type=normal", f"{LR}: must have a type, float, int or categorical"),
    "no kind": (f"{OWN}={{low:1,high:2}}", "space.train_ratio={low:1,high:2}: must have a type, float, int or"),
    "value for a parameter": (f"{OWN}={{type:int,low:1,high:2.5}}", "space.train_ratio.high=2.5: must be a whole"),
    "no choices": (f"{OWN}={{type:categorical,choices:[]}}", "choices must have a value at least"),
    "same choices": (f"{OWN}={{type:categorical,choices:[1,1]}}", "choices must differ from one another"),
    "value that training refuses": (f"{OWN}={{type:int,low:0,high:2}}", "space: train_ratio=0: must be greater than 0"),
    "choice that training refuses": (
        "space=empty space.size={type:categorical,choices:[400k,2m]}",
        "space: size=2m: size is one of ",
    ),
    "folder": ("space=empty space.logdir={type:categorical,choices:[a]}", "space.logdir: cannot be searched"),
    "empty space": ("space=empty", "space: holds no key; 'space.KEY={type:float,"),
    "storage": ("storage=here", "storage=here: a URL such as sqlite:///FILE or postgresql://USER@HOST/DATABASE is"),
    "port": ("storage=postgresql://me:secret@127.0.0.1:x/y", "storage=postgresql://me:***@127.0.0.1:x/y: a URL such"),
    "mistyped URL": ("storage=postgresql//me:secret@h/db", "storage=postgresql//me:***@h/db: a URL such as"),
    "storage in memory": ("storage=sqlite://", "storage=sqlite://: workers cannot share memory"),
    "database": ("storage=oracly://host/x", "storage=oracly://host/x: no such database; sqlite, postgresql or"),
    "no server": (
        "storage=postgresql://me:secret@127.0.0.1:1/x",
        "storage=postgresql+psycopg://me:***@127.0.0.1:1/x: ",
    ),
    "no folder of a database": ("storage=sqlite:////none/x.db", "storage=sqlite:////none/x.db: cannot be opened: "),
    "surrogate": ("sampler=qubo sampler.surrogate=clairvoyant", "surrogate"),
    "solver": ("sampler=qubo sampler.solver=oracle", "solver"),
    "unit of a budget": ("sampler=qubo sampler.budget={foo:1}", "budget.foo: no such unit; shots, seconds"),
    "a space beyond the solver": (
        "sampler=qubo sampler.solver=grover space=dreamer",
        "solver=grover: 20000000 feasible states; up to 16777216 are accepted",
    ),
    "key of training": ("stpes=3", "stpes=3: unknown key; did you mean steps?"),
    "no final evaluation": ("eval.final_episodes=0", "eval.final_episodes=0: objective=final_return needs them"),
    "environment": ("env.id=CatPole-v1", "no such environment is registered; did you mean CartPole-v1?"),
    "device": ("device=gpu", "device=gpu: auto, cpu, cuda or cuda:N is accepted"),
    "init": ("init=/none", "/none: holds no checkpoint"),
    "file of words": ("@/none.yaml", "@/none.yaml: cannot be read: No such file or directory"),
}  # fmt: skip


def search(*words: object) -> int:
    base = [word for word in TINY if not word.startswith(("optimizer.lr", "train_ratio"))]
    return command("search", "worldmodel.search.run:run", [*base, "sampler=random", "space=rates", *map(str, words)])


@pytest.mark.parametrize(("words", "line"), CASES.values(), ids=CASES.keys())
def test_wrong_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert search("logdir=new/search", *words.split()) == 2
    said = line_of(capsys.readouterr().err)
    assert line in said and "secret" not in said
    assert not any(tmp_path.iterdir())


def test_ray_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # what is not installed cannot be imported
    assert search("launcher=ray", f"logdir={tmp_path / 'search'}") == 2
    assert line_of(capsys.readouterr().err) == 'launcher=ray: needs ray: pip install "worldmodel[ray]"'


@pytest.mark.parametrize(("backend", "said"), [("statevector", True), ("aer", False)])
def test_a_budget_that_counts_nothing_is_said(capsys: pytest.CaptureFixture[str], backend: str, said: bool) -> None:
    sampler = Qubo(name="qubo", solver="qaoa", backend=backend, budget={"shots": 10.0}, seed=0)
    say_uncounted(sampler)
    say_uncounted(replace(sampler, budget=None))
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith("sampler.budget: ") for line in lines] == [True] * said


def test_the_folder_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"steps": 3, "versions": {}, "commit": None, "hardware": {}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    assert search(f"logdir={tmp_path}") == 2
    assert line_of(capsys.readouterr().err).endswith("holds a training run, not a search; give another logdir")
