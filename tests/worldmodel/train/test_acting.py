"""Acting through a backend: one job a step of all streams, in the ledger and within the budget; training simulates."""

import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import worldmodel
from tests.worldmodel.train.runs import evaluate, line_of, rows, train

CIRCUIT = ("model.heads.actor=circuit", "circuit.qubits=2", "circuit.layers=1")
AER = (*CIRCUIT, "circuit.backend=aer", "circuit.shots=32", "env.num=2", "eval.final_episodes=0")


def jobs(folder: Path) -> int:
    """The jobs in the ledger of a run."""
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        return int(ledger.execute("select count(*) from jobs").fetchone()[0])


@pytest.mark.slow
def test_one_job_a_step_of_all_streams(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(*AER, "steps=60", f"logdir={run}") == 0
    assert jobs(run) == 30 and any("loss/model" in row for row in rows(run))
    agent = worldmodel.load(run, device="cpu")
    _, carry = agent.act(np.zeros(4, np.float32))
    agent.act(np.zeros(4, np.float32), carry)
    agent.close()
    assert jobs(run) == 32
    assert evaluate(f"logdir={run}", "episodes=1") == 0
    assert jobs(run) > 35


@pytest.mark.slow
def test_the_budget_of_the_run_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (*AER, "steps=60", "budget={shots:640}", f"logdir={tmp_path / 'run'}")
    assert train(*words) == 3
    assert "budget" in line_of(capsys.readouterr().err)
    assert jobs(tmp_path / "run") in (10, 11)  # of two circuits each


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("circuit.backend=are", *CIRCUIT), "circuit.backend=are: no such backend; did you mean aer?"),
        pytest.param(
            ("circuit.backend=dwave:mock", *CIRCUIT),
            "circuit.backend=dwave:mock: runs no circuits; statevector, lightning, aer",
            marks=pytest.mark.slow,  # imports the vendor's library
        ),
    ],
)
def test_backends_that_run_no_circuits_are_refused(
    tmp_path: Path, words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*words, "steps=60", f"logdir={tmp_path / 'run'}") == 2
    assert line in line_of(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()  # found before anything is written, the ledger too


def test_a_backend_that_no_part_uses_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("model.heads.reward=circuit", "circuit.backend=aer", "steps=40", "eval.final_episodes=0")
    assert train(*words, f"logdir={tmp_path / 'run'}") == 0
    out = capsys.readouterr().out
    assert "circuit.backend=aer: no part that acts has a circuit" in out
    assert re.search(r"model.heads.reward: circuit, [23],\d+ parameters, [23],\d+ of them trained", out)
    assert rows(tmp_path / "run")[0]["model/parameters/heads.reward"] > 2000
