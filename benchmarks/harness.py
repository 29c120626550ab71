"""The harness of all benchmarks: options, runs in turn, intervals, tables, and the figures as JSON."""

import argparse
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest


class Option(NamedTuple):
    """An option whose kind its default does not tell, or that accepts a few values only."""

    default: Any = None
    help: str | None = None
    kind: Any = None  # of the value, or of each of a list's; by default that of the default
    choices: Iterable[Any] | None = None
    nargs: str | int | None = None


def parse(
    doc: str | None,
    parts: Iterable[str] = (),
    default: Iterable[str] | None = None,
    *,
    label: str = "TABLE",
    others: bool = False,
    overrides: bool = False,
    **given: Any,
) -> argparse.Namespace:
    """Parse the command line, and print the machine.

    Args:
        parts: what the user may name (`arguments.parts`), and `default`, what is run otherwise: all, where it is None.
        others: whether there are more parts. overrides: whether `key=value` is accepted (`arguments.overrides`).
        given: options by name, each a default, (default, help) or an Option. A list takes several values, False is a
            flag. `--json` is added.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = list(parts)
    default = parts if default is None else list(default)
    if parts:
        chosen = "all" if default == parts else ", ".join(default)
        parser.add_argument("parts", nargs="*", metavar=label, help=f"{', '.join(parts)}; by default {chosen}")
    for name, value in given.items():
        option = value if isinstance(value, Option) else Option(*value) if isinstance(value, tuple) else Option(value)
        several = isinstance(option.default, list)
        kind = option.kind or type(option.default[0] if several else option.default)
        nargs = option.nargs or ("+" if several else None)
        how: dict[str, Any] = {"type": kind, "choices": option.choices, "nargs": nargs}
        if option.default is False:
            how = {"action": "store_true"}
        parser.add_argument(f"--{name.replace('_', '-')}", default=option.default, help=option.help, **how)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments, rest = parser.parse_known_args()
    if rest and (not overrides or any(word.startswith("-") or "=" not in word for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if parts:
        arguments.parts = arguments.parts or default
        for part in arguments.parts:
            if part not in parts and not others:
                parser.error(f"{label.lower()} {part}: {', '.join(parts)} are accepted")
    arguments.overrides = rest
    print(", ".join(f"{key} {value}" for key, value in machine().items()), flush=True)
    return arguments


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return {"machine": platform.machine(), "cores": os.cpu_count(), "OMP_NUM_THREADS": threads, "numpy": np.__version__}


def write(arguments: argparse.Namespace, figures: Any) -> None:
    """Write figures with the options and the machine, where `--json` asks for it."""
    if arguments.json:
        given = {key: value for key, value in vars(arguments).items() if key != "json"}
        content = {"options": given, **machine(), "figures": figures}
        arguments.json.write_text(json.dumps(content, indent=2, default=str) + "\n")


class Table:
    """A table that is printed row by row.

    Args: title; columns as "heading:format", for example "mean gap:>10.3f"; width of the labels.
    """

    def __init__(self, title: str, *columns: str, label: str = "", width: int = 16) -> None:
        cells = [column.rpartition(":") for column in columns]
        self._formats, self._label = [spec for _, _, spec in cells], width
        print(f"\n{title}\n{label:{width}}" + "".join(f"{heading:>{_width(spec)}}" for heading, _, spec in cells))

    def row(self, label: Any, *values: Any) -> None:
        """Print a row. A text stands right in a column of numbers, None leaves it empty."""
        cells = [
            f"{'' if value is None else value:>{_width(spec)}}" if value is None or isinstance(value, str)
            else f"{value:{spec}}"
            for value, spec in zip(values, self._formats, strict=True)
        ]  # fmt: skip
        print(f"{label:{self._label}}" + "".join(cells), flush=True)


def _width(spec: str) -> str:
    found = re.search(r"\d+", spec)
    return found[0] if found else "0"


def in_turn(cases: dict[str, Callable[[], object]], repeats: int) -> dict[str, Any]:
    """Seconds [repeats, 2] of each case, by the clock and of this thread's processor. They take turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, case in cases.items():
            begin, busy = time.perf_counter(), time.thread_time()
            case()
            times[name].append((time.perf_counter() - begin, time.thread_time() - busy))
    return {name: np.array(found) for name, found in times.items()}


def resampled(values: Any, draws: int, seed: int = 0) -> Any:
    """Bootstrap samples [draws, n, ...] of values [n, ...]."""
    array = np.asarray(values)
    return array[np.random.default_rng(seed).integers(len(array), size=(draws, len(array)))]


def middle(values: Any) -> list[float]:
    """The middle 95 % of bootstrapped figures."""
    return [float(value) for value in np.percentile(values, [2.5, 97.5])]


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """Successes with Wilson's interval."""
    found = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return {"n": len(hits), "share": float(np.mean(hits)), "interval": [float(found.low), float(found.high)]}


def mean(values: Sequence[float]) -> dict[str, Any]:
    """Mean over seeds with a bootstrap interval."""
    found = middle(resampled(values, 5000).mean(1))
    return {"n": len(values), "mean": float(np.mean(values)), "interval": found}


def slope(x: Any, y: Any) -> float:
    """Slope of log y on log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
