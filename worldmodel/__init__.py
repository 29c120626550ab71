"""World-model reinforcement learning; quantum solvers are a choice, never a fork."""

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


class _Siblings(importlib.abc.MetaPathFinder):
    """Finds the packages that ship with this one, and no others, in the folder of this one.

    `python -m` puts the current folder first on the path, where a user may well keep an `envs` package of his own.
    """

    names = frozenset({"envs", "hybrid_opt", "quantum_sampler"})
    root = Path(__file__).parent.parent

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, [str(self.root)]) if fullname in self.names else None

    def refuse_strangers(self) -> None:
        """Raise ImportError when a package of one of the names was imported from elsewhere before this one."""
        for name in sorted(self.names & sys.modules.keys()):
            file = sys.modules[name].__file__
            if file is None or self.root not in Path(file).parents:
                raise ImportError(f"another package {name} is imported already ({file}); import worldmodel before it")


_siblings = _Siblings()
_siblings.refuse_strangers()
sys.meta_path.insert(0, _siblings)


def __getattr__(name: str) -> Any:
    if name == "load":  # imports torch: only when asked for
        from worldmodel.evaluate.policy import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
