"""What imports what: no circle between modules or between rooms, and no import upwards."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from benchmarks.architecture import ROOT, circles, imports, modules, room_arrows, upwards

# The floors of the house, lowest first: a module imports from its own part and from lower floors. Parts of one floor do
# not know each other. `worldmodel` itself, whose `load` is on top of everything, is imported by users alone.
FLOORS = (
    ("hybrid_opt",),
    ("quantum_sampler", "worldmodel.envs"),
    ("worldmodel.runs",),
    ("worldmodel.cli",),
    ("worldmodel.launch",),
    ("worldmodel.model",),
    ("worldmodel.kernels",),
    ("worldmodel.replay",),
    ("worldmodel.train",),
    ("worldmodel.baseline", "worldmodel.search", "worldmodel.compare.tasks"),
    ("worldmodel.compare",),
    ("worldmodel.evaluate", "worldmodel.fit", "worldmodel.hpo"),
    ("worldmodel.tune", "worldmodel.explain", "worldmodel.probe"),
    ("worldmodel",),
)


def test_modules_import_in_no_circle() -> None:
    """Imports of all kinds: within functions and under TYPE_CHECKING too."""
    assert circles((each.importer, each.imported) for each in imports(ROOT)) == set()


def test_rooms_import_in_no_circle() -> None:
    """A room is a folder; one and those within it are none."""
    assert circles(room_arrows(imports(ROOT), modules(ROOT))) == set()


@pytest.mark.slow
def test_imports_go_down() -> None:
    parts = {part for floor in FLOORS for part in floor}
    rooms = {".".join(name.split(".")[:2]) for name in modules(ROOT) if name.startswith("worldmodel.")}
    assert rooms - {"worldmodel.__main__"} <= parts, "a new room: write its floor down above"
    assert upwards(imports(ROOT), FLOORS) == []


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Two rooms, each of which imports the other, in each of the three ways."""
    files = {
        "hybrid_opt/__init__.py": "",
        "hybrid_opt/low/__init__.py": "import numpy\n",
        "hybrid_opt/low/one.py": "from hybrid_opt.low.two import name\n",
        "hybrid_opt/low/two.py": "def load():\n    if True:\n        from hybrid_opt.low import one\n",
        "hybrid_opt/high/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import worldmodel.a\n",
        "worldmodel/a.py": "import hybrid_opt.high\nfrom hybrid_opt import low\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_imports_of_all_kinds_are_read(house: Path) -> None:
    found = imports(house)
    assert {tuple(each) for each in found} == {
        ("hybrid_opt.low.one", "hybrid_opt.low.two", "top", 1),
        ("hybrid_opt.low.two", "hybrid_opt.low.one", "function", 3),
        ("hybrid_opt.high", "worldmodel.a", "typing", 3),
        ("worldmodel.a", "hybrid_opt.high", "top", 1),
        ("worldmodel.a", "hybrid_opt.low", "top", 2),
    }
    assert circles((each.importer, each.imported) for each in found) == sets(
        ["hybrid_opt.low.one", "hybrid_opt.low.two"], ["hybrid_opt.high", "worldmodel.a"]
    )
    assert circles(room_arrows(found, modules(house))) == sets(["hybrid_opt.high", "worldmodel"])
    assert [each.line for each in upwards(found, [["hybrid_opt"], ["worldmodel"]])] == [3]
    assert [each.kind for each in upwards(found, [["worldmodel"], ["hybrid_opt"]])] == ["top", "top"]


def sets(*groups: Iterable[str]) -> set[frozenset[str]]:
    return set(map(frozenset, groups))
