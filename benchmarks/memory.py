"""The episodic memory: queries of its read, time of an update, and the circuit against the law.

    OMP_NUM_THREADS=1 python benchmarks/memory.py [queries] [speed] [circuit] [--qasm PATH] [--json PATH]

queries: of the search that a read needs when one of N slots matches, beside a scan and the loading. speed: updates of
the default run with each memory, in turn, beside none. circuit: 8 slots and 4 amplitudes, by state vector, by shots and
on a fake device, against the law. --qasm writes that circuit.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Option, Table, in_turn, parse, slope, write
from benchmarks.model_parts import ACTIONS, OBSERVATIONS, trained, windows
from quantum_sampler.amplitude.amplification import Search
from tests.oracles.memory_circuit import as_qasm, memory_circuit, read_law
from worldmodel.cli.compose import configured
from worldmodel.kernels import for_agent
from worldmodel.launch import hardware
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Recalled, Slots, Windows
from worldmodel.model.config import MemoryOptions
from worldmodel.model.memories import MEMORIES
from worldmodel.model.memories.qmatrix import QMatrix
from worldmodel.train.config import TrainConfig
from worldmodel.train.hybrid import make_optimizer
from worldmodel.train.update import Update

KINDS = ("none", *sorted(set(MEMORIES) - {"none"}))
SLOTS, AMPLITUDES = 8, 4  # of the circuit


def queries_table(sizes: list[int], draws: int, seed: int) -> dict[str, Any]:
    """Mean queries of a read in which one slot matches and the others have no overlap with the query."""
    title = f"queries of a read, one match among N slots, {draws:,} searches"
    shown = Table(title, "success:12.2e", "law:9.1f", "drawn:9.1f", "scan:9.1f", "loading:9,", label="N", width=8)
    rows: dict[int, dict[str, float]] = {}
    for size in sizes:
        search, success = Search.within(round(9 * size**0.5)), 1 / size
        _, spent = search.run(np.random.default_rng((seed, size)), success, draws)
        law = search.expected_queries(success)
        rows[size] = {"success": success, "law": law, "drawn": float(spent.mean()), "scan": (size + 1) / 2}
        shown.row(size, *rows[size].values(), size)
    found = {name: slope(sizes, [row[name] for row in rows.values()]) for name in ("law", "drawn", "scan")}
    print("slope on log N: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    return {"title": "queries", "draws": draws, "rows": rows, "slopes": found}


def remembering(agent: Agent, steps: int, rows: int) -> Windows:
    """Random windows, with a memory that is nearly full."""
    made, memory = windows(agent, steps, rows), agent.world_model.memory
    if not memory.width:
        return made
    random, state = torch.Generator().manual_seed(0), made.before.state
    assert isinstance(state, Recalled)
    sums = torch.rand(state.slots.sums.shape, generator=random) + 1
    codes = torch.randint(1, sums.shape[1] + 1, (steps, rows), generator=random).to(torch.int16)
    return made._replace(before=made.before._replace(state=state._replace(slots=Slots(sums))), codes=codes)


def update(words: list[str]) -> tuple[Callable[[], object], int]:
    """An update of the run that the words make, and how many parameters it trains."""
    config = configured("train", TrainConfig, words)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        agent = for_agent(Agent(OBSERVATIONS, ACTIONS, config.size, config.loss, config.behavior, config.parts))
    optimizer = make_optimizer(config.optimizer, agent, torch.float32, config.seed, True, dict)
    batch = remembering(agent, config.batch_length, config.batch_size)
    made = Update(agent, optimizer, torch.float32, torch.Generator().manual_seed(0))
    return lambda: made(batch), trained(agent)


def speed_table(repeats: int, overrides: list[str]) -> dict[str, Any]:
    """Milliseconds of the fastest update, by this thread's processor."""
    hardware.set_threads(1)
    hardware.keep_freed_memory()
    cases = {kind: update([f"model.memory={kind}", *overrides]) for kind in KINDS}
    in_turn({name: case for name, (case, _) in cases.items()}, 2)  # compile
    times = in_turn({name: case for name, (case, _) in cases.items()}, repeats)
    fastest = {name: 1e3 * found[:, 1].min() for name, found in times.items()}
    shown = Table("one update", "ms:>9.1f", "ratio:>7.2f", "parameters:>12,", label="memory")
    rows = {}
    for name, (_, count) in cases.items():
        rows[name] = {"ms": fastest[name], "ratio": fastest[name] / fastest["none"], "parameters": count}
        shown.row(name, *rows[name].values())
    return {"title": "speed", "repeats": repeats, "rows": rows}


def circuit_table(shots: int, seed: int, qasm: Path | None) -> dict[str, Any]:
    """Distance of the circuit's outcomes from the law: the greatest of a slot, and the total variation."""
    from qiskit import transpile
    from qiskit.quantum_info import Statevector
    from qiskit_aer import AerSimulator
    from qiskit_ibm_runtime.fake_provider import FakeTorino

    keys = np.random.default_rng(seed).normal(size=(SLOTS + 1, AMPLITUDES))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    keys, query = keys[1:], keys[0]
    memory = QMatrix(8, 8, MemoryOptions(slots=SLOTS, amplitudes=AMPLITUDES, beta=1))
    law = memory.shares(torch.from_numpy(keys @ query), torch.ones(SLOTS)).numpy()
    circuit = memory_circuit(keys, query)
    if qasm:
        qasm.write_text(as_qasm(circuit))
    measured, places = circuit.copy(), SLOTS.bit_length() - 1
    measured.measure_all()
    laws = {"state vector": Statevector(circuit).probabilities()}
    for name, backend in (
        ("aer", AerSimulator(seed_simulator=seed)),
        ("fake_torino", AerSimulator.from_backend(FakeTorino(), seed_simulator=seed)),
    ):
        ready = transpile(measured, backend, optimization_level=3, seed_transpiler=seed)
        counts = backend.run(ready, shots=shots).result().get_counts()
        laws[name] = np.array([counts.get(f"{outcome:05b}", 0) / shots for outcome in range(32)])
        gates = sum(1 for gate in ready if gate.operation.num_qubits == 2)
    title = (
        f"read of {SLOTS} slots with {AMPLITUDES} amplitudes, {shots:,} shots, {gates} two-qubit gates on fake_torino"
    )
    shown = Table(title, "success:>10.4f", "law:>10.4f", "largest gap:>13.2e", "variation:>11.2e", label="backend")
    rows = {}
    for name, found in laws.items():
        shares, success = read_law(found, places, SLOTS)
        gap = np.abs(shares - law)
        exact = float(np.mean((keys @ query) ** 2))
        rows[name] = {"success": success, "law": exact, "gap": float(gap.max()), "variation": float(gap.sum() / 2)}
        shown.row(name, *rows[name].values())
    floor = float(np.sqrt(2 / np.pi) * np.sqrt(law * (1 - law) / (shots * exact)).sum() / 2)
    print(f"variation that the shots alone bring: {floor:.2e}")
    return {"title": "circuit", "shots": shots, "rows": rows, "floor": floor, "two_qubit_gates": gates}


def main() -> None:
    """Print the tables."""
    given = parse(
        __doc__,
        ["queries", "speed", "circuit"],
        repeats=7,
        seed=0,
        shots=100_000,
        qasm=Option(kind=Path, help="write the circuit here, as OpenQASM 3"),
        overrides=True,
    )
    tables = {
        "queries": lambda: queries_table([1 << n for n in range(3, 15)], 20_000, given.seed),
        "speed": lambda: speed_table(given.repeats, given.overrides),
        "circuit": lambda: circuit_table(given.shots, given.seed, given.qasm),
    }
    write(given, [tables[name]() for name in given.parts])


if __name__ == "__main__":
    main()
