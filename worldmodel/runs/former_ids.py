"""Ids of environments under the names that earlier versions wrote."""

import os
import re
import sys
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

_FORMER = re.compile(r"(?<![\w.])envs\.diagnostic:")


def with_current_ids(values: Any) -> Any:
    """Return stored values whose `envs.diagnostic:NAME` are `worldmodel.envs.diagnostic:NAME`.

    They stay where the user has a module envs.diagnostic, which is looked for and not imported.
    """
    if isinstance(values, dict):
        return {key: with_current_ids(value) for key, value in values.items()}
    if isinstance(values, list):
        return [with_current_ids(value) for value in values]
    if isinstance(values, str) and _FORMER.search(values) and not _is_users(os.getcwd(), *sys.path):
        return _FORMER.sub("worldmodel.envs.diagnostic:", values)
    return values


@cache
def _is_users(*places: str) -> bool:
    """Whether a module envs.diagnostic that is not of a checkout of ours would be imported from these places."""
    package = PathFinder.find_spec("envs", list(places))
    folders = map(Path, package.submodule_search_locations or () if package else ())
    theirs = [str(folder) for folder in folders if not (folder.parent / "worldmodel" / "__init__.py").exists()]
    return PathFinder.find_spec("envs.diagnostic", theirs) is not None
