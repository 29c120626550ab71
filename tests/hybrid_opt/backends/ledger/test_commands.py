"""What a user may do with jobs: the commands on a ledger, a dry run, and circuits as files and drawings."""

import csv
import signal
from pathlib import Path

import numpy as np
import pytest

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import CircuitProgram
from hybrid_opt.backends.dry_run import DryRun, NothingSent, dry_run
from hybrid_opt.backends.ledger import __main__ as ledger_command
from hybrid_opt.backends.ledger.backend import Ledgered
from hybrid_opt.backends.ledger.serialization import (
    circuit_hash,
)
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.circuits.export import draw_circuit, export_circuit, to_openqasm3
from hybrid_opt.errors import ProblemError
from tests.hybrid_opt.backends.ledger.jobs import Vendor, anneal, circuit, resumed
from tests.hybrid_opt.flaky import Flaky


@pytest.mark.slow
def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two jobs are left in flight by a process that was killed: one is resumed, one cancelled."""
    resumed(tmp_path, "600", signal.SIGKILL)
    path = str(tmp_path / "ledger.sqlite")
    vendor = Flaky(folder=str(tmp_path / "vendor"))
    with Ledger(path) as ledger:
        keys = [job["key"] for job in ledger.jobs("open")]
    assert ledger_command.main(["show", path]) == 0 and "3 open" in capsys.readouterr().out
    assert ledger_command.main(["cancel", path, *keys[:2]]) == 0
    assert capsys.readouterr().out.count("was cancelled") == 2
    import sqlite3

    with sqlite3.connect(tmp_path / "vendor" / "vendor.sqlite") as database:
        database.execute("UPDATE jobs SET due = 0")
    database.close()
    assert ledger_command.main(["resume", path]) == 0
    assert f"{keys[2]}: done" in capsys.readouterr().out
    table, circuits = tmp_path / "table.csv", tmp_path / "circuits"
    assert ledger_command.main(["export", path, "--output", str(table), "--circuits", str(circuits)]) == 0
    with open(table) as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["status"] for row in rows) == ["cancelled", "cancelled", "done"]
    assert sum(int(row["shots"]) for row in rows) == sum(line["shots"] for line in vendor.bill()) == 5
    assert sorted(file.suffix for file in circuits.iterdir()) == [".qasm", ".txt"]
    assert ledger_command.main(["show", str(tmp_path / "none.sqlite")]) == 2
    assert "none.sqlite: no such file" in capsys.readouterr().err
    with Ledger(path) as ledger:  # the program that was killed finds what was resumed for it
        backend = Ledgered(vendor, ledger)
        backend.name = rows[0]["backend"]
        assert backend.submit(circuit(), "new", 2).result().about["resumed"]
    vendor.stop()


def test_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A chain of cz on 4 qubits: 3 two-qubit gates, one after the other."""
    from qiskit import QuantumCircuit

    made = QuantumCircuit(4)
    for i in range(3):
        made.cz(i, i + 1)
    program = CircuitProgram(made, np.zeros((2, 0)), shots=50)
    report = dry_run(program, open_backend("statevector"))
    assert (report.qubits, report.depth, report.two_qubit_gates, report.circuits, report.shots) == (4, 3, 3, 2, 100)
    toffoli = QuantumCircuit(3)
    toffoli.ccx(0, 1, 2)
    counted = dry_run(CircuitProgram(toffoli, np.zeros((1, 0)), 1), open_backend("statevector"))
    assert counted.two_qubit_gates == 6  # the textbook's
    with pytest.raises(NothingSent):
        DryRun(Vendor()).submit(anneal(), "a")
    printed = capsys.readouterr().out.split()
    for word in ("qubits", "depth", "two-qubit", "shots", "seconds", "dollars", "0.5"):
        assert word in printed


def test_circuits_as_openqasm_and_as_drawings(tmp_path: Path) -> None:
    from qiskit import qasm3
    from qiskit.quantum_info import Operator

    pytest.importorskip("qiskit_qasm3_import")
    program = circuit()
    text = to_openqasm3(program.circuit, [0.25])
    bound = program.circuit.assign_parameters([0.25])
    assert text.startswith("OPENQASM 3") and Operator(qasm3.loads(text)).equiv(Operator(bound))
    assert "input float" in to_openqasm3(program.circuit) and "q_2" in draw_circuit(program.circuit)
    for suffix in (".qasm", ".txt", ".png", ".svg"):
        export_circuit(program.circuit, tmp_path / f"circuit{suffix}")
        assert (tmp_path / f"circuit{suffix}").stat().st_size > 100
    with pytest.raises(ProblemError, match="circuit.gif"):
        export_circuit(program.circuit, tmp_path / "circuit.gif")
    assert circuit_hash(program) == circuit_hash(circuit(name="other"))
