"""Options of parts: declared once, in their config dataclasses, and all of them keys of the command line."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.worldmodel.train.runs import ROOT
from worldmodel.cli.compose import composed, leaves
from worldmodel.cli.overrides import word
from worldmodel.cli.schema import catalogue
from worldmodel.runs.folder import differences
from worldmodel.runs.parts import NAMES, REQUIRED, completed, defaults, options, part_config

CONFIGS = ROOT / "configs"
PRESETS = [(group, path) for group in NAMES for path in sorted((CONFIGS / group).glob("*.yaml")) if path.stem != "none"]


def preset(group: str, path: Path) -> tuple[dict[str, Any], type[Any]]:
    """What a preset writes, and the config dataclass of its part."""
    values = yaml.safe_load(path.read_text())
    schema = part_config(group, values[NAMES[group]])
    assert schema is not None
    return values, schema


@pytest.mark.parametrize(("group", "path"), PRESETS, ids=lambda value: getattr(value, "stem", value))
def test_a_preset_lists_what_differs_from_the_defaults(group: str, path: Path) -> None:
    values, schema = preset(group, path)
    usual = defaults(schema)
    assert [key for key, value in values.items() if key in usual and usual[key] == value] == []
    assert "#" not in path.read_text()  # sentences stand at the fields


@pytest.mark.parametrize(("group", "path"), PRESETS, ids=lambda value: getattr(value, "stem", value))
def test_every_option_is_a_key_with_a_default_and_a_sentence(group: str, path: Path) -> None:
    train, schema = catalogue(CONFIGS, "train"), preset(group, path)[1]
    composition = composed(train, CONFIGS, "train", [f"{group}={path.stem}"])
    given = [
        f"{group}={path.stem}",
        *(
            word(f"{group}.{name}", option.default)
            for name, option in options(schema).items()
            if option.default is not REQUIRED and not option.section
        ),
    ]
    values = composed(train, CONFIGS, "train", given).values()[group]
    assert {name: values[name] for name in defaults(schema)} == defaults(schema)
    keys = set(leaves(composition.open))
    for name, option in options(schema).items():
        assert option.section or train.is_free(f"{group}.{name}") or f"{group}.{name}" in keys
        assert train.comment(f"{group}.{name}", composition.choices), name


def test_a_run_that_did_not_write_an_option_had_its_default() -> None:
    before = {"solver": {"name": "qaoa", "layers": 2}, "optimizer": {"solver": {"name": "vqe"}}}
    now = completed(before)
    assert now["solver"]["mixer"] == "auto" and now["optimizer"]["solver"]["penalty"] == "auto"
    assert differences(before, now, ()) == []
    now["solver"]["mixer"] = "x"
    assert differences(before, now, ()) == ["solver.mixer was auto, is x"]
