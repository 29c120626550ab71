"""The figures of the architecture, read from the code: imports, files that a part touches, defaults, lines.

    python benchmarks/architecture.py [OLD NEW [--pairs 5]] [--files] [--json PATH]

Without arguments this checkout is measured. With two checkouts both are, a column each, and default runs are trained in
turn: their time of an update, and whether the metrics of deterministic runs are equal to the bit but for `time/`.
--files names the files that a part touches.
"""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import yaml
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).parents[1]
PACKAGES = ("hybrid_opt", "quantum_sampler", "worldmodel", "envs")
ORDER = (("hybrid_opt",), ("quantum_sampler", "worldmodel.envs", "envs"), ("worldmodel.model",), ("worldmodel",))
PARTS = {  # parts whose names are no words of other things, and the folder of their presets
    "solver": (("annealing", "grover", "path_integral", "qaoa", "vqe"), "solver"),
    "selector": (("annealed", "boltzmann", "curious", "markov", "prioritized", "recall"), "replay"),
    "cell": (("gru",), "model"),
    "backend": (("aer", "dwave", "fake_ibm", "ibm", "lightning", "pennylane"), "backend"),
    "control": (("frozen", "product", "shuffled"), "arm"),
}
GROUPS = ("optimizer", "replay", "sampler", "solver")  # whose presets are of parts with options
ARMS = ("replay=uniform", "replay=annealed", "optimizer=hybrid")
DEFAULT = ("env=cartpole", "device=cpu", "threads=1")
SHORT = (
    *("steps=400", "prefill=100", "train_ratio=16", "batch_size=8", "log.every=50", "deterministic=true"),
    *("eval.every=200", "eval.episodes=1", "eval.final_episodes=1"),
)
TIMED = ("steps=2000", "prefill=1000", "log.every=100", "eval.every=0", "eval.final_episodes=0")


class Import(NamedTuple):
    """An import of one of our modules by another: on top, within a function, or under TYPE_CHECKING."""

    importer: str
    imported: str
    kind: str
    line: int


def modules(root: Path) -> dict[str, Path]:
    """The modules of all packages, by the names that they are imported by."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            moved = package == "envs" and (root / "worldmodel" / "envs").exists()
            found.setdefault(f"worldmodel.{name}" if moved else name, path)
    return found


def imports(root: Path) -> list[Import]:
    """All imports between modules of the packages; `from package import module` is one of the module."""
    known = modules(root)
    found = []
    for name, path in known.items():
        for node, kind in _statements(ast.parse(path.read_text(encoding="utf-8")), "top"):
            for target in _targets(node):
                while target and target not in known:
                    target = target.rpartition(".")[0]
                if target and target != name:
                    found.append(Import(name, target, kind, node.lineno))
    return found


def _statements(node: ast.AST, kind: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, kind
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _statements(ast.Module(child.body, []), "typing")
            yield from _statements(ast.Module(child.orelse, []), kind)
        else:
            within = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and kind == "top"
            yield from _statements(child, "function" if within else kind)


def _targets(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if node.level:
        raise ValueError(f"line {node.lineno}: a relative import; absolute ones are read")
    return [f"{node.module}.{alias.name}" for alias in node.names]


def circles(arrows: Iterable[tuple[str, str]]) -> set[frozenset[str]]:
    """The sets of names each of which leads to all others."""
    pairs = list(arrows)
    names = sorted({name for pair in pairs for name in pair})
    place = {name: number for number, name in enumerate(names)}
    ends = np.array([[place[one], place[other]] for one, other in pairs], np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(names),) * 2)
    count, label = connected_components(graph, directed=True, connection="strong")
    groups = (frozenset(name for name, own in zip(names, label, strict=True) if own == each) for each in range(count))
    return {group for group in groups if len(group) > 1}


def room_arrows(found: Iterable[Import], known: Mapping[str, Path]) -> set[tuple[str, str]]:
    """The imports between rooms, of which none lies within the other. A room is a folder."""

    def room(name: str) -> str:
        return name if known[name].name == "__init__.py" else name.rpartition(".")[0]

    pairs = {(room(each.importer), room(each.imported)) for each in found}
    return {(one, other) for one, other in pairs if not _within(one, other) and not _within(other, one)}


def _within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def upwards(found: Iterable[Import], floors: Sequence[Collection[str]]) -> list[Import]:
    """The imports from a floor into a higher one, or into another part of the same; floors: prefixes, lowest first."""
    height = {prefix: number for number, prefixes in enumerate(floors) for prefix in prefixes}

    def part(name: str) -> str:
        return max((prefix for prefix in height if _within(name, prefix)), key=len)

    pairs = ((each, part(each.importer), part(each.imported)) for each in found)
    return [each for each, one, other in pairs if one != other and height[other] >= height[one]]


def twice(root: Path) -> int:
    """Values in presets of parts that repeat the default of a field or argument of the same name in the code."""
    defaults: set[tuple[str, str]] = set()
    for path in modules(root).values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and each.value is not None]
                defaults |= {(ast.unparse(each.target), repr(_literal(each.value))) for each in fields}
            elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
                arguments = [*node.args.posonlyargs, *node.args.args]
                pairs = [
                    *zip(reversed(arguments), reversed(node.args.defaults), strict=False),
                    *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
                ]
                defaults |= {(one.arg, repr(_literal(value))) for one, value in pairs if value is not None}
    presets = (path for group in GROUPS for path in (root / "configs" / group).glob("*.yaml"))
    leaves = (leaf for path in presets for leaf in _leaves(yaml.safe_load(path.read_text(encoding="utf-8"))))
    return sum((key, repr(value)) in defaults for key, value in leaves)


def _literal(node: ast.AST | None) -> Any:
    """A literal, or the default that a `field(default=...)` has; else the node, which is equal to nothing."""
    if isinstance(node, ast.Call):
        node = next((each.value for each in node.keywords if each.arg == "default"), node)
    try:
        return ast.literal_eval(node)  # type: ignore[arg-type]
    except ValueError:
        return node


def _leaves(values: Any) -> Iterator[tuple[str, Any]]:
    for key, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            yield from _leaves(value)
        elif key != "defaults":
            yield key, value


def touched(root: Path, name: str, presets: str) -> list[str]:
    """The files that adding a part of this name touches: its own, its preset, its test, and all that name it.

    Product code names it by a string, an import or an identifier; presets by a value. A test counts by its name.
    """
    files = {path for path in modules(root).values() if name in path.stem or _names(path, name)}
    word = re.compile(rf"\b{name}\b")
    files |= {p for p in (root / "configs").rglob("*.yaml") if p.parent.name == presets and p.stem.endswith(name)}
    files |= {p for p in (root / "configs").glob("*.yaml") if word.search(p.read_text(encoding="utf-8"))}
    files |= {p for p in (root / "tests").rglob("test_*.py") if name in p.stem}
    return sorted(str(path.relative_to(root)) for path in files)


def parts(root: Path, kind: str) -> dict[str, list[str]]:
    """The parts of a kind, and the files that each touches. Defaults and examples name some where none needs to."""
    names, presets = PARTS[kind]
    return {name: touched(root, name, presets) for name in names}


def _names(path: Path, name: str) -> bool:
    return any(
        (isinstance(node, ast.Constant) and node.value == name)
        or (isinstance(node, ast.alias) and name in (node.name, node.asname))
        or (isinstance(node, ast.ImportFrom) and f".{node.module}".endswith(f".{name}"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def lines(root: Path) -> int:
    """Lines of the product's Python, benchmarks included."""
    files = (path for folder in (*PACKAGES, "benchmarks") for path in (root / folder).rglob("*.py"))
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def figures(root: Path) -> dict[str, Any]:
    """The figures of a checkout."""
    found, known = imports(root), modules(root)
    return {
        "Python files directly in worldmodel/": len(list((root / "worldmodel").glob("*.py"))),
        "import circles of modules": len(circles((each.importer, each.imported) for each in found)),
        "import circles of rooms": len(circles(room_arrows(found, known))),
        "imports upwards": len(upwards(found, ORDER)),
        **{f"files of a {kind}, fewest": min(map(len, parts(root, kind).values())) for kind in PARTS},
        "defaults written twice": twice(root),
        "product lines, benchmarks included": lines(root),
    }


def _trained(root: Path, folder: Path, words: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of metrics of a run by a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "worldmodel.train", *DEFAULT, *words, f"logdir={folder}"]
    subprocess.run(program, cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def update_ratio(roots: Sequence[Path], pairs: int, folder: Path) -> float:
    """The time of an update of the new checkout over that of the old, medians of runs that take turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs + 1):
        for side in (0, 1) if pair % 2 else (1, 0):
            rows = _trained(roots[side], folder / f"timed-{pair}-{side}", TIMED)
            rates = [row["time/updates_per_second"] for row in rows if row.get("time/updates_per_second")]
            if pair:  # the first of each compiles
                seconds[side].append(1 / median(rates))
    return median(seconds[1]) / median(seconds[0])


def equal(roots: Sequence[Path], arm: str, folder: Path) -> bool:
    """Whether both checkouts write the same metrics in a deterministic run, but for `time/`."""
    both = (
        _trained(root, folder / f"equal-{ARMS.index(arm)}-{side}", [*SHORT, arm]) for side, root in enumerate(roots)
    )
    old, new = (
        json.dumps([{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]) for rows in both
    )
    return old == new


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="*", metavar="OLD NEW")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each checkout that are timed")
    parser.add_argument("--files", action="store_true", help="name the files that a part touches")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    if len(arguments.checkouts) not in (0, 2):
        parser.error("no checkout or two are accepted")
    roots = [path.resolve() for path in arguments.checkouts] or [ROOT]
    table = {str(root): figures(root) for root in roots}
    for row in next(iter(table.values())):
        print(f"{row:44}", *(f"{values[row]:>10,}" for values in table.values()), flush=True)
    if arguments.files:
        for root in roots:
            for kind in PARTS:
                for name, files in parts(root, kind).items():
                    print(f"\n{kind} {name}, {root}:", *files, sep="\n  ")
    result: dict[str, Any] = {"figures": table}
    if len(roots) == 2:
        with tempfile.TemporaryDirectory() as folder:
            for arm in ARMS:
                result[arm] = equal(roots, arm, Path(folder))
                print(f"{f'metrics of {arm}':44} {'equal' if result[arm] else 'DIFFERENT':>21}", flush=True)
            result["update"] = update_ratio(roots, arguments.pairs, Path(folder))
            print(f"{'time of an update, new / old':44} {result['update']:>21.3f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
