"""Every option of every selector, solver and optimiser through save, load and continue: no leaf that cannot be read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch

from hybrid_opt import Qubo, make_solver
from hybrid_opt.direction.config import DirectionConfig, EscapeConfig
from hybrid_opt.solvers.registry import SOLVERS
from quantum_sampler import make_selector
from quantum_sampler.registry import SELECTORS, selector_classes
from tests.hybrid_opt.direction.test_optimizer import BASES, Training
from tests.quantum_sampler.selectors.test_contract import run
from worldmodel.runs.array_file import CorruptFile
from worldmodel.runs.atomic_file import WriteError
from worldmodel.runs.saved_state import check_leaves, load_state, save_state
from worldmodel.train.laprop import LaProp

SMALL: dict[str, dict[str, Any]] = {  # what is set of each, so that all that it learns is there after some batches
    "annealed": {"pool": 16, "reads": 16, "plans": 2, "inline": True},
    "boltzmann": {"bits": 6, "hidden": 4, "plans": 2, "every": 4, "steps": 2, "chains": 4, "pool": 32, "inline": True},
    "markov": {"bits": 4, "chains": 2, "burn_in": 4, "thin": 2, "plans": 2, "inline": True},
    "recall": {"bits": 6, "radius": 2, "fit": 4},
    "novel": {"inducing": 8, "plans": 2, "pool": 40, "inline": True},
    "mixture": {"components": {"uniform": {"share": 1.0}, "prioritized": {"share": 1.0, "fresh_every": 2}}},
    "annealing": {"reads": 4, "sweeps": 10},
    "path_integral": {"reads": 4, "sweeps": 10},
    "qaoa": {"layers": 2, "angles": "learned", "adapt": True, "shots": 16},
    "vqe": {"steps": 4, "shots": 16, "training_shots": 8},
    "hybrid": {"every": 2, "blocks": 2, "slowest": 1, "escape": {"patience": 2, "blocks": 2, "tolerance": 0.5}},
}


class Together(dict[str, Any]):
    """Options that go only with each other."""


OTHERS: dict[str | tuple[str, str], list[Any]] = {  # choices that a type does not tell, or that go only together
    "inline": [],  # false: what a thread plans until a moment is not repeatable
    "backend": [],  # those of others are tested with them
    "device": [],
    "options": [],
    "policy": [],
    "gammas": [[0.1, 0.2]],
    "times": [[1.0, 2.0]],
    "beta_range": [[0.1, 2.0]],
    "field_range": [[2.0, 0.1]],
    "overhead": [10.0],
    "evaluations": [7],
    "queries": [5],
    "threads": [1],
    "growth": [1.1],
    "bits": [5],
    "gamma": [Together(machine="transverse", gamma=0.35)],
    "replicas": [Together(proposal="tempering", replicas=3)],
    "width": [Together(span=3, width=2)],
    "infeasible": [Together(engine="annealing", infeasible=name) for name in ("drop", "repair")],
    "rounding": [Together(warm_start="greedy", rounding=0.1)],
    ("QaoaConfig", "parameters"): [Together(parameters="random", angles="optimised", adapt=False)],
    ("QaoaConfig", "training_shots"): [Together(optimizer="spsa", training_shots=9)],
    ("VqeConfig", "parameters"): [Together(parameters="random", steps=100, training_shots=64)],
    ("VqeConfig", "training"): [Together(training="adjoint", training_shots=64)],
    ("GroverConfig", "oracle"): [],  # of a backend
    ("GroverConfig", "precision"): [],
    "binarisation": [Together(binarisation="learned", bits=3)],
    "pool": [40],
    "kernel": ["projected", "rbf"],
    "similarity": ["fidelity", "rbf"],
    "kernel_options": [],
    "components": [],
    "angles": [Together(angles=name, adapt=False) for name in ("fixed", "ramp", "transferred", "optimised")],
    "warm_start": ["greedy"],
    "optimizer": [Together(angles="optimised", adapt=False, optimizer=name) for name in ("cobyla", "spsa")],
    "engine": [
        Together(engine="qaoa", pool=8, options={"layers": 1, "angles": "learned", "adapt": True}),
        *(
            "annealing",
            "path_integral",
            "kawasaki",
            "facility",
            *(
                Together(engine=name, reads=256)
                for name in ("greedy", "facility_greedy", "dpp", "systematic", "pivotal")
            ),
        ),
    ],
    "machine": ["semi_quantum", "rbm", "transverse"],
    "moves": [["skip", "base"]],
    "wait": [True],
    "seed": [5],
    "solver": [{"name": "qaoa", "angles": "learned", "adapt": True, "layers": 2, "shots": 16}],
    "multiples": [[-1.0]],
    "escape": [],  # all its own are in the list
}


def choices(config: Any, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One option set for each other choice of each option; numbers take one other value that is accepted."""
    for field in fields(config):
        name, default = field.name, given.get(field.name, None if field.default is MISSING else field.default)
        literals = [arg for kind in (field.type, *get_args(field.type)) for arg in _literals(kind)]
        if (given_here := OTHERS.get((config.__name__, name), OTHERS.get(name))) is not None:
            values = given_here
        elif literals:
            values = [value for value in literals if value != default]
        elif isinstance(default, bool):
            values = [not default]
        else:
            assert isinstance(default, int | float), f"{config.__name__}.{name}: say in OTHERS what else it may be"
            values = [default + 1 if isinstance(default, int) else default / 2 or 0.5]
        yield from (value if isinstance(value, Together) else {name: value} for value in values)


def _literals(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def option_sets(names: Mapping[str, Any]) -> list[Any]:
    """(name, options) of every name alone and with every other choice."""
    sets = []
    for name, config in names.items():
        given = SMALL.get(name, {})
        for changed in [{}, *choices(config, given)]:
            label = ",".join(f"{key}={value}" for key, value in changed.items()).replace(" ", "")
            sets.append(pytest.param(name, {**given, **changed}, id=f"{name}-{label}" if label else name))
    return sets


def through_a_file(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    save_state(folder / "state.pt", {"format": 1, "part": state})
    part: dict[str, Any] = load_state(folder / "state.pt")["part"]
    return part


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), option_sets({n: selector_classes(n)[1] for n in SELECTORS}))
def test_selectors(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    looks = {"fresh_every": 2} if hasattr(selector_classes(name)[1], "fresh_every") else {}

    def made() -> Any:
        probe: Callable[[Any], Any] = lambda ids: 0.5 + ids % 7  # noqa: E731
        return make_selector(name, 64, 1, 3, probe, **{**looks, **options})

    first = made()
    first.add(np.arange(50), features=np.random.default_rng(0).normal(size=(50, 3)))
    first.update(np.arange(40), np.linspace(0.1, 3.0, 40), np.random.default_rng(1).normal(size=(40, 3)))
    run(first, 9, 50)
    second = made()
    second.load_state_dict(through_a_file(first.state_dict(), tmp_path))
    assert run(second, 5, 100) == run(first, 5, 100)
    first.close()
    second.close()


def solver_configs() -> dict[str, Any]:
    return {name: getattr(import_module(module), kind).Config for name, (module, kind) in SOLVERS.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), option_sets(solver_configs()))
def test_solvers(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    first, second = make_solver(name, **options), make_solver(name, **options)
    rng = np.random.default_rng(0)
    kept = {"cardinality": 2} if options.get("mixer", "x") != "x" else {}
    qubos = [Qubo(rng.normal(size=(5, 5)), **kept) for _ in range(8)]
    for qubo in qubos:
        first.solve(qubo)
    second.load_state_dict(through_a_file(first.state_dict(), tmp_path))
    for qubo in qubos[:2]:
        one, other = first.solve(qubo, seed=3), second.solve(qubo, seed=3)
        assert one.energy == other.energy and np.array_equal(one.samples, other.samples)
        assert (one.angles is None) == (other.angles is None)
        assert one.angles is None or np.array_equal(one.angles, other.angles)
    assert first.metrics() == second.metrics()


def optimiser_sets() -> list[Any]:
    sets = option_sets({"hybrid": DirectionConfig})
    given = SMALL["hybrid"]
    for changed in choices(EscapeConfig, given["escape"]):
        label = "".join(f"{key}={value}" for key, value in changed.items()).replace(" ", "")
        sets.append(pytest.param("hybrid", {**given, "escape": {**given["escape"], **changed}}, id=f"escape-{label}"))
    for key, value in {"clip": 0.0, "beta1": 0.5, "beta2": 0.5, "eps": 1e-8, "warmup": 9}.items():
        sets.append(pytest.param("laprop", {key: value}, id=f"laprop-{key}={value}"))
    return sets


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), optimiser_sets())
def test_optimisers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]) -> None:
    base = options if name == "laprop" else {}
    monkeypatch.setitem(BASES, "laprop", lambda named: LaProp(named, lr=0.01, **base))
    hybrid = {} if name == "laprop" else options
    first, second = (Training("laprop", hybrid=name == "hybrid", **hybrid) for _ in range(2))
    first.steps(0, 9)
    saved = through_a_file({"model": first.model.state_dict(), "optimizer": first.optimizer.state_dict()}, tmp_path)
    second.model.load_state_dict(saved["model"])
    second.optimizer.load_state_dict(saved["optimizer"])
    second.noise.set_state(first.noise.get_state())
    assert second.steps(9, 14) == first.steps(9, 14)
    assert torch.equal(second.weights, first.weights)


@pytest.mark.parametrize("leaf", [np.float64(1.5), np.int64(3), np.bool_(True), np.zeros(2), np.str_("x"), object()])
def test_a_leaf_that_could_not_be_read_is_named_before_anything_is_written(tmp_path: Path, leaf: Any) -> None:
    save_state(tmp_path / "state.pt", {"format": 1})
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(TypeError, match=r"^state\['selector'\]\['latest'\]\[1\] is a .*: tensors and Python scalars"):
        save_state(tmp_path / "state.pt", {"format": 1, "selector": {"latest": [1.0, leaf]}})
    assert (tmp_path / "state.pt").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(TypeError, match=r"the key state\[np.int64\(3\)\] is a numpy"):
        check_leaves({np.int64(3): 1})


def test_what_cannot_be_read_back_does_not_take_the_place_of_the_former(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path / "state.pt", {"format": 1})
    before = (tmp_path / "state.pt").read_bytes()
    monkeypatch.setattr(torch, "save", lambda state, file: file.write(b"something else"))
    with pytest.raises(WriteError, match="state.pt: cannot be written: what was written cannot be read back"):
        save_state(tmp_path / "state.pt", {"format": 1})
    assert (tmp_path / "state.pt").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_doubles_of_numpy_in_earlier_states_are_read_and_no_others(tmp_path: Path) -> None:
    torch.save({"format": 1, "latest": [np.float64(0.1), 2]}, tmp_path / "state.pt")
    for mmap in (False, True):
        latest = load_state(tmp_path / "state.pt", mmap)["latest"]
        assert latest == [0.1, 2] and type(latest[0]) is float
    for other in (np.float32(1), np.int64(1), np.array([1, None])[0:1], np.dtype("O"), np.zeros(1)):
        torch.save({"format": 1, "latest": other}, tmp_path / "state.pt")
        with pytest.raises(CorruptFile):
            load_state(tmp_path / "state.pt")
