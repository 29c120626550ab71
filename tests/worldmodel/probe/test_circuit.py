"""The probe of circuits from end to end, and its law of twins."""

import json
from pathlib import Path

import pytest

from worldmodel.probe.__main__ import main
from worldmodel.probe.circuit.rows import TWINS

SMALL = ["circuit.qubits=2", "circuit.layers=2", "draws=8", "inputs=4", "pairs=200", "widths=[2,3]", "deep=2"]


def test_a_row_for_the_circuit_and_for_each_twin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["circuit", *SMALL, f"logdir={tmp_path}"]) == 0
    table = json.loads((tmp_path / "table.json").read_text())
    rows = {row["kind"]: row for row in table["rows"]}
    assert tuple(rows) == TWINS and "<svg" in (tmp_path / "probe.svg").read_text()
    assert all(row["milliseconds"] > 0 and 0 < row["dimension"] <= 1.2 for row in rows.values())
    assert all(row["slope"] <= row["bound"] for row in rows.values() if row["bound"] is not None)
    assert rows["product"]["entanglement"] < 1e-12 < rows["circuit"]["entanglement"]
    assert rows["frozen"]["parameters"] < rows["circuit"]["parameters"] == rows["product"]["parameters"]
    assert rows["frozen"]["bits"] is None and rows["mlp"]["entanglement"] is None
    for kind in ("circuit", "product", "fourier"):  # two uploads make no frequency above 2
        assert sum(rows[kind]["frequencies"][2:]) < 1e-9
    assert len(table["plateau"]) == 8 and set(table["slopes"]) == {"2 local", "2 projector", "2n local", "2n projector"}
    printed = capsys.readouterr().out
    assert "| fourier |" in printed and "log2 of the median by a qubit, 2n local" in printed


def test_equal_words_give_equal_measures(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["circuit", *SMALL, "widths=[]", f"logdir={tmp_path / name}"]) == 0
    a, b = (json.loads((tmp_path / name / "table.json").read_text())["rows"] for name in ("a", "b"))
    for ours, theirs in zip(a, b, strict=True):
        assert {**ours, "milliseconds": 0} == {**theirs, "milliseconds": 0}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["circle"], "error: probe circle: no such probe; python -m worldmodel.probe circuit|termination [key=value]"),
        ([], "error: probe : no such probe"),
        (["circuit", "circuit.shots=10"], "circuit: shots=null, noise=null and backend=statevector are accepted"),
        (["circuit", "circuit=basis"], "circuit.encoding=basis: takes bits"),
        (["circuit", "draws=2"], "error: draws=2:"),
        (["circuit", "data=100"], "error: data=100:"),
        (["circuit", "circuit.ansatz=nope"], "circuit.ansatz=nope: no such ansatz"),
    ],
)
def test_wrong_words_are_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
