"""The configuration of a training run: what must hold between its parts."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.worldmodel.model.agents import BEHAVIOR, LOSS
from worldmodel.runs.later_keys import ADDED
from worldmodel.runs.parts import options
from worldmodel.train.config import TrainConfig
from worldmodel.train.optimizers import LaPropConfig

VALUES: dict[str, Any] = {
    "steps": 1e5,
    "seed": 0,
    "logdir": "auto",
    "init": None,
    "device": "cpu",
    "precision": "auto",
    "threads": "auto",
    "deterministic": False,
    "compile": False,
    "backend": "statevector",
    "budget": None,
    "prefill": 200,
    "batch_size": 4,
    "batch_length": 16,
    "train_ratio": 64,
    "env": {"id": "CartPole-v1", "num": 2},
    "size": {"deter": 512, "hidden": 64, "classes": 4, "units": 64, "depth": 4, "stoch": 32, "blocks": 8},
    "replay": {"selector": "uniform", "capacity": 1e6, "storage": "memory", "stride": "auto", "fresh": 1},
    "solver": {"name": "qaoa"},
    "optimizer": {
        "name": "laprop",
        "lr": 1e-3,
        "clip": 0.3,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-20,
        "warmup": 0,
        "final_rate": 1,
    },
    "loss": LOSS,
    "behavior": BEHAVIOR,
    "eval": {"every": 0, "episodes": 1, "final_episodes": 1},
    "log": {"every": 250, "predictions_every": 0},
    "checkpoint": {"minutes": 5, "keep": 2},
}


def config(**changes: Any) -> TrainConfig:
    """Changes by key, `section__key` for one inside a section."""
    values = {key: dict(value) if isinstance(value, dict) else value for key, value in VALUES.items()}
    for key, value in changes.items():
        *section, name = key.split("__")
        target = values[section[0]] if section else values
        target[name] = value
    return TypeAdapter(TrainConfig).validate_python(values)


def test_numbers_in_scientific_notation() -> None:
    assert config().steps == 100_000 and isinstance(config().steps, int)
    assert config().replay.capacity == 1_000_000


def test_stride_and_options_of_selectors() -> None:
    assert config().stride == 1 and config().selector_options == {}
    prioritized = config(replay__selector="prioritized", replay__alpha=0.5)
    assert prioritized.stride == 16 and prioritized.selector_options == {"alpha": 0.5}
    assert config(replay__selector="prioritized", replay__stride=5).stride == 5


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"size__deter": 513}, "size.deter=513: a multiple of size.blocks=8"),
        ({"replay__fresh": 4}, "replay.fresh=4: less than batch_size=4"),
        ({"prefill": 33}, "prefill=33: at least 34"),
        ({"replay__capacity": 67}, "replay.capacity=67: at least 68"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"steps": 1.5}, "valid integer"),
        ({"batch_length": 1}, "greater than or equal to 2"),
        ({"seed": 2**63}, "less than"),
        ({"precision": "float16"}, "'float32' or 'bfloat16'"),
        ({"colour": 1}, "[Uu]nexpected"),
        ({"size__colour": 1}, "[Uu]nexpected"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        config(**changes)


def test_the_least_that_is_accepted() -> None:
    assert config(prefill=34, replay__capacity=68).stride == 1


def test_earlier_runs_did_what_the_defaults_of_later_sections_say() -> None:
    """A run whose config.yaml lacks a key of these sections continues with its default, and with no other value."""
    defaults = options(TrainConfig)
    sections = ("model.", "circuit.", "control.")
    later = {key for key, option in defaults.items() if key.startswith(sections) and not option.section}
    assert {key: ADDED[key] for key in later} == {key: defaults[key].default for key in later}
    assert ADDED["optimizer.angles"] == LaPropConfig(name="laprop").angles
