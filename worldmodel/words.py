"""Words of a command line: written from keys and values, and read from files."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldmodel.composition import UsageError
from worldmodel.plain_yaml import check_yaml

_PLAIN = re.compile(r"[\w./:+-]+", re.ASCII)  # text that Hydra's grammar takes without quotes
_KEY = re.compile(r"[\w\-/.%*$@?|+\\()\[\]{}:=, \t]+", re.ASCII)  # keys that it can take
_SPECIAL = re.compile(r"[\\()\[\]{}:=, \t]")  # what it takes in a key, which has no quotes, behind a backslash


def word(key: str, value: Any) -> str:
    """`key=value` in Hydra's override grammar; `~key` alone where the key begins so."""
    return key if key.startswith("~") else f"{key}={_text(value)}"


def expanded(words: Sequence[str]) -> list[str]:
    """The words, with those of a YAML file in the place of each @FILE. Raises UsageError."""
    return [
        inner for outer in words for inner in (_of_file(outer.removeprefix("@")) if outer.startswith("@") else [outer])
    ]


def _of_file(path: str) -> list[str]:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
        check_yaml(text)
        values = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except OSError as error:
        raise UsageError(f"@{path}: cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, OmegaConfBaseException):
        values = None
    if not isinstance(values, Mapping) or not all(isinstance(key, str) and key for key in values):
        raise UsageError(f"@{path}: keys with values are accepted, as YAML")
    return [word(str(key), value) for key, value in values.items()]


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
