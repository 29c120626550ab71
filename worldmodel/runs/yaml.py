"""YAML of plain values, by libyaml where PyYAML was built with it, as its wheels are: several times as fast."""

from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
DEEPEST = 64  # nesting; the parsers call themselves for each level, that of libyaml until the process crashes
LARGEST = 100_000  # values with all aliases written out, which a few lines can multiply without end


def read_yaml(text: str) -> Any:
    """What a text says. Raises yaml.YAMLError, and ValueError for a number of too many digits."""
    check_yaml(text)
    return yaml.load(text, LOADER)


def check_yaml(text: str) -> None:
    """Raise yaml.YAMLError for a text that is nested too deeply or holds too much, before anything is made of it."""
    sizes, anchors = [0], {"": 0}  # of the open collections, with what is in them; of what is named
    names: list[str] = []
    for event in yaml.parse(text, LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.append(1)
            names.append(event.anchor or "")
        elif isinstance(event, yaml.CollectionEndEvent):
            size = sizes.pop()
            anchors[names.pop()] = size
            sizes[-1] += size
        elif isinstance(event, yaml.AliasEvent):
            sizes[-1] += anchors.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            sizes[-1] += 1
        if len(sizes) > DEEPEST or sizes[-1] > LARGEST:
            raise yaml.YAMLError(f"nested more than {DEEPEST} deep, or more than {LARGEST} values")


def to_yaml(values: Any) -> str:
    """The text of plain values, their keys in the order that they have."""
    return str(yaml.dump(values, Dumper=_DUMPER, sort_keys=False, allow_unicode=True))
