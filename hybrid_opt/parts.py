"""Parts by name: solvers, selectors, cells and all else that one word of a command line chooses.

A part is a file. `PACKAGE/NAME.py`, or the same one folder deeper, defines its class. Where parts have options, the
class says `Config = NameConfig`, or takes `config: NameConfig`, a pydantic dataclass. Other modules are no names, and
neither are those of a folder `base`. `module:Class` is a part of the user's own.
"""

import ast
import os
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hybrid_opt.errors import ProblemError


class Parts(Mapping[str, tuple[str, str]]):
    """The parts of one kind, as a mapping: name -> module and class. Listing them imports none of their modules."""

    def __init__(
        self,
        kind: str,
        package: str,
        contract: str,
        *,
        options: bool = True,
        says: str = "Config",
        error: type[Exception] = ProblemError,
    ) -> None:
        """Describe a kind of parts.

        Args:
            kind: its name in errors.
            package: where the parts are; `contract` is the base class of those without options.
            options: whether parts have a config.
            says: the attribute by which the class of a part with options is known.
            error: raised for names and options that are not accepted.
        """
        self.kind, self._package, self._contract, self._options, self._error = kind, package, contract, options, error
        self._says = says
        # Of a name and the package's folders: a check of a configuration asks for the same ones many times.
        self._found: dict[tuple[str, ...], tuple[str, str]] = {}

    def __getitem__(self, name: str) -> tuple[str, str]:
        key = name, *import_module(self._package).__path__
        if key not in self._found:
            for path, module in self._files(name) if name.isidentifier() else ():
                if kind := self._part_in(path):
                    self._found[key] = module, kind
                    break
            else:
                raise KeyError(name)
        return self._found[key]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({path.stem for path, _ in self._files("*") if self._part_in(path)}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def find(self, name: Any, key: str, beside: Iterable[str] = ()) -> Any:
        """Return the class of a name. Raise one line, which says `key`, where there is none.

        beside: names that are accepted, too, and not found here.
        """
        if isinstance(name, str) and ":" in name:
            return self._of_user(name, key)
        if not isinstance(name, str) or name not in self:
            raise self._error(f"{key}={name}: no such {self.kind}{accepted(str(name), (*beside, *self))}")
        module, kind = self[name]
        return getattr(import_module(module), kind)

    def configured(self, name: Any, key: str, options: Mapping[str, Any], path: str | None = None) -> tuple[Any, Any]:
        """Return the class of a name and its config, whose options errors call `path`.KEY (default: `key`)."""
        kind = self.find(name, key)
        return kind, checked(config_of(kind), options, path or key, f"of {name}", self._error)

    def _files(self, name: str) -> Iterator[tuple[Path, str]]:
        """The files that may be a part of this name, and their modules."""
        for root in map(Path, import_module(self._package).__path__):
            for path in (*root.glob(f"{name}.py"), *root.glob(f"*/{name}.py")):
                *folder, _ = path.relative_to(root).parts
                if folder != ["base"] and not path.stem.startswith("_"):
                    yield path, ".".join([self._package, *folder, path.stem])

    def _part_in(self, path: Path) -> str | None:
        return _part_in(path, None if self._options else self._contract, self._says)

    def _of_user(self, name: str, key: str) -> Any:
        module, _, wanted = name.partition(":")
        if os.getcwd() not in sys.path and "" not in sys.path:
            sys.path.append(os.getcwd())  # a user's module lies beside the run, also where a script was started
        try:
            kind = getattr(import_module(module), wanted)
        except (Exception, SystemExit) as error:
            reason = " ".join(str(error).split())
            raise self._error(f"{key}={name}: cannot be imported ({type(error).__name__}: {reason})") from error
        bases = [base.__name__ for base in getattr(kind, "__mro__", ())]
        if not (self._contract in bases or (self._options and bases and config_of(kind) is not None)):
            raise self._error(f"{key}={name}: is no {self.kind}; a class of {self._contract} is accepted")
        return kind


@cache
def _part_in(path: Path, contract: str | None, says: str) -> str | None:
    """The last public class of a file that has a config or, where a contract is named, inherits from it.

    A base that parts share counts as the contract where its name ends with the contract's, as in GateCell.
    """
    found = None
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            bases = [ast.unparse(base) for base in node.bases]
            if any(base.endswith(contract) for base in bases) if contract else _says(node, says):
                found = node.name
    return found


def _says(node: ast.ClassDef, name: str) -> bool:
    """Whether a class says `NAME = ...`, or takes `config: NameConfig`."""
    for part in node.body:
        given = part.targets if isinstance(part, ast.Assign) else [part.target] if _is_given(part) else []
        targets = [each for target in given for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return True
        if isinstance(part, ast.FunctionDef) and part.name == "__init__" and len(part.args.args) > 1:
            first = part.args.args[1]
            return first.arg == "config" and first.annotation is not None and "Config" in ast.unparse(first.annotation)
    return False


def _is_given(node: ast.AST) -> typing.TypeGuard[ast.AnnAssign]:
    return isinstance(node, ast.AnnAssign) and node.value is not None


def config_of(kind: Any) -> Any:
    """The config dataclass of a part's class, None where it has none."""
    return getattr(kind, "Config", None) or typing.get_type_hints(kind.__init__).get("config")


def checked(
    config: Any, options: Mapping[str, Any], path: str, owner: str, error: type[Exception] = ProblemError
) -> Any:
    """Return options as a config. Raise one line, `path.KEY...`, for a name or a value that is not accepted."""
    known = [field.name for field in fields(config)]
    for key in options:
        if key not in known:
            raise error(f"{path}.{key}: no such option {owner}{accepted(str(key), known)}")
    try:
        return config(**options)
    except ValidationError as invalid:
        raise error(f"{path}.{complaint(invalid, owner)}") from invalid


def complaint(error: ValidationError, owner: str = "") -> str:
    """What is wrong with the first option that is: `KEY=VALUE: what is accepted`."""
    first = error.errors()[0]
    if not first["loc"]:  # of several options together; the message begins with one of them
        return str(first.get("ctx", {}).get("error", first["msg"]))
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{key} is missing: it is a required option {owner}".rstrip()
    return f"{key}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"


def accepted(name: str, known: Iterable[str]) -> str:
    """The rest of an error line: the nearest name that is known, and all of them."""
    names = list(known)
    if not names:
        return "; it has none"
    close = get_close_matches(name, names, 1)
    return (f"; did you mean {close[0]}?" if close else "") + f" (accepted: {', '.join(names)})"


def nearest(name: str, known: Iterable[str]) -> str:
    """The rest of an error line: the nearest name that is known, or some of them."""
    names = sorted(known)
    close = get_close_matches(name, names, 1)
    if close:
        return f"; did you mean {close[0]}?"
    more = ", ..." if len(names) > 12 else ""
    return f"; {', '.join(names[:12])}{more} are accepted" if names else ""
