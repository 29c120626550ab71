"""YAML of plain values, by libyaml where PyYAML was built with it, as its wheels are: several times as fast."""

from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def read_yaml(text: str) -> Any:
    """What a text says. Raises yaml.YAMLError."""
    return yaml.load(text, LOADER)


def to_yaml(values: Any) -> str:
    """The text of plain values, their keys in the order that they have."""
    return str(yaml.dump(values, Dumper=_DUMPER, sort_keys=False, allow_unicode=True))
