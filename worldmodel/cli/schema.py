"""The catalogue of a command: its groups and their choices, its keys and their sentences.

Keys, defaults and sentences are those of the config dataclasses, of the command and of the parts that its groups
choose. What YAML says counts more. Folders of other configs have no dataclasses: there, YAML says everything.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from worldmodel.runs.parts import NAMES, Option, command_config, options, part_config, top
from worldmodel.runs.yaml import LOADER

COMMANDS = (
    *("train", "evaluate", "search", "compare", "tune", "baseline", "fit", "hpo", "explain"),
    *("probe/circuit", "probe/termination"),
)
_UNDECLARED = Option(None, "", section=False)
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)")


@dataclass(frozen=True)
class Entry:
    """A key as a YAML file writes it: its default as text (empty for a section) and the comment behind it."""

    key: str
    default: str
    comment: str
    section: bool


@dataclass(frozen=True)
class _File:
    """A YAML file: the sentence above it, its package header, its defaults list and its keys."""

    title: str
    package: str | None
    defaults: tuple[Entry, ...]  # group -> choice; a plain file has an empty default
    entries: tuple[Entry, ...]


class Catalogue:
    """What a command accepts: read from `configs/NAME.yaml`, what that builds on, and the folders of its groups."""

    def __init__(self, configs: Path, name: str) -> None:
        self._configs, self._name = configs, name
        self._ours = configs.absolute() == configs_folder()
        self._declared: dict[str, Option] = options(command_config(name)) if self._ours else {}
        self.title = _read(configs / f"{name}.yaml").title
        self.groups: dict[str, str] = {}  # group -> sentence, in the order of the defaults list
        self._entries: dict[str, Entry] = {}
        self._collect(name, "")
        self._entries = {entry.key: entry for entry in _with_options([*self._entries.values()], self._declared)}

    def _collect(self, name: str, package: str) -> None:
        file = _read(self._configs / f"{name}.yaml")
        for entry in file.entries:
            self._entries.setdefault(_join(package, entry.key), entry)  # what it builds on comes later
        for default in file.defaults:
            key = default.key.removeprefix("optional ").lstrip("/")
            if default.default:
                if not key.startswith("override "):
                    self.groups.setdefault(key, default.comment)
            elif key != "_self_":
                other, _, inner = key.partition("@")
                self._collect(other, _join(package, inner))

    @cached_property
    def choices(self) -> dict[str, list[str]]:
        """The choices of each group, sorted, 2m before 12m."""
        folders = {group: group.partition("@")[0] for group in self.groups}
        choices: dict[str, list[str]] = {}
        for group, folder in folders.items():
            root = self._configs / folder
            names = [path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml")]
            nested = tuple(f"{other.removeprefix(folder + '/')}/" for other in folders.values() if other != folder)
            choices[group] = sorted((name for name in names if not name.startswith(nested)), key=_natural)
        return choices

    @cached_property
    def options(self) -> dict[tuple[str, str], dict[str, Entry]]:
        """The keys that each (group, choice) brings, by their full names."""
        return {
            (group, choice): {_join(package, entry.key): entry for entry in file.entries}
            for group, choices in self.choices.items()
            for choice in choices
            for file, package in [self._choice(group, choice)]
        }

    def _choice(self, group: str, choice: str) -> tuple[_File, str]:
        folder, _, place = group.partition("@")
        file = _read(self._configs / folder / f"{choice}.yaml")
        package = file.package or place or Path(folder, choice).parent.as_posix().replace("/", ".")
        if schema := self._part(group, file):
            title = (schema.__doc__ or "").partition("\n")[0]
            file = replace(file, entries=tuple(_with_options(file.entries, options(schema), title)))
        return file, "" if package == "_global_" else package

    def _part(self, group: str, file: "_File") -> type[Any] | None:
        """The config dataclass of the part that a preset chooses; folders of other configs have no such parts."""
        name = next((entry.default for entry in file.entries if entry.key == NAMES.get(group, "name")), None)
        return part_config(group, name, self._name) if self._ours else None

    def defaults(self, choices: Mapping[str, str]) -> dict[str, Any]:
        """The defaults of all keys, those of the chosen parts included."""
        values = top(self._declared)
        for group in self.groups.keys() & choices.keys() if self._ours else ():
            if schema := self._part(group, _read(self._configs / group / f"{choices[group]}.yaml")):
                own = values.get(group)
                values[group] = {**top(options(schema)), **(own if isinstance(own, dict) else {})}
        return values

    @cached_property
    def keys(self) -> frozenset[str]:
        """Every key, those of all choices included."""
        return frozenset(self._entries).union(*self.options.values())

    @cached_property
    def free(self) -> frozenset[str]:
        """The keys under which anything may be added: those whose default is written in braces, such as `{}`."""
        main = {key for key, entry in self._entries.items() if entry.default.startswith("{")}
        others = {
            key for options in self.options.values() for key, entry in options.items() if entry.default.startswith("{")
        }
        sections = {key[:dot] for key in self.keys for dot in range(len(key)) if key[dot] == "."}
        return frozenset(main | (others - sections))  # a preset may write a section in braces

    def comment(self, key: str, choices: Mapping[str, str]) -> str:
        """The sentence of a key: the command's, that of a choice, or that of any other; empty where there is none.

        A group that takes any keys, such as `space`, is one of keys of the command, and has their sentences.
        """
        chosen = (self.options.get(choice, {}) for choice in choices.items())
        files = [self._entries, *chosen, *self.options.values()]
        found = next((file[key].comment for file in files if key in file and file[key].comment), "")
        group, _, inner = key.partition(".")
        return self.comment(inner, choices) if not found and group in self.groups and self.is_free(group) else found

    def is_section(self, key: str, choices: Mapping[str, str]) -> bool:
        """Whether the key takes no other keys, or is what the choice of a group wrote that does."""
        group = key.partition(".")[0]
        entry = self.options.get((group, choices.get(group, "")), {}).get(key)
        own = group in self.groups and self.is_free(group)
        return not self.is_free(key) or (own and (key == group or (entry is not None and entry.section)))

    def command_of(self, key: str) -> str | None:
        """Another command that has this key or group."""
        for command in COMMANDS:
            if (self._configs / f"{command}.yaml").exists():
                other = Catalogue(self._configs, command)
                if key in other.groups or key in other._entries:
                    return command
        return None

    def is_free(self, key: str) -> bool:
        """Whether the key is, or lies under, a key that takes anything."""
        return any(key == free or key.startswith(f"{free}.") for free in self.free)


def _with_options(entries: Sequence[Entry], declared: Mapping[str, Option], title: str = "") -> Iterator[Entry]:
    """The entries of a file, with the sentences of the options, and the options that it leaves at their defaults.

    title: the sentence of an entry that has no other, such as the name of a part.
    """
    written = {entry.key: entry for entry in entries}
    for key in dict.fromkeys([*(key for key in written if key not in declared), *declared]):
        option = declared.get(key, _UNDECLARED)
        entry = written.get(key, Entry(key, "" if option.section else shown(option.default), "", option.section))
        yield replace(entry, comment=entry.comment or option.sentence or (title if key in written else ""))


def shown(value: Any) -> str:
    """A value as one would type it on the command line."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{shown(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(shown, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        short = f"{value:g}".replace("e+0", "e").replace("e-0", "e-")
        return short if float(short) == value else str(value)
    return str(value)


def configs_folder() -> Path:
    """The folder of the configs: within the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _read(path: Path) -> _File:
    text = path.read_text(encoding="utf-8-sig")
    lines = text.splitlines()
    head = [line for line in lines if line.strip()][:2]
    packages = [match[1] for match in map(_PACKAGE.match, head) if match]
    titles = [line.lstrip("# ") for line in head if line.startswith("#") and not _PACKAGE.match(line)]
    root = yaml.compose(text, Loader=LOADER)
    entries = tuple(_entries(root, lines, text, "")) if isinstance(root, yaml.MappingNode) else ()
    return _File(
        title=titles[0] if titles else "",
        package=packages[0] if packages else None,
        defaults=tuple(_defaults(root, lines)) if isinstance(root, yaml.MappingNode) else (),
        entries=tuple(entry for entry in entries if entry.key != "defaults"),
    )


def _defaults(root: yaml.MappingNode, lines: list[str]) -> Iterator[Entry]:
    for key, value in root.value:
        if key.value == "defaults":
            for item in value.value:
                if isinstance(item, yaml.MappingNode):
                    ((group, choice),) = item.value
                    yield Entry(group.value, choice.value, _comment(lines, choice.end_mark), section=False)
                else:
                    yield Entry(item.value, "", _comment(lines, item.end_mark), section=False)


def _entries(node: yaml.MappingNode, lines: list[str], text: str, prefix: str) -> Iterator[Entry]:
    for key, value in node.value:
        name = _join(prefix, str(key.value))
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield Entry(name, "", _comment(lines, key.end_mark), section=True)
            yield from _entries(value, lines, text, name)
        else:
            default = text[value.start_mark.index : value.end_mark.index]
            block = isinstance(value, yaml.SequenceNode) and not value.flow_style
            yield Entry(name, default, _comment(lines, key.end_mark if block else value.end_mark), section=False)


def _comment(lines: list[str], mark: yaml.Mark) -> str:
    """The comment behind a mark, with the lines below that continue it in the same column."""
    if mark.line >= len(lines):
        return ""
    match = re.search(r"(?:^|[\s:])#\s*(.*)$", lines[mark.line][mark.column :])
    if not match:
        return ""
    words, column = [match[1]], mark.column + match.start() + match[0].index("#")
    for line in lines[mark.line + 1 :]:
        if not line.lstrip().startswith("#") or line.index("#") != column:
            break
        words.append(line[column:].lstrip("# "))
    return " ".join(words).strip()


catalogue = cache(Catalogue)  # each reads every file of its groups
