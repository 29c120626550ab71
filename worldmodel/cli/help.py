"""The page that `--help` prints: groups with their choices, keys with their defaults, a sentence each."""

import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from worldmodel.cli.compose import Composition
from worldmodel.cli.schema import Catalogue, shown

_COLUMN = 34


def help_page(name: str, catalogue: Catalogue, composition: Composition) -> str:
    """The page, for the terminal's width."""
    return "\n".join(_Page(catalogue, composition).lines(name)) + "\n"


class _Page:
    def __init__(self, catalogue: Catalogue, composition: Composition) -> None:
        self._catalogue, self._choices, self._values = catalogue, composition.choices, composition.open

    def lines(self, name: str) -> Iterator[str]:
        catalogue = self._catalogue
        groups = "[group=choice] " if catalogue.groups else ""
        yield f"python -m worldmodel.{name.replace('/', ' ')} {groups}[key=value] ..."
        if catalogue.title:
            yield catalogue.title
        if catalogue.groups:
            yield "\nGroups, with what each may be"
        for group, sentence in catalogue.groups.items():
            yield from _row(f"{group}={self._choices[group]}", sentence, ", ".join(catalogue.choices[group]))
        yield "\nKeys, with their values now"
        yield from self._keys(self._values, "")
        for (group, choice), entries in catalogue.options.items():
            others = [key for key, entry in entries.items() if not entry.section and not self._has(key)]
            if others:
                yield f"\nWith {group}={choice}"
            for key in others:
                yield from _row(f"{key}={entries[key].default}", entries[key].comment)
        yield "\nOptions"
        yield from _row("--help", "this page, with the values that the other words give")
        yield from _row("--cfg", "print the composed configuration as YAML")
        yield from _row("--version", "print the version")
        yield from _row(
            "@FILE", "the keys and values of a YAML file, as words: the best.yaml of a search, or a run's config.yaml"
        )
        yield from _row("'key=[a,b]'", "quotes keep the shell away from brackets, braces, ~, ? and *")

    def _keys(self, values: dict[str, Any], prefix: str) -> Iterator[str]:
        sections: list[str] = []
        for last, value in values.items():
            key = f"{prefix}{last}"
            if isinstance(value, dict) and value and self._catalogue.is_section(key, self._choices):
                sections.append(last)
            else:
                yield from _row(f"{key}={shown(value)}", self._catalogue.comment(key, self._choices))
        for last in sections:
            comment = self._catalogue.comment(f"{prefix}{last}", self._choices)
            yield f"\n{prefix}{last}: {comment}" if comment else f"\n{prefix}{last}"
            yield from self._keys(values[last], f"{prefix}{last}.")

    def _has(self, key: str) -> bool:
        values: Any = self._values
        for part in key.split("."):
            if not isinstance(values, dict) or part not in values:
                return self._catalogue.is_free(key)
            values = values[part]
        return True


def _row(left: str, *sentences: str) -> Iterator[str]:
    """A key and what is said of it, in two columns."""
    width = max(72, min(shutil.get_terminal_size((120, 24)).columns, 160))
    lines = [line for sentence in sentences if sentence for line in textwrap.wrap(sentence, width - _COLUMN)]
    left = f"  {left}"
    if len(left) >= _COLUMN and lines:
        yield left
        left = ""
    yield f"{left:<{_COLUMN}}{lines[0]}" if lines else left
    yield from (" " * _COLUMN + line for line in lines[1:])
