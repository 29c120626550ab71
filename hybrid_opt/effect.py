"""Options that would change nothing, which are refused."""

from dataclasses import MISSING, Field, fields
from typing import Any

from hybrid_opt.errors import ProblemError


def refuse_idle(config: Any, options: str, idle: bool, where: str, path: str = "") -> None:
    """Raise ProblemError for an option that has another value than its default where it changes nothing.

    config: a dataclass. options: names, separated by blanks; those that the config lacks are left out. idle: whether
    they change nothing here. where: the setting in which they do. path: of the options, with a dot; the
    validator of a config leaves it out, since whoever makes the config knows it. Defaults pass: stored runs hold them.
    """
    for field in fields(config) if idle else ():
        value = getattr(config, field.name)
        if field.name in options.split() and value != _default(field):
            raise ProblemError(
                f"{path}{field.name}={value!r}: has an effect with {where} only; choose that, or leave {field.name} out"
            )


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
