"""Words of a command line: written from keys and values, and read from files."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hybrid_opt.paths import user_path
from worldmodel.cli.compose import UsageError, composed, is_group, parsed
from worldmodel.cli.schema import Catalogue
from worldmodel.runs.folder import ABOUT
from worldmodel.runs.yaml import check_yaml

_PLAIN = re.compile(r"[\w./:+-]+", re.ASCII)  # text that Hydra's grammar takes without quotes
_KEY = re.compile(r"[\w\-/.%*$@?|+\\()\[\]{}:=, \t]+", re.ASCII)  # keys that it can take
_SPECIAL = re.compile(r"[\\()\[\]{}:=, \t]")  # what it takes in a key, which has no quotes, behind a backslash


def word(key: str, value: Any) -> str:
    """`key=value` in Hydra's override grammar; `~key` alone where the key begins so."""
    return key if key.startswith("~") else f"{key}={_text(value)}"


def expanded(words: Sequence[str], command: "Command | None" = None) -> list[str]:
    """The words, with those of a YAML file in the place of each @FILE. Raises UsageError.

    The config.yaml of a run stands for the words that repeat it with `command`, in a folder of its own.
    """
    given = [word for word in words if not word.startswith("@")]
    found: list[str] = []
    for outer in words:
        values = _of_file(outer.removeprefix("@")) if outer.startswith("@") else None
        if values is None:
            found.append(outer)
        elif command is not None and values.keys() >= ABOUT:
            found += command.repeated(values, given)
        else:
            found += [word(key, value) for key, value in values.items()]
    return found


@dataclass(frozen=True)
class Command:
    """A command whose words are looked for: its catalogue, the folder of the configs, its name."""

    catalogue: Catalogue
    configs: Path
    name: str

    def repeated(self, values: Mapping[str, Any], given: Sequence[str]) -> Iterator[str]:
        """Words that give a run's values: its groups first, then each key that differs from what they bring.

        A group that is given stays as it is, and so do its keys. The folder is not repeated. Raises UsageError.
        """
        groups = {str(override.key_or_group): line for line, override in self._groups(given)}
        for group, choices in self.catalogue.choices.items():
            section = values.get(group)
            name = section.get("name", section.get("selector")) if isinstance(section, Mapping) else None
            if group not in groups and name in choices:
                groups[group] = word(group, name)
                yield groups[group]
        known = composed(self.catalogue, self.configs, self.name, list(groups.values())).open
        kept = {group for group, line in groups.items() if line in given}
        kept_keys = {key for (group, _), keys in self.catalogue.options.items() if group in kept for key in keys}
        own = {key: value for key, value in values.items() if key not in {*ABOUT, "logdir"}}
        for key, line in self._differing(own, known, ""):
            if not any(key == other or key.startswith(f"{other}.") for other in kept_keys):
                yield line

    def _groups(self, words: Sequence[str]) -> Iterator[tuple[str, Override]]:
        overrides = [(line, parsed(line)) for line in words]
        return ((line, override) for line, override in overrides if is_group(override, self.catalogue))

    def _differing(self, values: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        """Keys and words for what differs in nested values."""
        free = self.catalogue.is_free(prefix.rstrip("."))
        for last, value in values.items():
            key, before = f"{prefix}{last}", known.get(last)
            if isinstance(value, Mapping) and isinstance(before, Mapping) and all(map(_is_plain, value)):
                yield from self._differing(value, before, f"{key}.")
            elif value != before and (last in known or free or not prefix):  # others cannot be given: defaults
                yield key, word(key, value)
        if free:
            yield from ((f"{prefix}{last}", f"~{prefix}{last}") for last in known if last not in values)


def _is_plain(key: Any) -> bool:
    return isinstance(key, str) and re.fullmatch(r"[\w-]+", key, re.ASCII) is not None


def _of_file(path: str) -> Mapping[str, Any]:
    try:
        text = user_path(path).read_text(encoding="utf-8")
        check_yaml(text)
        values = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except OSError as error:
        raise UsageError(f"@{path}: cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, OmegaConfBaseException):
        values = None
    if not isinstance(values, Mapping) or not all(isinstance(key, str) and key for key in values):
        raise UsageError(f"@{path}: keys with values are accepted, as YAML")
    return cast(Mapping[str, Any], values)


def settings(words: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a run from others: what its words give, and of all its values the environment, steps and seed."""
    given = {
        str(override.key_or_group): override.value() for override in map(parsed, words) if not override.is_delete()
    }
    always = {"env.id": values["env"]["id"], "steps": values["steps"], "seed": values["seed"]}
    return always | {key: value for key, value in given.items() if key not in ("logdir", "device", "threads")}


def _key(key: Any) -> str:
    text = "null" if key is None else str(key)
    if not _KEY.fullmatch(text):
        raise UsageError(f"{text!r}: no key that a word can hold; ASCII letters, digits and most signs are accepted")
    return _SPECIAL.sub(r"\\\g<0>", text)


def _text(value: Any) -> str:
    """A value in Hydra's grammar. A plain text, and a key of a mapping, is written as one would type it."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case int() | float():
            return repr(value)
        case Mapping():
            return "{" + ",".join(f"{_key(key)}:{_text(inner)}" for key, inner in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_text, value)) + "]"
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    return "'" + re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + match[2].replace("'", "\\'"), text) + "'"
