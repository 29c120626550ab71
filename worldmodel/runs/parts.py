"""The options of parts that a group chooses, as their config dataclasses declare them."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any

from hybrid_opt.parts import config_of

NAMES = {"solver": "name", "replay": "selector", "optimizer": "name"}  # group -> the key that names the part
OPTIMIZERS = {"laprop": "LaPropConfig", "hybrid": "HybridConfig"}
REQUIRED: Any = MISSING  # the default of an option that must be given


@dataclass(frozen=True)
class Option:
    """A field of a config dataclass: its default as YAML has it, or REQUIRED, and its sentence."""

    default: Any
    sentence: str
    section: bool


def part_config(group: str, name: Any) -> Any:
    """The config dataclass of a part, None where the group has no such part."""
    if group == "solver":
        from hybrid_opt.solvers import SOLVERS

        return config_of(SOLVERS.find(name, group)) if name in SOLVERS else None
    if group == "replay":
        from quantum_sampler.registry import MIXTURE, SELECTORS, selector_classes
        from quantum_sampler.selectors.mixture import MixtureConfig

        return MixtureConfig if name == MIXTURE else selector_classes(name)[1] if name in SELECTORS else None
    if group == "optimizer" and name in OPTIMIZERS:
        return getattr(import_module("worldmodel.train.optimizers"), OPTIMIZERS[name])
    return None


def options(schema: type[Any], given: Any = None) -> dict[str, Option]:
    """The options of a config dataclass by name, in their order; those of a section come behind it.

    given: an instance, whose values stand in the place of the defaults.
    """
    declared: Any = schema
    found: dict[str, Option] = {}
    for field in fields(schema):
        if not declared.__pydantic_fields__[field.name].exclude:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            default = default if given is None else getattr(given, field.name)
            section = is_dataclass(default) and not isinstance(default, type)
            found[field.name] = Option(_plain(default), _sentence(schema, field.name), section)
            inner = options(type(default), default) if section else {}
            found |= {f"{field.name}.{name}": option for name, option in inner.items()}
    return found


def defaults(schema: type[Any]) -> dict[str, Any]:
    """The defaults of a config dataclass, without those of options that must be given."""
    return {
        name: option.default
        for name, option in options(schema).items()
        if option.default is not REQUIRED and "." not in name
    }


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a run with the defaults of its parts, some of which earlier versions did not write."""
    made = {key: completed(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for group, key in NAMES.items():
        section = made.get(group)
        name = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(name, str) and (schema := part_config(group, name)):
            made[group] = {key: name, **defaults(schema), **section}
    return made


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _sentence(schema: type[Any], name: str) -> str:
    """What stands under the field, in the class that declared it last."""
    return next((" ".join(text.split()) for text in _descriptions(schema, name) if text), "")


def _descriptions(schema: type[Any], name: str) -> Iterator[str | None]:
    for kind in schema.__mro__:
        if name in vars(kind).get("__pydantic_fields__", {}):
            yield vars(kind)["__pydantic_fields__"][name].description
