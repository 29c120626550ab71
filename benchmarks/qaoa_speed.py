"""Speed of QAOA simulation: `python benchmarks/qaoa_speed.py [--qokit PATH/libcsim.so] [--sizes 12:64 16:8 20:1]`.

Milliseconds for one circuit of 3 layers, diagonal given, and for the value with the gradients by all angles, and their
ratio to QOKit's C simulator (complex128) and to PennyLane's lightning.qubit on the same dense problem. QOKit is timed
with every number of threads within a circuit and with as many circuits side by side, one thread each, and the best
counts; `--qokit` is its library, built by `make` in qokit/fur/c/csim/src of a checkout, with or without CFLAGS for
speed. All take turns, and the best turn of each counts: other work on the machine only ever adds time.
"""

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Option, Table, parse, write
from hybrid_opt import Qubo
from hybrid_opt.simd.threads import processors
from hybrid_opt.simulator.qubits import Qubits

Case = Callable[[], object]


def ours(costs: np.ndarray, gammas: np.ndarray, betas: np.ndarray, dtype: type, threads: int) -> tuple[Case, Case]:
    """The states of a batch, and their values with all gradients."""
    engine = Qubits(costs, costs, dtype, threads)
    highest = costs.max(1)

    def forward() -> None:
        engine.forward(gammas, betas)

    def gradient() -> object:
        engine.forward(gammas, betas)
        return engine.backward(highest, 1.0)

    return forward, gradient


def qokit(path: Path, costs: np.ndarray, gammas: np.ndarray, betas: np.ndarray, threads: int) -> dict[str, Case]:
    """QOKit's C simulator with `threads` in a circuit, one circuit after the other; and with as many side by side."""
    library, openmp = ctypes.CDLL(str(path)), ctypes.CDLL("libgomp.so.1")
    pointer, size = ctypes.POINTER(ctypes.c_double), ctypes.c_size_t
    library.apply_qaoa_furx.argtypes = [*[pointer] * 5, ctypes.c_uint, size, size]
    library.apply_qaoa_furx.restype = None
    batch, states = costs.shape
    real, imaginary = np.empty((2, batch, states))

    def address(row: np.ndarray) -> Any:
        return row.ctypes.data_as(pointer)

    def run(row: int) -> None:
        real[row], imaginary[row] = states**-0.5, 0.0
        rows = (real[row], imaginary[row], gammas[row], betas[row], costs[row])
        library.apply_qaoa_furx(*map(address, rows), states.bit_length() - 1, states, gammas.shape[1])

    def within(count: int) -> Case:
        def case() -> None:
            openmp.omp_set_num_threads(count)
            for row in range(batch):
                run(row)

        return case

    cases = {f"{count} threads": within(count) for count in {1, threads}}
    if threads > 1 and batch > 1:
        pool = ThreadPoolExecutor(threads, initializer=lambda: openmp.omp_set_num_threads(1))
        cases[f"{threads} side by side"] = lambda: list(pool.map(run, range(batch)))
    return cases


def lightning(qubo: Qubo, gammas: np.ndarray, betas: np.ndarray) -> Case:
    """The circuit of one instance on lightning.qubit."""
    import pennylane as qml

    n = qubo.n
    fields, couplings, _ = qubo.to_ising()
    std = float(np.sqrt((fields**2).sum() + (couplings**2).sum()))
    operations: list[Any] = [qml.Hadamard(i) for i in range(n)]
    for gamma, beta in zip(gammas, betas, strict=True):
        operations += [qml.RZ(2 * gamma * fields[i] / std, wires=i) for i in range(n)]
        operations += [
            qml.IsingZZ(2 * gamma * couplings[i, j] / std, wires=[i, j]) for i in range(n) for j in range(i + 1, n)
        ]
        operations += [qml.RX(-2 * beta, wires=i) for i in range(n)]
    tape = qml.tape.QuantumScript(operations, [qml.expval(qml.Z(0))])
    device = qml.device("lightning.qubit", wires=n)
    return lambda: device.execute(tape)


def best(cases: dict[str, Case], seconds: float) -> dict[str, float]:
    """The least milliseconds of each; they take turns."""
    least = dict.fromkeys(cases, np.inf)
    for case in cases.values():
        case()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, case in cases.items():
            begin = time.perf_counter()
            case()
            least[name] = min(least[name], 1e3 * (time.perf_counter() - begin))
    return least


def measure(n: int, batch: int, layers: int, library: Path | None, seconds: float) -> dict[str, float]:
    """Milliseconds a circuit of everything, for `batch` random problems."""
    rng = np.random.default_rng(n)
    qubos = [Qubo(rng.normal(size=(n, n))) for _ in range(batch)]
    costs = np.stack([qubo.diagonal() for qubo in qubos])
    costs = (costs - costs.mean(1, keepdims=True)) / costs.std(1, keepdims=True)
    gammas, betas = rng.uniform(0.2, 0.7, (2, batch, layers))
    threads = processors()
    cases: dict[str, Case] = {}
    for name, dtype in (("complex64", np.float32), ("complex128", np.float64)):
        cases[f"forward {name}"], cases[f"gradient {name}"] = ours(costs, gammas, betas, dtype, threads)
    if library is not None:
        cases |= {f"qokit {key}": case for key, case in qokit(library, costs, gammas, betas, threads).items()}
    times = {name: value / batch for name, value in best(cases, seconds).items()}
    times |= best({"lightning": lightning(qubos[0], gammas[0], betas[0])}, seconds / 4)
    return times


def main() -> None:
    """Print the table."""
    given = parse(
        __doc__,
        qokit=Option(help="libcsim.so of QOKit", kind=Path),
        sizes=(["12:64", "16:8", "20:1"], "qubits:batch"),
        layers=3,
        seconds=(10.0, "for each size"),
    )
    table = Table(
        f"{processors()} threads, {given.layers} layers, ms for each circuit; ours by QOKit's and lightning's",
        *("batch:6", "forward:10.3f", "128 bit:10.3f", "gradient:10.3f", "QOKit:10.3f", "lightning:11.2f"),
        *("by QOKit:10.3f", "by lightning:14.4f", "gradient / forward:20.2f"),
        label="n",
        width=3,
    )
    figures = {}
    for text in given.sizes:
        n, batch = map(int, text.split(":"))
        times = measure(n, batch, given.layers, given.qokit, given.seconds)
        forward, gradient, light = times["forward complex64"], times["gradient complex64"], times["lightning"]
        peer = min((value for name, value in times.items() if name.startswith("qokit")), default=np.nan)
        ratios = {"qokit": forward / peer, "lightning": forward / light, "gradient": gradient / forward}
        table.row(n, batch, forward, times["forward complex128"], gradient, peer, light, *ratios.values())
        figures[text] = times | {"qokit": peer} | {f"ratio {name}": ratio for name, ratio in ratios.items()}
    write(given, figures)


if __name__ == "__main__":
    main()
