"""Programs and results as bytes, and the hash that tells whether two requests are the same."""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.backend import AnnealProgram, CircuitProgram, Program, Programs, Result, Results
from hybrid_opt.backends.errors import circuit_errors, told
from hybrid_opt.backends.programs import as_list
from hybrid_opt.cost import Cost
from hybrid_opt.errors import CorruptResult, LedgerError
from hybrid_opt.problem.qubo import Qubo

Arrays = Mapping[str, NDArray[Any]]
LIST = "list"  # the kind of a content that is made of several


def request_hash(backend: str, programs: Programs, seed: int) -> str:
    """SHA-256, in hexadecimal, of what is asked of a backend; equal in every process that asks for the same.

    Names of circuits and identities of parameters do not count: what the circuits do counts.
    """
    digest = hashlib.sha256(f"{backend}\n{seed}\n{circuit_hash(programs)}\n".encode())
    digest.update(_content(programs))
    return digest.hexdigest()


def circuit_hash(programs: Programs) -> str:
    """SHA-256, in hexadecimal, of the circuit of a program or the circuits of a list; empty where there is none."""
    if isinstance(programs, Sequence):
        hashes = "\n".join(circuits_of(programs))
        return hashes and hashlib.sha256(hashes.encode()).hexdigest()
    if isinstance(programs, AnnealProgram):
        return ""
    with circuit_errors("recorded in a ledger"):
        return hashlib.sha256("\n".join(_instructions(programs.circuit)).encode()).hexdigest()


def circuits_of(programs: Programs) -> dict[str, Any]:
    """The different circuits of programs by their hashes, in the order in which they come first."""
    several = [program for program in as_list(programs) if isinstance(program, CircuitProgram)]
    return {circuit_hash(program): program.circuit for program in several}


def pack_circuit(programs: Programs) -> bytes:
    """The different circuits (compressed QPY), which many programs share; empty where there is none."""
    # one circuit need not be hashed, which takes about as long as packing it
    circuits = [programs.circuit] if isinstance(programs, CircuitProgram) else list(circuits_of(programs).values())
    if not circuits:
        return b""
    from qiskit import qpy

    buffer = BytesIO()
    with circuit_errors("recorded in a ledger"):
        qpy.dump(circuits, buffer)
    return zlib.compress(buffer.getvalue(), 1)


def pack_program(programs: Programs) -> bytes:
    """All of a program, or of a list, but the circuits."""
    return zlib.compress(_content(programs), 1)


def unpack_program(content: bytes, circuits: bytes | None, loaded: Sequence[Any] = ()) -> Programs:
    """The program or list of `pack_program` and `pack_circuit`.

    circuits: None leaves them out. loaded: the different circuits themselves, where they are there already.
    Raises LedgerError for bytes that cannot be read: damaged ones, and those of a later version of a library.
    """
    try:
        if circuits and not loaded:
            from qiskit import qpy

            loaded = qpy.load(BytesIO(zlib.decompress(circuits)))
        header, arrays = _split(zlib.decompress(content))
        if header["kind"] != LIST:
            return _unpacked(header, arrays, loaded[0] if loaded else None)
        chosen = [loaded[place] if loaded and place is not None else None for place in header["circuits"]]
        parts = zip(_apart(arrays), chosen, strict=True)
        return tuple(_unpacked(*_split(part), circuit) for part, circuit in parts)
    except MemoryError:
        raise
    except Exception as error:
        raise LedgerError(f"the program of a job cannot be read: {told(error)}") from error


def _unpacked(header: dict[str, Any], arrays: Arrays, circuit: Any) -> Program:
    if header["kind"] == "anneal":
        ends = np.cumsum([0] + [n * n for n in header["sizes"]])
        qubos = tuple(
            Qubo(
                arrays["matrices"][begin:end].reshape(n, n),
                offset,
                one_hot=rules["one_hot"],
                cardinality=rules["k"],
            )
            for n, begin, end, offset, rules in zip(
                header["sizes"], ends[:-1], ends[1:], arrays["offsets"], header["rules"], strict=True
            )
        )
        return AnnealProgram(qubos, header["reads"], header["options"])
    from qiskit.quantum_info import SparsePauliOp

    observables = tuple(
        SparsePauliOp([label for label, _, _ in terms], [complex(re, im) for _, re, im in terms])
        for terms in header["observables"]
    )
    return CircuitProgram(
        circuit,
        arrays["parameters"],
        header["shots"],
        observables,
        _noise_model(header["noise"]),
        tuple(header["layout"]) if "layout" in header else None,
    )


def pack_result(results: Results) -> bytes:
    """A result, or those of a list, as bytes; samples take one bit each."""
    if isinstance(results, tuple):
        return zlib.compress(_together({"kind": LIST}, map(_joined, results)), 1)
    return zlib.compress(_joined(results), 1)


def _joined(result: Result) -> bytes:
    header: dict[str, Any] = {"cost": asdict(result.cost), "about": dict(result.about)}
    arrays: dict[str, NDArray[Any]] = {}
    if result.samples:
        header["samples"] = [np.shape(sample) for sample in result.samples]
        arrays["samples"] = np.packbits(np.concatenate([np.ravel(sample) for sample in result.samples]))
    if result.probabilities:
        header["probabilities"] = [len(entry) for entry in result.probabilities]
        arrays["probabilities"] = np.concatenate(result.probabilities)
    for name in ("means", "errors"):
        if getattr(result, name) is not None:
            arrays[name] = np.asarray(getattr(result, name), np.float64)
    return _join(header, arrays)


def unpack_result(content: bytes) -> Any:
    """The result of `pack_result`, or the tuple of them. Raises CorruptResult for bytes that are not one."""
    try:
        header, arrays = _split(zlib.decompress(content))
        if header.get("kind") == LIST:
            return tuple(_unpacked_result(*_split(part)) for part in _apart(arrays))
        return _unpacked_result(header, arrays)
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise CorruptResult(f"the bytes of a result cannot be read ({error})") from error


def _unpacked_result(header: dict[str, Any], arrays: Arrays) -> Result:
    samples: list[NDArray[np.uint8]] = []
    if "samples" in header:
        sizes = [int(np.prod(shape)) for shape in header["samples"]]
        bits = np.unpackbits(arrays["samples"], count=sum(sizes))
        parts = np.split(bits, np.cumsum(sizes)[:-1])
        samples = [part.reshape(shape) for part, shape in zip(parts, header["samples"], strict=True)]
    probabilities: list[NDArray[np.float64]] = []
    if "probabilities" in header:
        probabilities = np.split(arrays["probabilities"], np.cumsum(header["probabilities"])[:-1])
    return Result(
        tuple(samples),
        tuple(probabilities),
        arrays.get("means"),
        arrays.get("errors"),
        Cost(**header["cost"]),
        header["about"],
    )


def check_result(programs: Programs, results: Results) -> None:
    """Raise CorruptResult where a result cannot be one of its program's: its shapes, its values, its sums."""
    several = as_list(programs)
    found: Any = results if isinstance(programs, Sequence) else (results,)
    if not isinstance(found, tuple) or len(found) != len(several) or not all(isinstance(r, Result) for r in found):
        raise CorruptResult(f"the results of {len(several)} programs were expected")
    for program, result in zip(several, found, strict=True):
        _check(program, result)


def _check(program: Program, result: Result) -> None:
    if isinstance(program, AnnealProgram):
        _check_samples(result.samples, [(program.reads, qubo.n) for qubo in program.qubos])
        return
    count, n = len(program.parameters), program.circuit.num_qubits
    if program.observables:
        wanted = (count, len(program.observables))
        for name, values in (("means", result.means), ("errors", result.errors)):
            if values is None and name == "errors":
                continue
            if values is None or np.shape(values) != wanted or not np.isfinite(values).all():
                raise CorruptResult(f"{name}: finite values of shape {wanted} were expected")
    elif program.shots is None:
        if [np.shape(entry) for entry in result.probabilities] != [(2**n,)] * count:
            raise CorruptResult(f"{len(result.probabilities)} distributions; {count} of {2**n} entries were expected")
        for entry in result.probabilities:
            if not (entry.min() >= -1e-6 and abs(entry.sum() - 1) < 1e-3):  # written so that NaN fails
                raise CorruptResult(f"probabilities from {entry.min()} that sum to {entry.sum()}")
    else:
        _check_samples(result.samples, [(program.shots, n)] * count)


def _check_samples(samples: Sequence[NDArray[np.uint8]], shapes: Sequence[tuple[int, int]]) -> None:
    if [np.shape(sample) for sample in samples] != list(shapes):
        raise CorruptResult(f"samples of shapes {[np.shape(sample) for sample in samples]}; {shapes} were expected")
    if any(sample.size and sample.max() > 1 for sample in samples):
        raise CorruptResult("samples with values other than 0 and 1")


def _content(programs: Programs) -> bytes:
    """All of a program but its circuit; of a list, also which of its different circuits each program has."""
    if not isinstance(programs, Sequence):
        return _join(*_describe(programs))
    hashes = [circuit_hash(program) for program in programs]
    different = [identity for identity in dict.fromkeys(hashes) if identity]  # as in circuits_of
    header = {"kind": LIST, "circuits": [different.index(identity) if identity else None for identity in hashes]}
    return _together(header, (_join(*_describe(program)) for program in programs))


def _describe(program: Program) -> tuple[dict[str, Any], Arrays]:
    """All of a program but its circuit, as plain values and arrays."""
    if isinstance(program, AnnealProgram):
        header = {
            "kind": "anneal",
            "sizes": [qubo.n for qubo in program.qubos],
            "rules": [{"one_hot": qubo.one_hot, "k": qubo.cardinality} for qubo in program.qubos],
            "reads": program.reads,
            "options": dict(program.options),
        }
        offsets = np.array([qubo.offset for qubo in program.qubos])
        return header, {"matrices": np.concatenate([qubo.matrix.ravel() for qubo in program.qubos]), "offsets": offsets}
    header = {
        "kind": "circuit",
        "shots": program.shots,
        "observables": [
            [(label, value.real, value.imag) for label, value in observable.to_list()]
            for observable in program.observables
        ],
        "noise": None if program.noise is None else program.noise.to_dict(serializable=True),
    }
    if program.layout is not None:  # left out otherwise: requests of earlier versions stay the same
        header["layout"] = list(program.layout)
    return header, {"parameters": np.asarray(program.parameters, np.float64)}


def _noise_model(description: Any) -> Any:
    if description is None:
        return None
    import warnings

    from qiskit_aer.noise import NoiseModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the only way back that qiskit-aer has
        return NoiseModel.from_dict(description)


def _instructions(circuit: Any) -> Iterator[str]:
    """One line for each instruction of a circuit, exact to the last bit of its numbers."""
    yield f"{circuit.num_qubits} {circuit.num_clbits} {_canonical(circuit.global_phase)}"
    for item in circuit.data:
        operation = item.operation
        bits = [circuit.find_bit(bit).index for bit in (*item.qubits, *item.clbits)]
        values = [_canonical(value) for value in operation.params]
        more = getattr(operation, "ctrl_state", ""), getattr(operation, "operator", "")
        kind = getattr(operation, "base_class", type(operation))
        yield f"{kind.__name__} {operation.name} {bits} {values} {more}"
        named = kind.__module__.startswith("qiskit.circuit.library.standard_gates")
        if not named and operation.name not in ("unitary", "diagonal") and getattr(operation, "definition", None):
            yield from _instructions(operation.definition)


def _canonical(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if isinstance(value, float | int | np.number):
        return repr(complex(value))
    if hasattr(value, "num_qubits") and hasattr(value, "data"):
        return "(" + "; ".join(_instructions(value)) + ")"
    return str(value)


def _plain(value: Any) -> Any:
    """What JSON does not know."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _join(header: Mapping[str, Any], arrays: Arrays) -> bytes:
    """A header and arrays as bytes that are always the same."""
    parts = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    layout = [(name, array.dtype.str, array.shape) for name, array in parts.items()]
    text = json.dumps([header, layout], sort_keys=True, default=_plain).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *(array.tobytes() for array in parts.values())])


def _together(header: Mapping[str, Any], parts: Iterable[bytes]) -> bytes:
    """Several contents in one."""
    return _join(header, {f"{place:09}": np.frombuffer(part, np.uint8) for place, part in enumerate(parts)})


def _apart(arrays: Arrays) -> list[bytes]:
    """The parts of `_together`."""
    return [part.tobytes() for _, part in sorted(arrays.items())]


def _split(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    size = int.from_bytes(content[:8], "little")
    header, layout = json.loads(content[8 : 8 + size])
    arrays, begin = {}, 8 + size
    for name, kind, shape in layout:
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(content, kind, count, begin).reshape(shape).copy()
        begin += arrays[name].nbytes
    return header, arrays
