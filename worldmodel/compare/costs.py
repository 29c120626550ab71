"""What runs sent to quantum backends, by their ledgers, and what it would take on a named device."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hybrid_opt.backends.ledger.sqlite import file_uri
from worldmodel.runs.folder import RunFolderError

ANNEAL = 20e-6  # seconds of an anneal, D-Wave's default


@dataclass(frozen=True)
class QuantumCost:
    """Attempts of jobs and what they took; costs are added with +.

    queries: of oracles, as the run's metrics tell them, so those of the logged batches alone. simulated_shots and
    simulated_circuits: of solvers within a run without jobs, as its metrics count them. seconds: of processors,
    as booked. estimated_seconds and estimated_dollars: on the named device; unfit: jobs that cannot run on it.
    """

    jobs: int = 0
    circuits: int = 0
    shots: int = 0
    queries: float = 0.0
    seconds: float = 0.0
    dollars: float = 0.0
    estimated_seconds: float = 0.0
    estimated_dollars: float = 0.0
    unfit: int = 0
    simulated_shots: float = 0.0
    simulated_circuits: float = 0.0

    def __add__(self, other: "QuantumCost") -> "QuantumCost":
        sums = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        return QuantumCost(**sums)


def quantum_cost(ledger: Path, rows: Iterable[Mapping[str, Any]], device: str | None) -> QuantumCost:
    """The cost of a run: its ledger, where it has one, and the rows of its metrics. Raises RunFolderError."""
    rows = list(rows)
    last = {key: value for row in rows for key, value in row.items() if key.startswith("quantum/") and value}  # counts
    drawn = sum(
        value for row in rows for key, value in row.items() if key.endswith("/queries") and key not in last and value
    )
    total = QuantumCost(queries=float(drawn + last.get("quantum/queries", 0.0)))
    if not ledger.exists():
        shots, circuits = (float(last.get(f"quantum/{key}", 0.0)) for key in ("shots", "circuits"))
        return total + QuantumCost(simulated_shots=shots, simulated_circuits=circuits)
    query = "SELECT a.shots, a.seconds, a.dollars, j.program FROM attempts a JOIN jobs j ON a.key = j.key"
    try:
        with sqlite3.connect(file_uri(ledger), uri=True) as database:
            for shots, seconds, dollars, content in database.execute(query):
                total += _job(int(shots), float(seconds), float(dollars), content, device)
    except sqlite3.Error as error:
        raise RunFolderError(f"{ledger}: cannot be read ({error})") from None
    return total


def _job(shots: int, seconds: float, dollars: float, content: bytes, device: str | None) -> QuantumCost:
    from hybrid_opt.backends.backend import AnnealProgram
    from hybrid_opt.backends.ledger.serialization import unpack_program
    from hybrid_opt.backends.programs import as_list

    programs = as_list(unpack_program(content, None))
    anneals = isinstance(programs[0], AnnealProgram)
    circuits = sum(len(p.qubos) if isinstance(p, AnnealProgram) else len(p.parameters) for p in programs)
    estimate: dict[str, Any] = {}
    if device is not None:
        fits = anneals == (device == "dwave")
        estimate = _estimate(device, circuits, shots) if fits else {"unfit": 1}
    return QuantumCost(1, circuits, shots, seconds=seconds, dollars=dollars, **estimate)


def _estimate(device: str, circuits: int, shots: int) -> dict[str, Any]:
    """Seconds and dollars of a job, by the constants that the backends estimate with before they know the device."""
    if device == "dwave":
        from hybrid_opt.backends.dwave import dwave

        seconds = circuits * dwave.PROGRAMMING + shots * (ANNEAL + dwave.PER_READ)
        price = dwave.DWaveConfig().dollars_per_second
    else:
        from hybrid_opt.backends.qiskit import ibm

        seconds = ibm.OVERHEAD + shots * ibm.DELAY
        price = ibm.IbmConfig().dollars_per_second
    return {"estimated_seconds": seconds, "estimated_dollars": seconds * price}
