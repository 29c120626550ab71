"""Parts are found by their files: a new file is a new name, listing imports nothing, mistakes are one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hybrid_opt.solvers
from hybrid_opt import ProblemError, Qubo, make_solver
from hybrid_opt.parts import Parts, accepted, checked
from hybrid_opt.solvers import SOLVERS
from hybrid_opt.solvers.random import RandomConfig

TOY = """
from pydantic.dataclasses import dataclass

from hybrid_opt.solvers.random import Random


@dataclass
class ToyConfig:
    shots: int = 3


class Base:
    pass


class Toy(Random):
    name = "toy"
    Config = ToyConfig
"""
NO_PARTS = (
    "solver",
    "registry",
    "recording",
    "dimod",
    "trace",
    "running",
    "variational",
    "metropolis",
    "no_file",
    "../qaoa",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that solvers are looked for in, too."""
    monkeypatch.setattr(hybrid_opt.solvers, "__path__", [*hybrid_opt.solvers.__path__, str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize("place", ["toy.py", "deeper/toy.py"])
def test_a_new_file_is_a_new_name(folder: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("toy", "deeper", "deeper.toy"):
        monkeypatch.delitem(sys.modules, f"hybrid_opt.solvers.{module}", raising=False)
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).write_text(TOY)
    assert "toy" in SOLVERS and "toy" in list(SOLVERS)
    assert len(make_solver("toy").solve(Qubo(np.eye(2))).samples) == 3
    with pytest.raises(
        ProblemError, match=r"^solver\.shot: no such option of toy; did you mean shots\? \(accepted: shots\)$"
    ):
        make_solver("toy", shot=2)


def test_what_is_no_part(folder: Path) -> None:
    (folder / "base").mkdir()
    for name in ("base/toy.py", "_toy.py"):
        (folder / name).write_text(TOY)
    assert not {"toy", "_toy", *NO_PARTS} & {*SOLVERS} and not any(name in SOLVERS for name in ("toy", *NO_PARTS))


def test_a_part_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_solver.py").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert len(make_solver("their_solver:Toy", shots=5).solve(Qubo(np.eye(2))).samples) == 5
    for name, line in {
        "their_solver:Base": "is no solver; a class of Solver is accepted",
        "their_solver:Nothing": r"cannot be imported \(AttributeError: .*",
        "no_module:Toy": r"cannot be imported \(ModuleNotFoundError: No module named 'no_module'\)",
        "qoaa": r"no such solver; did you mean qaoa\? \(accepted: annealing, .*",
    }.items():
        with pytest.raises(ProblemError, match=f"^solver={name}: {line}$"):
            make_solver(name)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"shots": 0}, "a.b.shots=0: input should be greater than 0"),
        ({"shot": 1}, "a.b.shot: no such option of random; did you mean shots? (accepted: shots)"),
        ({"x": 1}, "a.b.x: no such option of random (accepted: shots)"),
    ],
)
def test_options_are_checked_in_one_line(options: dict[str, int], line: str) -> None:
    with pytest.raises(KeyError) as caught:
        checked(RandomConfig, options, "a.b", "of random", KeyError)
    assert caught.value.args == (line,)
    assert checked(RandomConfig, {"shots": 4}, "a.b", "of random") == RandomConfig(shots=4)
    assert accepted("x", []) == "; it has none"


def test_listing_imports_no_part() -> None:
    code = (
        "import sys; from hybrid_opt.solvers import SOLVERS; from worldmodel.model.cells import CELLS;"
        "from worldmodel.model.heads import HEADS; assert 'vqe' in list(SOLVERS);"
        "assert 'gru' in list(CELLS) and 'mlp' in list(HEADS);"
        "assert not {'hybrid_opt.solvers.qaoa', 'torch'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_parts_without_options_are_of_the_contract() -> None:
    machines = Parts("machine", "quantum_sampler.machines", "Restricted", options=False)
    assert list(machines) == ["rbm", "semi_quantum", "transverse"]
    assert machines.find("rbm", "machine").__name__ == "Rbm"
