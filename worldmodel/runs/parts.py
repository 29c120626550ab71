"""The keys of commands, and the options of parts that a group chooses, as their config dataclasses declare them."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, get_args

from hybrid_opt.parts import config_of

NAMES = {
    "solver": "name",
    "replay": "selector",
    "optimizer": "name",
    "noise": "name",
}  # group -> the key that names the part
REQUIRED = "???"  # the default of an option that must be given, as YAML has it


@dataclass(frozen=True)
class Option:
    """A field of a config dataclass: its default as YAML has it and its sentence."""

    default: Any
    sentence: str
    section: bool


def command_config(name: str) -> Any:
    """The config dataclass of a command: `NameConfig` of worldmodel/NAME/config.py; a name may have parts, a/b."""
    parts = name.split("/")
    return getattr(import_module(".".join(["worldmodel", *parts, "config"])), "".join(map(str.title, parts)) + "Config")


def part_config(group: str, name: Any, command: str = "train") -> Any:
    """The config dataclass of a part, None where the group has no such part."""
    if group == "solver":
        from hybrid_opt.solvers import SOLVERS

        return config_of(SOLVERS.find(name, group)) if name in SOLVERS else None
    if group == "noise":
        from hybrid_opt.backends.noise import NOISES

        return config_of(NOISES.find(name, group)) if name in NOISES else None
    if group == "replay":
        from quantum_sampler.registry import MIXTURE, SELECTORS, selector_classes
        from quantum_sampler.selectors.mixture import MixtureConfig

        return MixtureConfig if name == MIXTURE else selector_classes(name)[1] if name in SELECTORS else None
    section = command_config(command).__pydantic_fields__.get(group)
    kinds = [kind for kind in get_args(section.annotation) if is_dataclass(kind)] if section else []
    return next((kind for kind in kinds if name in get_args(_field(kind, "name").annotation)), None)


def options(schema: type[Any], given: Any = None) -> dict[str, Option]:
    """The options of a config dataclass by name, in their order; those of a section come behind it.

    given: an instance, whose values stand in the place of the defaults.
    """
    found: dict[str, Option] = {}
    for field in fields(schema):
        declared = _field(schema, field.name)
        if not declared.exclude:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            default = default if given is None else getattr(given, field.name)
            made = is_dataclass(default) and not isinstance(default, type)
            kind = type(default) if made else declared.annotation
            inner = options(kind, default if made else None) if is_dataclass(kind) else {}
            value = top(inner) if inner else REQUIRED if default is MISSING else _plain(default)
            found[field.name] = Option(value, _sentence(schema, field.name), bool(inner))
            found |= {f"{field.name}.{name}": option for name, option in inner.items()}
    return found


def defaults(schema: type[Any]) -> dict[str, Any]:
    """The defaults of a config dataclass, without those of options that must be given."""
    return {name: value for name, value in top(options(schema)).items() if value != REQUIRED}


def top(found: Mapping[str, Option]) -> dict[str, Any]:
    """The defaults of options, those of sections nested."""
    return {name: option.default for name, option in found.items() if "." not in name}


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a run with the defaults of its parts, some of which earlier versions did not write."""
    made = {key: completed(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for group, key in NAMES.items():
        section = made.get(group)
        name = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(name, str) and (schema := part_config(group, name)):
            made[group] |= {key: value for key, value in defaults(schema).items() if key not in made[group]}
    return made


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _field(schema: Any, name: str) -> Any:
    return schema.__pydantic_fields__[name]


def _sentence(schema: type[Any], name: str) -> str:
    """What stands under the field, in the class that declared it last."""
    declared = [_field(kind, name) for kind in schema.__mro__ if name in vars(kind).get("__pydantic_fields__", {})]
    return next((" ".join(each.description.split()) for each in declared if each.description), "")
