"""Every option of every solver, selector and backend has an effect, or is refused in one line that names it."""

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import hybrid_opt.solvers.qaoa as qaoa
from hybrid_opt import ProblemError, Qubo, make_solver
from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import AnnealProgram, CircuitProgram
from hybrid_opt.circuits.schedules.learned import learned
from hybrid_opt.solvers.registry import SOLVERS
from quantum_sampler import make_selector
from quantum_sampler.registry import SELECTORS, selector_classes
from quantum_sampler.selector import OptionError

ROOT = Path(__file__).parents[1]
Record = Callable[[dict[str, Any]], str]
Case = tuple[Any, dict[str, Any]]  # another value, and the other options that it needs to have an effect

SHOTS: dict[str, Any] = {"optimizer": "spsa", "evaluations": 4}
SOLVER_SMALL: dict[str, dict[str, Any]] = {
    "annealing": {"reads": 4},
    "path_integral": {"reads": 4},
    "qaoa": {"layers": 2, "shots": 32},
    "vqe": {"shots": 32},
}
ANNEAL: dict[str, Case] = {
    "reads": (5, {}),
    "sweeps": (7, {}),
    "beta_range": ((0.1, 0.5), {}),
    "penalty": (0.3, {}),
    "descent": (True, {"sweeps": 1}),
    "shuffle": (True, {}),
    "options": ({"annealing_time": 30.0}, {"backend": "dwave:mock"}),
}
SOLVER_CASES: dict[str, dict[str, Case]] = {
    "exact": {"samples": (3, {}), "shuffle": (True, {})},
    "random": {"shots": (9, {})},
    "greedy": {"restarts": (3, {}), "evaluations": (50, {}), "shuffle": (True, {})},
    "annealing": ANNEAL
    | {"constraints": ("penalties", {}), "penalty": (0.3, {"constraints": "penalties", "sweeps": 2})},
    "path_integral": ANNEAL | {"field_range": ((1.0, 0.5), {})},
    "grover": {
        "queries": (3, {}),
        "growth": (1.05, {}),
        "oracle": ("diagonal", {"backend": "spy"}),
        "precision": (3, {"backend": "spy"}),
        "shuffle": (True, {}),
    },
    "vqe": {
        "layers": (2, {}),
        "entangle": (False, {}),
        "alpha": (0.9, {}),
        "shots": (9, {}),
        "training": ("adjoint", {}),
        "steps": (3, {}),
        "training_shots": (9, {}),
        "parameters": ("random", {}),
        "penalty": (0.3, {}),
        "descent": (True, {}),
        "shuffle": (True, {}),
    },
    "qaoa": {
        "layers": (3, {}),
        "shots": (9, {}),
        "angles": ("ramp", {}),
        "policy": ("policy.npz", {"angles": "learned"}),
        "adapt": (True, {"angles": "learned"}),
        "optimizer": ("spsa", {}),
        "evaluations": (3, {}),
        "training_shots": (9, SHOTS),
        "alpha": (0.9, {}),
        "mixer": ("x", {}),
        "penalty": (0.3, {"mixer": "x"}),
        "warm_start": ("greedy", {}),
        "rounding": (0.1, {"warm_start": "greedy"}),
        "entangle": (False, {}),
        "parameters": ("random", {}),
        "shuffle": (True, {}),
        "descent": (True, {}),
        "precision": ("complex128", {}),
        "device": ("no_such", {}),
        "threads": (1, {}),
    },
}
IDLE: list[tuple[str, dict[str, Any], str]] = [  # where an option has an effect by itself, but not beside others
    ("qaoa", {"angles": "ramp", "optimizer": "spsa"}, "optimizer"),
    ("qaoa", {"angles": "fixed", "evaluations": 3}, "evaluations"),
    ("qaoa", {"angles": "transferred", "alpha": 0.5}, "alpha"),
    ("qaoa", {"evaluations": 0, "alpha": 0.5}, "alpha"),
    ("qaoa", {"parameters": "random", "angles": "ramp"}, "angles"),
    ("qaoa", {"parameters": "random", "optimizer": "spsa"}, "optimizer"),
    ("qaoa", {"backend": "aer", "optimizer": "cobyla", "precision": "complex128"}, "precision"),
    ("qaoa", {"backend": "aer", "angles": "ramp", "threads": 1}, "threads"),
    ("qaoa", {"backend": "aer", "angles": "ramp", "device": "cuda"}, "device"),
    *(("vqe", {"parameters": "random", key: value}, key) for key, value in {"alpha": 0.5, "steps": 3}.items()),
    ("vqe", {"parameters": "random", "training": "adjoint"}, "training"),
    ("vqe", {"training": "adjoint", "training_shots": 9}, "training_shots"),
    ("vqe", {"layers": 0, "entangle": False}, "entangle"),
    ("grover", {"backend": "aer", "oracle": "diagonal", "precision": 3}, "precision"),
    ("annealing", {"backend": "dwave:mock", "sweeps": 7}, "sweeps"),
    ("annealing", {"backend": "dwave:mock", "constraints": "penalties"}, "constraints"),
    ("path_integral", {"backend": "dwave:mock", "beta_range": (0.1, 1.0)}, "beta_range"),
    ("path_integral", {"backend": "dwave:mock", "field_range": (2.0, 0.0)}, "field_range"),
]


def effect(record: Record, small: dict[str, Any], name: str, case: Case, path: str) -> None:
    """Alone, the option is refused or has an effect; beside what it needs, it has one."""
    value, needed = case
    if needed:
        try:
            assert record({**small, name: value}) != record(small) or set(needed) & set(small)
        except (ProblemError, OptionError) as error:
            assert any(str(error).startswith(f"{path}.{key}=") for key in (name, *needed)) and "\n" not in str(error)
    base = {**small, **needed}
    before = record(base)
    assert record(base) == before  # repeatable, so that a difference is an effect
    try:
        assert record({**base, name: value}) != before
    except (ProblemError, OptionError, RuntimeError) as error:  # the effect may be a refusal, as of max_depth=1
        assert name in str(error) and "\n" not in str(error)


def walk(cases: dict[str, dict[str, Case]]) -> list[Any]:
    return [pytest.param(part, name, id=f"{part}-{name}") for part, options in cases.items() for name in options]


def test_the_walk_leaves_no_option_out() -> None:
    for part, (module, kind) in SOLVERS.items():
        config = getattr(import_module(module), kind).Config
        assert set(SOLVER_CASES[part]) == {field.name for field in fields(config)}, part
    for part in SELECTORS:
        assert set(SELECTOR_CASES[part]) == {field.name for field in fields(selector_classes(part)[1])}, part


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What QAOA's simulators were made with; and a policy that differs from the one that ships."""
    made: list[Any] = []

    class Spy(qaoa.QaoaSimulator):
        def __init__(self, *args: Any, **options: Any) -> None:
            made.append(options["threads"])
            super().__init__(*args, **options)

    monkeypatch.setattr(qaoa, "QaoaSimulator", Spy)
    monkeypatch.chdir(tmp_path)
    policy = learned().policy
    replace(policy, weights=tuple((0.5 * matrix, bias) for matrix, bias in policy.weights)).save("policy.npz")
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name"), walk(SOLVER_CASES))
def test_solvers(part: str, name: str, spied: list[Any]) -> None:
    rng = np.random.default_rng(3)

    def record(options: dict[str, Any]) -> str:
        options, spied[:], programs = dict(options), [], []
        backend = options.pop("backend", "statevector")
        if backend == "spy":
            backend = open_backend("statevector")
            submit = backend.submit
            backend.submit = lambda program, *rest: (  # type: ignore[method-assign]
                programs.append(program.circuit.num_qubits) or submit(program, *rest)
            )
        if backend == "dwave:mock":
            backend = open_backend(backend)
            sample = backend._sample  # type: ignore[attr-defined]
            backend._sample = lambda qubo, program, label: (  # type: ignore[attr-defined]
                programs.append(dict(program.options)) or sample(qubo, replace(program, options={}), label)
            )
            backend._sampler.parameters.setdefault("annealing_time", [])  # type: ignore[attr-defined]
        solver = make_solver(part, backend=backend, **options)
        solution = solver.solve(qubo, seed=5)
        cost = asdict(solution.cost)
        for half in cost.values():
            half.pop("wall_seconds")
        parts = solution.samples.tolist(), solution.energies.tolist(), cost, solution.trace, programs, spied
        angles = None if solution.angles is None else solution.angles.tolist()
        return repr((*parts, angles, solver.metrics(), solver.state_dict()))

    m = rng.normal(size=(6, 6))
    qubo = Qubo(m[:3, :3], one_hot=[(0, 1)]) if part == "grover" and name in ("oracle", "precision") else Qubo(m)
    if part not in ("exact", "random", "greedy", "grover"):
        qubo = Qubo(m, one_hot=[(0, 1, 2), (3, 4)])
    effect(record, SOLVER_SMALL.get(part, {}), name, SOLVER_CASES[part][name], "solver")


@pytest.mark.parametrize(("part", "options", "name"), IDLE)
def test_options_that_others_take_the_effect_from(part: str, options: dict[str, Any], name: str) -> None:
    with pytest.raises(ProblemError, match=rf"^solver\.{name}=.* has an effect with .* only; choose that") as caught:
        make_solver(part, **options)
    assert "\n" not in str(caught.value)
    rest = {key: value for key, value in options.items() if key != name}
    make_solver(part, **rest).close()


PRIORITIES: dict[str, Case] = {
    "fresh_every": (2, {}),
    "fresh_queries": (5, {"fresh_every": 2}),
    "fresh_method": ("stratified", {"fresh_every": 2}),
    "alpha": (0.3, {}),
    "epsilon": (0.5, {}),
    "weight_exponent": (0.5, {}),
    "stratified": (False, {}),
}
PLANNED: dict[str, Case] = PRIORITIES | {
    "plans": (3, {}),
    "max_age": (1, {"plans": 8}),
    "inline": (False, {}),
    "shuffle": (True, {}),
}
SELECTOR_SMALL: dict[str, dict[str, Any]] = {
    "annealed": {"pool": 8, "plans": 2, "inline": True},
    "boltzmann": {"bits": 6, "hidden": 4, "plans": 2, "every": 4, "steps": 2, "chains": 4, "pool": 40, "inline": True},
    "markov": {"bits": 4, "chains": 2, "burn_in": 4, "thin": 2, "plans": 2, "inline": True},
    "recall": {"bits": 6, "radius": 2, "fit": 4},
    "novel": {"inducing": 8, "plans": 2, "pool": 40, "inline": True},
    "mixture": {"components": {"uniform": {"share": 1.0}, "prioritized": {"share": 1.0}}},
}
KERNEL: dict[str, Case] = {
    "similarity": ("rbf", {}),
    "kernel_options": ({"bandwidth": 3.0}, {"similarity": "laplace"}),
}
SELECTOR_CASES: dict[str, dict[str, Case]] = {
    "uniform": {},
    "fresh": {"span": (3, {}), "width": (2, {"span": 3})},
    "prioritized": PRIORITIES,
    "curious": {key: PRIORITIES[key] for key in PRIORITIES if key != "weight_exponent"}
    | {"c": (2.0, {}), "beta": (0.2, {}), "initial": (3.0, {})},
    "annealed": PLANNED
    | {
        "pool": (9, {}),
        "pool_by": ("uniform", {}),
        "per_pool": (2, {}),
        "utility": ("priority", {}),
        "redundancy": (0.5, {}),
        "temperature": (2.0, {}),
        "reads": (5, {}),
        "sweeps": (2, {}),
        "floor": (0.5, {}),
        "engine": ("greedy", {}),
        "options": ({"beta_range": (0.5, 0.5)}, {"engine": "annealing"}),
        "infeasible": ("repair", {"engine": "annealing"}),
        "backend": ("dwave:mock", {}),
        **KERNEL,
    },
    "novel": PLANNED
    | {
        "kernel": ("rbf", {}),
        "kernel_options": ({"bandwidth": 3.0}, {}),
        "inducing": (2, {}),
        "novelty": (0.2, {}),
        "clip": (0.2, {}),
        "tilt": (0.2, {}),
        "floor": (0.5, {}),
        "pool": (35, {}),
    },
    "boltzmann": PLANNED
    | {
        "machine": ("rbm", {}),
        "hidden": (5, {}),
        "bits": (5, {}),
        "binarisation": ("learned", {"bits": 3}),
        "learning_rate": (0.5, {}),
        "steps": (5, {}),
        "chains": (9, {"bits": 12}),
        "gamma": (0.2, {"machine": "transverse", "hidden": 2}),
        "novelty": (0.2, {}),
        "clip": (0.2, {}),
        "tilt": (0.2, {}),
        "floor": (0.5, {}),
        "every": (2, {}),
        "overhead": (None, {"inline": False}),
        "pool": (35, {}),
        "backend": ("dwave:mock", {}),
    },
    "markov": PLANNED
    | {
        "proposal": ("local", {}),
        "hamiltonian": ("product", {}),
        "bits": (3, {}),
        "gammas": ((0.1, 0.2), {}),
        "times": ((1.0, 2.0), {}),
        "trotter_step": (0.2, {}),
        "replicas": (3, {"proposal": "tempering"}),
        "chains": (3, {}),
        "burn_in": (5, {}),
        "thin": (3, {}),
        "novelty": (0.1, {}),
        "tilt": (0.2, {}),
        "floor": (0.5, {}),
        "l2": (1.0, {}),
        "every": (3, {}),
        "pool": (35, {}),
    },
    "recall": PRIORITIES
    | {
        "weight_exponent": (0.5, {}),
        "bits": (5, {}),
        "radius": (1, {"neighbours": 0}),
        "neighbours": (2, {"radius": 4}),
        "floor": (0.5, {}),
        "queries": (2, {}),
        "fit": (60, {}),  # of the 50 items of the test: never
        "context": ("random", {}),
        **KERNEL,
    },
    "mixture": {
        "components": ({"uniform": {"share": 1.0}, "curious": {"share": 3.0}}, {}),
        "correction": ("component", {}),
    },
}
CLOCK = ("inline", "overhead")  # of threads, whose plans come when they come
OWN = ("fit",)  # of a buffer that fills: see its own tests


@pytest.mark.parametrize(("part", "name"), [each for each in walk(SELECTOR_CASES) if each.values[1] not in CLOCK + OWN])
def test_selectors(part: str, name: str) -> None:
    """Items, inclusion, weights, figures and state, of batches with and without plans."""

    def record(options: dict[str, Any]) -> str:
        selector = make_selector(part, 64, 1, 3, lambda ids: 0.5 + ids % 7, **options)
        rng, batches = np.random.default_rng(0), []
        selector.add(np.arange(50), features=rng.normal(size=(50, 3)))
        selector.update(np.arange(40), np.linspace(0.1, 3.0, 40), rng.normal(size=(40, 3)))
        for step in range(10):
            batch = selector.select(4, rng.normal(size=3))
            shown = batch.ids, batch.inclusion, batch.weight, batch.source
            batches.append([None if part is None else np.asarray(part).tolist() for part in shown])
            selector.update(batch.ids, rng.random(4) + 0.1, rng.normal(size=(4, 3)))
            selector.prepare(step)
        figures = {
            key: value for key, value in selector.metrics().items() if "seconds" not in key and "time" not in key
        }
        selector.close()
        return repr((batches, figures))

    effect(record, SELECTOR_SMALL.get(part, {}), name, SELECTOR_CASES[part][name], "replay")


@pytest.mark.parametrize("part", ["annealed", "boltzmann", "markov"])
def test_inline_plans_are_there_at_once(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import quantum_sampler.selectors.base.planned as planned

    jobs: list[Any] = []
    thread = planned.ThreadJob
    monkeypatch.setattr(planned, "ThreadJob", lambda *given: jobs.append(given) or thread(*given))
    for inline, count in ((True, 0), (False, 1)):
        selector = make_selector(part, 64, 1, 3, **{**SELECTOR_SMALL[part], "inline": inline})
        selector.add(np.arange(50), features=np.random.default_rng(0).normal(size=(50, 3)))
        selector.select(4)
        selector.prepare(0)
        selector.close()
        assert len(jobs) == count


@pytest.mark.parametrize(("overhead", "due"), [(None, True), (1e-9, False)])
def test_the_overhead_puts_trainings_off(overhead: float | None, due: bool) -> None:
    options = {**SELECTOR_SMALL["boltzmann"], "inline": True}
    selector: Any = make_selector("boltzmann", 64, 1, 3, **options)
    selector.add(np.arange(50), features=np.random.default_rng(0).normal(size=(50, 3)))
    selector.select(4)
    selector.prepare(0)
    planner = selector.planner
    planner._config = replace(planner._config, inline=False, overhead=overhead)
    selector._prepares += planner._config.every
    assert planner._due(selector._view(np.arange(50))) is due


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    *(("prioritized", {key: value}, key) for key, value in {"fresh_queries": 9, "fresh_method": "amplitude"}.items()),
    ("fresh", {"width": 2}, "width"),
    ("annealed", {"engine": "dpp", "reads": 9}, "reads"),
    ("annealed", {"engine": "facility", "sweeps": 9}, "sweeps"),
    ("annealed", {"engine": "annealing", "backend": "dwave:mock", "sweeps": 9}, "sweeps"),
    ("annealed", {"infeasible": "drop"}, "infeasible"),
    ("boltzmann", {"gamma": 0.2}, "gamma"),
    ("boltzmann", {"machine": "transverse", "backend": "dwave:mock", "gamma": 0.2}, "gamma"),
    ("boltzmann", {"steps": 0, "learning_rate": 0.1}, "learning_rate"),
    ("markov", {"proposal": "local", "hamiltonian": "product"}, "hamiltonian"),
    ("markov", {"proposal": "direct", "times": (1.0, 2.0)}, "times"),
    ("markov", {"replicas": 3}, "replicas"),
]


@pytest.mark.parametrize(("part", "options", "name"), REFUSED)
def test_selectors_refuse_what_others_take_the_effect_from(part: str, options: dict[str, Any], name: str) -> None:
    with pytest.raises(OptionError, match=rf"^replay\.{name}=") as caught:
        make_selector(part, 64, 1, 3, **options)
    assert "\n" not in str(caught.value)


SIZES: dict[str, Case] = {"max_depth": (1, {})}
LEVEL: dict[str, Case] = SIZES | {"optimization_level": (0, {})}
BACKEND_CASES: dict[str, dict[str, Case]] = {
    "statevector": SIZES,
    "lightning": SIZES | {"options": ({"seed": 3}, {})},
    "pennylane:default.qubit": SIZES | {"options": ({"seed": 3}, {})},
    "aer": LEVEL | {"noise": ("fake_manila", {})},
    "ibm:fake_manila": LEVEL,
    "dwave:mock": {"chain_strength": (0.01, {}), "topology": ("chimera", {}), "size": (4, {}), "sweeps": (1, {})},
}


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name"), walk(BACKEND_CASES))
def test_backends(part: str, name: str) -> None:
    """Options are behind the ? of the name, but for mappings. What is seen: samples, depth, broken chains, limits."""

    def record(options: dict[str, Any]) -> str:
        told = "&".join(f"{key}={value}" for key, value in options.items() if not isinstance(value, dict))
        rest = {key: value for key, value in options.items() if isinstance(value, dict)}
        backend = open_backend(f"{part}?{told}" if told else part, **rest)
        assert set(BACKEND_CASES[part]) == {field.name for field in fields(type(backend.config))}  # none is left out
        result = backend.submit(program, "key", 3).result()
        backend.close()
        qubits = backend.limits.qubits if part == "dwave:mock" else None  # of others, what memory holds
        return repr(([bits.tolist() for bits in result.samples], dict(result.about), qubits))

    if part == "dwave:mock":
        qubo = Qubo(np.random.default_rng(0).normal(size=(12, 12)))
        program: Any = AnnealProgram((qubo,), 8)
    else:
        from qiskit.circuit import Parameter, QuantumCircuit

        circuit, angle = QuantumCircuit(3), Parameter("t")
        circuit.h([0, 1, 2])
        circuit.rx(angle, 0)
        circuit.cx(0, 1)
        circuit.cx(0, 1)
        circuit.cx(0, 2)
        circuit.ry(angle, 2)
        program = CircuitProgram(circuit, np.array([[0.7]]), 100)
    effect(record, {}, name, BACKEND_CASES[part][name], "backend")


VENDORS = {"qiskit.ibm": "IbmConfig", "dwave.dwave": "DWaveConfig", "qiskit.provider": "ProviderConfig"}


@pytest.mark.parametrize("module", VENDORS)
def test_vendors_read_every_option(module: str) -> None:
    """Their effects need the vendor, or its double: tests/hybrid_opt. Here, that no option is left unread."""
    config = getattr(import_module(f"hybrid_opt.backends.{module}"), VENDORS[module])
    folder = ROOT / "hybrid_opt" / "backends"
    paths = (module.replace(".", "/"), "local/compiled", "dwave/annealer")
    source = "".join((folder / f"{path}.py").read_text() for path in paths)
    for field in fields(config):
        assert f"config.{field.name}" in source, field.name


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("solver/*.yaml")), ids=lambda path: path.stem)
def test_presets_of_solvers_are_accepted(path: Path) -> None:
    options = yaml.safe_load(path.read_text())
    make_solver(options.pop("name"), **options)
