"""Composition of a command line: Hydra's override grammar over a folder of YAML, every mistake answered in one line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from worldmodel.cli.errors import UsageError as UsageError
from worldmodel.cli.errors import validated
from worldmodel.cli.schema import Catalogue, configs_folder
from worldmodel.cli.schema import catalogue as catalogue_of
from worldmodel.cli.suggestion import near_choices, near_key

Config = TypeVar("Config")

_ID = re.compile(r"-v\d+$|[:/]")  # of an environment


@dataclass(frozen=True)
class Composition:
    """A composed configuration, its interpolations still open."""

    config: DictConfig
    choices: dict[str, str]  # group -> choice
    texts: dict[str, str]  # key -> the text that the command line gave

    @property
    def open(self) -> dict[str, Any]:
        """The configuration as plain values, with the interpolations as they are written."""
        return cast(dict[str, Any], OmegaConf.to_container(self.config, resolve=False))

    def yaml(self) -> str:
        """The configuration as YAML, interpolations resolved; a value that is still to be given stays `???`."""
        self._resolve(throw_on_missing=False)
        return OmegaConf.to_yaml(self.config, resolve=True)

    def values(self) -> dict[str, Any]:
        """The configuration as plain dicts, lists and scalars. Raises UsageError when a mandatory value is missing."""
        return self._resolve(throw_on_missing=True)

    def validated(self, schema: type[Config]) -> Config:
        """The configuration as an instance of a dataclass. Raises UsageError."""
        return validated(schema, self.values(), self.texts)

    def _resolve(self, throw_on_missing: bool) -> dict[str, Any]:
        try:
            values = OmegaConf.to_container(self.config, resolve=True, throw_on_missing=throw_on_missing)
        except MissingMandatoryValue as error:
            raise UsageError(f"{error.full_key}=VALUE: must be given") from None
        except OmegaConfBaseException as error:
            if not self.texts:
                raise
            key = str(error.full_key)
            raise UsageError(f"{key}={self.texts.get(key, '...')}: {_first(error)}") from None
        return cast(dict[str, Any], values)


def configured(name: str, schema: type[Config], words: Sequence[str], configs: Path | None = None) -> Config:
    """What `python -m worldmodel.NAME` makes of words, an instance of its config dataclass. Raises UsageError."""
    folder = configs or configs_folder()
    return composed(catalogue_of(folder, name), folder, name, words).validated(schema)


def composed(catalogue: Catalogue, configs: Path, name: str, words: Sequence[str]) -> Composition:
    """Compose `configs/NAME.yaml` with overrides such as `env=cartpole steps=1e5`. Raises UsageError."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        _check_form(word, following, catalogue)
    overrides = [parsed(word) for word in words]
    groups = [override for override in overrides if is_group(override, catalogue)]
    for override in groups:
        _check_choice(override, catalogue)
    choices = (str(override.input_line).lstrip("+") for override in groups)
    composition = deepcopy(_chosen(configs.absolute(), name, *choices))
    known = composition.open
    for override in overrides:
        if not is_group(override, catalogue):
            _check_key(override, known, catalogue)
            _apply(override, composition.config)
            composition.texts[override.key_or_group] = str(override.input_line).partition("=")[2]
    return composition


@cache
def _chosen(configs: Path, name: str, *choices: str) -> Composition:
    """What Hydra composes of the choices alone over the defaults, once in a process: later changes of the files
    are not seen."""
    with initialize_config_dir(str(configs), version_base="1.3"):
        config = compose(name, overrides=list(choices), return_hydra_config=True)
    made = {group: str(choice) for group, choice in config.hydra.runtime.choices.items()}
    with open_dict(config):
        del config["hydra"]
    complete = OmegaConf.merge(catalogue_of(configs, name).defaults(made), config)
    return Composition(cast(DictConfig, complete), made, {})


def _apply(override: Override, config: DictConfig) -> None:
    """What Hydra does with an override of a key; whether it may be new has been checked."""
    key = override.key_or_group
    try:
        if override.is_delete():
            section, _, last = key.rpartition(".")
            with open_dict(config):
                del OmegaConf.select(config, section)[last]
        else:
            OmegaConf.update(config, key, override.value(), merge=True, force_add=True)
    except OmegaConfBaseException as error:
        raise UsageError(f"{override.input_line}: {_first(error)}") from None


@cache  # the parser takes milliseconds a word, and a search gives its trials the same ones
def parsed(word: str) -> Override:
    """A word such as `steps=1e5` as an override, which is not to be changed. Raises UsageError."""
    if word.encode(errors="replace").decode() != word:
        raise UsageError(f"{word!a}: has bytes that are no UTF-8")
    if word.startswith("-"):
        raise UsageError(f"{word}: unknown option; accepted are --help, --cfg, --version and key=value")
    if "=" not in word and not word.startswith("~"):
        raise UsageError(f"{word}: give {word}=VALUE")
    parser = OverridesParser.create()
    try:
        override = parser.parse_override(word)
    except HydraException as error:
        key, _, value = word.partition("=")
        try:
            override = parser.parse_override(f"{key}='{value}'")
        except HydraException:
            raise UsageError(f"{word}: not of the form key=value; {_first(error)}") from None
        if not _is_plain(value, parser):
            raise UsageError(
                f"{word}: has characters with a meaning of their own; quote the value: {key}=\"'{value}'\""
            ) from None
    if override.is_sweep_override():
        key = override.key_or_group
        raise UsageError(f"{word}: one value is accepted; a list is '{key}=[a,b]', a text with commas \"{key}='a,b'\"")
    return override


def _is_plain(value: str, parser: OverridesParser) -> bool:
    """Whether a value would be text but for letters such as umlauts, which have no meaning in the grammar."""
    try:
        override = parser.parse_override("key=" + "".join(sign if sign.isascii() else "x" for sign in value))
    except HydraException:
        return False
    return not value.isascii() and isinstance(override.value(), str) and not value.startswith(("'", '"'))


def _check_form(word: str, following: str, catalogue: Catalogue) -> None:
    """Refuse an option, such as `--steps 1000`, or a value without its key, with the word that was meant."""
    value = following if following and "=" not in following and following[0] not in "-~" else "VALUE"
    key, _, given = word.lstrip("-").replace("-", "_").partition("=")
    if (word[:1] == "-" or "=" not in word) and (key in catalogue.keys or key in catalogue.groups):
        raise UsageError(f"{word}: {'unknown option; ' if word[:1] == '-' else ''}give {key}={given or value}")
    if "=" not in word and word[:1] not in "-~":
        groups = [group for group, choices in catalogue.choices.items() if word in choices]
        if groups:
            raise UsageError(f"{word}: give {' or '.join(f'{group}={word}' for group in groups)}")
        if "env.id" in catalogue.keys and re.search(r"-v\d+$", word):
            raise UsageError(f"{word}: give env.id={word}")
        if Path(word).suffix in (".yaml", ".yml"):
            raise UsageError(f"{word}: give @{word} for the keys and values of a file")
        if "logdir" in catalogue.keys and ("/" in word or Path(word).is_dir()):
            raise UsageError(f"{word}: give logdir={word}")
        raise UsageError(f"{word}: key=value is accepted; --help lists the keys")


def is_group(override: Override, catalogue: Catalogue) -> bool:
    """Whether it chooses from a group."""
    return _group(override) in catalogue.groups and not isinstance(override.value(), dict)


def _group(override: Override) -> str:
    return f"{override.key_or_group}@{override.package}" if override.package else str(override.key_or_group)


def _check_choice(override: Override, catalogue: Catalogue) -> None:
    group, choice = _group(override), override.value()
    choices = catalogue.choices[group]
    if override.is_delete() or choice not in choices:
        word = str(override.input_line).partition("=")[2]
        hints = near_choices(group, word, choices)
        if isinstance(choice, str) and f"{group}.id" in catalogue.keys and _ID.search(choice):
            hints.append(f"{group}.id={choice}")
        hint = f"; did you mean {' or '.join(hints)}?" if hints else ""
        raise UsageError(f"{override.input_line}: {group} is one of {', '.join(choices)}{hint}")


def _check_key(override: Override, known: dict[str, Any], catalogue: Catalogue) -> None:
    key, line = _group(override), override.input_line
    value = _at(known, key)
    free = catalogue.is_free(key)
    if override.is_delete():
        if value is _ABSENT or not catalogue.is_free(key.rpartition(".")[0]):
            raise UsageError(f"{line}: keys cannot be removed; give {key.lstrip('~')}=VALUE")
    elif free:
        if key in catalogue.free and not isinstance(override.value(), dict):
            hint = f" or '{key}s=[{override.value()}]'" if _at(known, f"{key}s") is not _ABSENT else ""
            raise UsageError(f"{line}: {key} is a section; give {key}.KEY=VALUE{hint}")
    elif value is _ABSENT:
        raise UsageError(f"{line}: unknown key{_suggestion(key, known, catalogue)}")
    elif isinstance(value, dict):
        given = override.value()
        if not isinstance(given, dict):
            keys = ", ".join(f"{key}.{inner}" for inner in value)
            raise UsageError(f"{line}: {key} is a section; its keys are {keys}")
        for leaf in leaves(given, key):
            if _at(known, leaf) is _ABSENT and not catalogue.is_free(leaf):
                raise UsageError(f"{line}: unknown key {leaf}{_suggestion(leaf, known, catalogue)}")


def _suggestion(key: str, known: dict[str, Any], catalogue: Catalogue) -> str:
    """The nearest key that is valid, and which choice brings it where that is not made."""
    others: dict[str, str] = {}
    for (group, choice), names in catalogue.options.items():
        others |= {name: f"{others[name]} or {choice}" if name in others else f"{group}={choice}" for name in names}
    near = near_key(key, [*leaves(known), *catalogue.groups], others)
    if near is None:
        command = catalogue.command_of(key)
        return f"; it is a key of worldmodel.{command}" if command else "; --help lists them"
    place = f" with {others[near]}" if _at(known, near) is _ABSENT and near in others else ""
    return f"; did you mean {near}{place}?"


_ABSENT = object()


def _at(values: Any, key: str) -> Any:
    """The value at a dotted key, or _ABSENT."""
    for part in key.split("."):
        if isinstance(values, dict) and part in values:
            values = values[part]
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return _ABSENT
    return values


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of everything in nested dicts that is not itself a dict with keys."""
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict) and value:
            yield from leaves(value, name)
        else:
            yield name


def _first(error: Exception) -> str:
    """The line of an exception's message that says most."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next(
        (line for line in lines if line and not line.startswith(("Error parsing", "See http"))), type(error).__name__
    )
