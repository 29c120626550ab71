"""Validation of composed values against a config dataclass, what is wrong said in one line."""

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import reduce
from operator import getitem
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

Config = TypeVar("Config")


class UsageError(Exception):
    """The command line or the configuration was wrong. The message is one line."""

    exit_code = 2


_ACCEPTED = {  # by the first word of pydantic's name for the error
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a finite number",
    "bool": "must be true or false",
    "string": "must be text",
    "path": "must be text",
    "list": "must be a list such as [1,2]",
    "tuple": "must be a list such as [1,2]",
    "dict": "must be keys with values",
    "dataclass": "must be keys with values",
    "none": "must be null",
    "missing": "must be given",
    "unexpected": "unknown key",
}
_WORDS = {"True": "true", "False": "false", "None": "null"}


def validated(schema: type[Config], values: Mapping[str, Any], texts: Mapping[str, str]) -> Config:
    """Values as an instance of the dataclass.

    `texts` holds what the command line gave for a key: where text is wanted and the grammar saw a number
    (`logdir=2024`), the characters themselves are taken. Raises UsageError: `key=value: what is accepted`, and how many
    more are wrong.
    """
    adapter = TypeAdapter(schema)
    try:
        return _within_64_bits(adapter.validate_python(values), values, texts)
    except ValidationError as error:
        keys = {_key(detail["loc"], values) for detail in error.errors() if _is_text_wanted(detail)}
        if not keys & texts.keys():
            raise UsageError(_line(error, values, texts)) from None
    replaced: dict[str, Any] = deepcopy(dict(values))
    for key in keys & texts.keys():
        *sections, last = key.split(".")
        reduce(getitem, sections, replaced)[last] = texts[key]
    try:
        return _within_64_bits(adapter.validate_python(replaced), replaced, texts)
    except ValidationError as error:
        raise UsageError(_line(error, replaced, texts)) from None


def _within_64_bits(config: Config, values: Mapping[str, Any], texts: Mapping[str, str]) -> Config:
    """The config, if no whole number in the values it was made of is too large for arrays, and true is none of them.

    Raises UsageError.
    """
    for key in _flags_as_numbers(values, config, ""):
        raise UsageError(f"{_given(key, values, texts)}must be a number")
    for key, value in numbers(values):
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise UsageError(f"{key}={texts.get(key, _short(value))}: must be a whole number of at most 64 bits")
    return config


def _flags_as_numbers(values: Mapping[str, Any], config: Any, key: str) -> Iterator[str]:
    """The keys of true and false that became 1 and 0 in the config."""
    for name, value in values.items():
        now = config.get(name) if isinstance(config, Mapping) else getattr(config, str(name), None)
        if isinstance(value, Mapping):
            yield from _flags_as_numbers(value, now, f"{key}{name}.")
        elif isinstance(value, bool) and isinstance(now, int | float) and not isinstance(now, bool):
            yield f"{key}{name}"


def numbers(values: Any, key: str = "") -> Iterator[tuple[str, int | float]]:
    """All numbers in nested values, with their dotted keys."""
    match values:
        case bool():
            return
        case int() | float():
            yield key, values
        case Mapping() | list():
            for name, inner in values.items() if isinstance(values, Mapping) else enumerate(values):
                yield from numbers(inner, f"{key}.{name}" if key else str(name))


def _short(value: int) -> str:
    """The digits, or how many bits they are: Python writes thousands of digits only on request."""
    return str(value) if value.bit_length() < 200 else f"(a number of {value.bit_length()} bits)"


def _is_text_wanted(detail: ErrorDetails) -> bool:
    return detail["type"] in ("string_type", "path_type") and isinstance(detail["input"], bool | int | float)


def _line(error: ValidationError, values: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    said: dict[str, list[str]] = {}
    for detail in error.errors():
        key = _key(detail["loc"], values, absent=detail["type"] == "missing" and isinstance(detail["loc"][-1], str))
        said.setdefault(key, []).append(_phrase(detail))
    # of the members of a union, the one that came furthest speaks
    keys = [key for key in said if not any(other.startswith(f"{key}.") for other in said)]
    first = keys[0]
    phrases = list(dict.fromkeys(said[first]))
    alternatives = [phrases[0], *(phrase.removeprefix("must be ") for phrase in phrases[1:])]
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return f"{_given(first, values, texts)}{' or '.join(alternatives)}{more}"


def _given(key: str, values: Any, texts: Mapping[str, str]) -> str:
    """`key=value: ` as a command line gives it, `key: ` for a section or what is absent, nothing for the whole."""
    if key in texts:
        return f"{key}={texts[key]}: "
    for part in filter(None, key.split(".")):
        try:
            values = values[int(part) if isinstance(values, list) else part]
        except KeyError:
            return f"{key}: "
    if isinstance(values, Mapping):
        return f"{key}: " if key else ""
    return f"{key}={values if isinstance(values, str) else json.dumps(values)}: "


def _phrase(detail: ErrorDetails) -> str:
    kind, message = detail["type"], detail["msg"]
    if kind == "too_short" or (kind == "missing" and isinstance(detail["loc"][-1], int)):
        return "must be a longer list"
    if kind in ("value_error", "assertion_error"):
        return " ".join(str(detail["ctx"]["error"]).split())
    if kind == "literal_error":
        choices = str(detail["ctx"]["expected"]).replace("'", "")
        return "must be " + re.sub(r"\b(True|False|None)\b", lambda match: _WORDS[match[0]], choices)
    known = _ACCEPTED.get(kind.partition("_")[0])
    if known and kind not in ("string_too_short", "string_too_long", "string_pattern_mismatch"):
        return known
    return re.sub("^Input should (be|have) ", r"must \1 ", message)


def _key(location: tuple[int | str, ...], values: Any, absent: bool = False) -> str:
    """The dotted key of an error's location, without the tags that pydantic puts in for the members of a union."""
    parts: list[str] = []
    for depth, part in enumerate(location):
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            if not (absent and depth == len(location) - 1):
                continue
        parts.append(str(part))
    return ".".join(parts)
