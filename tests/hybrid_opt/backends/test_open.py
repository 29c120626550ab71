"""`backend=module:Class` opens a backend of the user's, without an entry in a table."""

from pathlib import Path

import pytest

from hybrid_opt.backends import check_name, open_backend
from hybrid_opt.backends.backend import AnnealProgram
from hybrid_opt.errors import ProblemError
from hybrid_opt.problem.qubo import Qubo

FRIDGE = """
from dataclasses import dataclass
import numpy as np
from hybrid_opt.backends.backend import Capabilities, Limits, Result
from hybrid_opt.cost import Cost
from hybrid_opt.job import FinishedJob

@dataclass(frozen=True)
class FridgeConfig:
    bit: int = 0

class Fridge:
    Config, name, capabilities, limits = FridgeConfig, "fridge:Fridge", Capabilities(anneals=True), Limits()

    def __init__(self, config):
        self.config = config

    def estimate(self, program):
        return Cost(shots=program.reads)

    def submit(self, program, key, seed=0):
        samples = tuple(np.full((program.reads, q.n), self.config.bit, np.uint8) for q in program.qubos)
        return FinishedJob(key, Result(samples, cost=self.estimate(program)))

    def find(self, key): ...
    def close(self): ...

class Toaster:
    Config = FridgeConfig

    def __init__(self, config): ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fridge.py").write_text(FRIDGE)
    (tmp_path / "broken_fridge.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_class_of_the_users(folder: Path) -> None:
    assert check_name("fridge:Fridge?bit=1") == ("fridge", "Fridge")
    backend = open_backend("fridge:Fridge?bit=1", ledger=folder / "ledger.sqlite")
    result = backend.submit(AnnealProgram((Qubo([[1.0, 0.0], [0.0, 1.0]]),), 3), "key").result()
    assert result.samples[0].tolist() == [[1, 1]] * 3 and result.about["backend"] == "fridge:Fridge"
    backend.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fridge:Oven", "backend=fridge:Oven: fridge has no class Oven"),
        ("fridge:Toaster", "backend: a Toaster; .* is accepted"),
        ("fridge:Fridge?bits=1", "backend.bits: no such option of fridge:Fridge; did you mean bit?"),
        ("fridge:Fridge?bit=warm", "backend.bit='warm': "),
        ("broken_fridge:Fridge", "backend=broken_fridge:Fridge: .*ZeroDivisionError"),
        ("imb:ibm_fez", "backend=imb:ibm_fez: no such backend .*; did you mean ibm?"),
        ("fridge:", "backend=fridge:: no such backend"),
        ("..fridge:Fridge", "backend=..fridge:Fridge: no such backend"),
    ],
)
def test_wrong_classes(folder: Path, name: str, message: str) -> None:
    with pytest.raises(ProblemError, match=f"^{message}") as error:
        open_backend(name)
    assert "\n" not in str(error.value)


def test_only_a_stand_in_by_its_own_name_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor whose name begins like that of the mock is the vendor's."""
    asked = list[str]()
    monkeypatch.setattr(
        "hybrid_opt.backends.dwave.dwave.DWave.__init__", lambda self, device, config: asked.append(device)
    )
    open_backend("dwave:mock").close()
    open_backend("dwave:mockingbird")
    assert asked == ["mockingbird"]
