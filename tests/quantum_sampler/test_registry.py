from typing import Any

import numpy as np
import pytest

from quantum_sampler import OptionError, make_selector, selector_config, wants_features

PART = {"components": {"prioritized": {"share": 1}}}
WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    ("prioritised", {}, ["replay.selector=prioritised", "did you mean prioritized?", "uniform"]),
    ("quantum", {}, ["replay.selector=quantum", "accepted:", "curious"]),
    ("prioritized", {"alhpa": 0.5}, ["replay.alhpa", "did you mean alpha?", "epsilon"]),
    ("uniform", {"alpha": 0.5}, ["replay.alpha", "uniform", "none"]),
    ("prioritized", {"alpha": 1.5}, ["replay.alpha=1.5", "less than or equal to 1"]),
    ("prioritized", {"alpha": "much"}, ["replay.alpha='much'", "number"]),
    ("prioritized", {"epsilon": 0.0}, ["replay.epsilon=0.0", "greater than 0"]),
    ("prioritized", {"epsilon": float("nan")}, ["replay.epsilon=nan", "finite"]),
    ("prioritized", {"stratified": "perhaps"}, ["replay.stratified='perhaps'", "boolean"]),
    ("curious", {"beta": -1}, ["replay.beta=-1", "greater than or equal to 0"]),
    ("mixture", {}, ["replay.components is missing"]),
    ("mixture", {"components": {}}, ["replay.components={}", "at least 1"]),
    ("mixture", {**PART, "correction": "some"}, ["replay.correction='some'", "'inclusion' or 'component'"]),
    ("mixture", {"components": {"unifrom": {"share": 1}}}, ["replay.components.unifrom.selector=unifrom", "uniform?"]),
    ("mixture", {"components": {"uniform": {}}}, ["replay.components.uniform.share is missing"]),
    ("mixture", {"components": {"uniform": {"share": 0}}}, ["replay.components.uniform.share=0", "greater than 0"]),
    ("mixture", {"components": {"uniform": 3}}, ["replay.components.uniform=3", "dictionary"]),
    (
        "mixture",
        {"components": {"curious": {"share": 1, "gamma": 2}}},
        ["replay.components.curious.gamma", "curious", "beta"],
    ),
    (
        "mixture",
        {"components": {"curious": {"share": 1, "beta": 2}}},
        ["replay.components.curious.beta=2", "less than or equal to 1"],
    ),
]


@pytest.mark.parametrize(("name", "options", "parts"), WRONG)
def test_wrong_options_give_one_line_that_names_them(name: str, options: dict[str, Any], parts: list[str]) -> None:
    for make in (lambda: make_selector(name, 8, 0, **options), lambda: selector_config(name, **options)):
        with pytest.raises(OptionError) as caught:
            make()
        message = str(caught.value)
        assert caught.value.exit_code == 2
        assert "\n" not in message
        for part in parts:
            assert part in message, message


def test_capacity() -> None:
    with pytest.raises(OptionError, match=r"replay\.capacity=0"):
        make_selector("uniform", 0, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"capacity": 2.5}, r"replay\.capacity=2\.5"),
        ({"capacity": "3"}, r"replay\.capacity=3"),
        ({"seed": -1}, "seed=-1: None"),
        ({"seed": 1.5}, r"seed=1\.5: None"),
        ({"seed": "1"}, "seed='1': None"),
        ({"feature_dim": None}, "feature_dim=None"),
    ],
)
def test_wrong_sizes_and_seeds(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{message}"):
        make_selector("uniform", **{"capacity": 8, "seed": 0, **given})


def test_no_seed_is_another_one_every_time() -> None:
    draws = []
    for _ in range(2):
        selector = make_selector("uniform", 64, None)
        selector.add(np.arange(64))
        draws.append(selector.select(64).ids.tolist())
    assert draws[0] != draws[1]


def test_config_holds_the_defaults() -> None:
    assert selector_config("curious", c=5).c == 5.0
    assert selector_config("curious").alpha == 0.7


def test_one_selector_takes_little_memory() -> None:
    """Bytes an item at capacity 1M; pages that were never written count too."""

    def held(thing: Any) -> int:
        if isinstance(thing, np.ndarray):
            return thing.nbytes if thing.base is None else 0
        if isinstance(thing, (list, tuple)):
            return sum(map(held, thing))
        return sum(map(held, vars(thing).values())) if type(thing).__module__.startswith("quantum_sampler") else 0

    for name, bytes_an_item in (("uniform", 16), ("prioritized", 25), ("curious", 29)):
        assert held(make_selector(name, 1_000_000, 0)) <= bytes_an_item * 1_000_000


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("annealed", {"engine": "greedy", "backend": "aer"}, r"replay\.engine=greedy: runs on no backend; auto, "),
        ("boltzmann", {"machine": "rbm", "backend": "dwave:mock"}, r"replay\.machine=rbm: runs on no backend; "),
    ],
)
def test_what_runs_on_no_backend_is_refused_before_one_is_opened(name: str, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        selector_config(name, **options)


def test_selectors_that_use_features_say_so() -> None:
    assert not any(wants_features(name) for name in ("uniform", "prioritized", "curious", "fresh"))
    assert all(wants_features(name) for name in ("annealed", "boltzmann", "markov", "recall"))
    components = {"uniform": {"share": 1}, "recall": {"share": 1}}
    assert wants_features("mixture", components=components)
    assert not wants_features("mixture", components={"uniform": {"share": 1}})
