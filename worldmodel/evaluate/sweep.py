"""Sweeps: the return of a trained agent by the noise and the shots of its circuits."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.backends.noise import NOISES, noise_of
from hybrid_opt.errors import ProblemError
from hybrid_opt.layers.config import CircuitConfig
from hybrid_opt.paths import user_path
from worldmodel.cli.compose import UsageError
from worldmodel.compare.statistics import Interval, mean_interval
from worldmodel.envs import ActionSpec, Environments
from worldmodel.evaluate.config import EvaluateConfig, SweepConfig
from worldmodel.evaluate.policy import Policy, load
from worldmodel.runs.atomic_file import atomic_file
from worldmodel.train.config import TrainConfig, run_config
from worldmodel.train.episodes import SEED, STREAMS, Plays, evaluate

KEPT = 0.9  # share of the way from the random policy's return to the clean one, by which a breakdown is judged
FILE = "sweep.json"
Make = Callable[[int], Environments]


@dataclass(frozen=True)
class Cell:
    """The episodes of one noise, the error of a two-qubit gate, and one number of shots, None for exact means."""

    noise: float
    shots: int | None
    returns: tuple[float, ...]

    @property
    def interval(self) -> Interval:
        """The mean return, with Student's interval over episodes."""
        return mean_interval({"": self.returns})

    def as_dict(self, trained: str) -> dict[str, Any]:
        """What sweep.json says of it."""
        played = {"test": setting(trained, self.noise > 0), "returns": list(self.returns)}
        return {"noise": self.noise, "shots": self.shots, **played, **self.interval._asdict()}


class RandomPolicy:
    """Actions of uniform chance, whatever is seen: what a breakdown is measured from."""

    def __init__(self, spec: ActionSpec, seed: int) -> None:
        self._spec, self._rng = spec, np.random.default_rng(seed)

    def initial(self, rows: int) -> Any:
        """See Plays."""
        return None

    def act(
        self, observation: Mapping[str, NDArray[Any]], is_first: NDArray[np.bool_], memory: Any, greedy: bool
    ) -> NDArray[np.float32]:
        """See Plays."""
        rows = len(is_first)
        if self._spec.kind == "continuous":
            return self._rng.uniform(-1, 1, (rows, self._spec.width)).astype(np.float32)
        parts = [np.eye(size, dtype=np.float32)[self._rng.integers(size, size=rows)] for size in self._spec.sizes]
        return np.concatenate(parts, 1)

    def action(self, memory: NDArray[np.float32]) -> NDArray[np.float32]:
        """See Plays."""
        return memory


def setting(trained: str, noisy: bool) -> str:
    """The name of a cell in the report: `train clean, test noisy`, and so on."""
    return f"train {trained}, test {'noisy' if noisy else 'clean'}"


def breakdown(cells: Sequence[Cell], random: float, clean: float) -> float | None:
    """Return the largest noise at which the agent keeps 90 % of what it has learned; None: at no noise.

    The lower end of the interval must be at least 90 % of the way from the random policy's return to the clean one. An
    agent that is no better than the random policy has nothing to keep.
    """
    if clean <= random:
        return None
    needed = random + KEPT * (clean - random)
    return max((cell.noise for cell in cells if cell.interval.low >= needed), default=None)


def crossing(cells: Sequence[Cell], control: float) -> float | None:
    """Return the least noise at which the mean return is that of the control, linear between cells; None: at none."""
    before: tuple[float, float] | None = None
    for cell in sorted(cells, key=lambda cell: cell.noise):
        gap = cell.interval.value - control
        if gap <= 0:
            if before is None:
                return cell.noise
            noise, above = before
            return noise + (cell.noise - noise) * above / (above - gap)
        before = cell.noise, gap
    return None


def sweep(config: EvaluateConfig, path: Path, trained: TrainConfig, make: Make) -> dict[str, Any]:
    """Play every cell with the same seeds, print the table, and write sweep.json, sweep.svg and sweep.png.

    make: the environments of the run, of so many streams. Raises UsageError for a run that acts without circuits, and
    for a control that plays something else.
    """
    options, seed = config.sweep, SEED if config.seed is None else config.seed
    model = _model(options, trained)
    control = None if options.control is None else _control(options.control, trained)
    streams = trained.env.num if trained.eval.environments == "shared" else min(config.episodes, STREAMS)

    def played(player: Plays) -> tuple[float, ...]:
        with closing(make(streams)) as environments:
            episodes = evaluate(player, environments, config.episodes, note=partial(print, flush=True))
        return tuple(episode.ret for episode in episodes)

    def agent(noise: float, shots: int | None) -> Policy:
        return load(path, config.checkpoint, config.device, _circuit(trained, model, noise, shots))

    first = agent(0.0, None)
    if not first.player.agent.acts_by_circuits:
        raise UsageError(f"logdir={path}: sweep is accepted for runs that act by circuits, as with {EXAMPLE}")
    with closing(make(1)) as environments:
        random = played(RandomPolicy(environments.action_spec, seed))
    cells: dict[tuple[float, int | None], Cell] = {(0.0, None): Cell(0.0, None, played(first.player.copy(seed)))}
    for shots in options.shots or (None,):
        for noise in sorted(options.noise or (0.0,)):
            if (noise, shots) not in cells:
                cells[noise, shots] = Cell(noise, shots, played(agent(noise, shots).player.copy(seed)))
            print(f"noise {noise:g}, shots {_told(shots)}: return {_shown(cells[noise, shots].interval)}", flush=True)
    controlled = None
    if control is not None:
        other = load(control, "latest", config.device)
        try:
            controlled = played(other.player.copy(seed))
        finally:
            other.close()
    result = report(config, trained, model, cells, random, controlled)
    result |= {"step": first.step, "seed": seed, "checkpoint": first.checkpoint.name}
    _print(result, trained.env.id)
    _write(path, result)
    return result


def report(
    config: EvaluateConfig,
    trained: TrainConfig,
    model: str,
    cells: Mapping[tuple[float, int | None], Cell],
    random: Sequence[float],
    control: Sequence[float] | None,
) -> dict[str, Any]:
    """What sweep.json says."""
    how = "clean" if noise_of(trained.parts.circuit.noise) is None else "noisy"
    asked = config.sweep
    columns = {
        shots: [cells[noise, shots] for noise in sorted(asked.noise or (0.0,))] for shots in asked.shots or (None,)
    }
    means = {"random": _interval(random), "clean": cells[0.0, None].interval}
    means |= {} if control is None else {"control": _interval(control)}
    found: dict[str, Any] = {
        "trained": how,
        "model": model,
        "episodes": config.episodes,
        "cells": [cell.as_dict(how) for column in columns.values() for cell in column],
        "references": {name: each._asdict() for name, each in means.items()},
    }
    for shots, column in columns.items():
        row = {"shots": shots, "noise": breakdown(column, means["random"].value, means["clean"].value)}
        found.setdefault("breakdown", []).append(row)
        if control is not None:
            met = crossing(column, means["control"].value)
            found.setdefault("crossing", []).append({"shots": shots, "noise": met})
    return found


EXAMPLE = "model.heads.actor=circuit"


def _model(options: SweepConfig, trained: TrainConfig) -> str:
    """The noise model of the sweep. Raises ProblemError."""
    own = noise_of(trained.parts.circuit.noise)
    name = options.model or (own.name if own is not None else "depolarizing")
    if name == "none" or name not in NOISES:
        raise ProblemError(f"sweep.model={name}: {', '.join(NOISES)} are accepted")
    for noise in options.noise or ():
        noise_of({"name": name, "p": noise}, "sweep.noise")
    return name


def _circuit(trained: TrainConfig, model: str, noise: float, shots: int | None) -> CircuitConfig:
    """The circuit of a cell, simulated here, with the other options of the model that it was trained with."""
    own = trained.parts.circuit.noise
    same = isinstance(own, dict) and own["name"] == model
    made = {**(own if same else {}), "name": model, "p": noise} if noise else 0.0  # type: ignore[dict-item]
    return replace(trained.circuit, backend="statevector", noise=made, shots=shots)


def _control(logdir: str, trained: TrainConfig) -> Path:
    """The folder of the control. Raises UsageError, RunFolderError."""
    path = user_path(logdir, "sweep.control").absolute()
    other = run_config(path).env.id
    if other != trained.env.id:
        raise UsageError(f"sweep.control={logdir}: plays {other}; a run of {trained.env.id} is accepted")
    return path


def _print(result: Mapping[str, Any], env: str) -> None:
    """The table: a row for each noise, a column for each number of shots."""
    columns = list(dict.fromkeys(cell["shots"] for cell in result["cells"]))
    cells = {(cell["noise"], cell["shots"]): cell for cell in result["cells"]}
    print(f"\n{env}, {result['model']}, {result['episodes']} episodes a cell: mean return and 95 % interval")
    print(f"{'noise':10}{'name':28}" + "".join(f"{_told(shots):>26}" for shots in columns))
    for noise in dict.fromkeys(cell["noise"] for cell in result["cells"]):
        row = [cells[noise, shots] for shots in columns]
        print(f"{noise:<10g}{row[0]['test']:28}" + "".join(f"{_shown(_of(cell)):>26}" for cell in row))
    for name, reference in result["references"].items():
        print(f"{name:38}{_shown(_of(reference)):>26}")
    for key in ("breakdown", "crossing"):
        for row in result.get(key, ()):
            found = "none" if row["noise"] is None else f"{row['noise']:.3g}"
            print(f"{key}, {_told(row['shots'])}: {found}")


def _write(path: Path, result: Mapping[str, Any]) -> None:
    from worldmodel.compare.figures import lines_figure, png, svg

    lines: dict[str, dict[float, Interval]] = {}
    for cell in result["cells"]:
        lines.setdefault(_told(cell["shots"]), {})[cell["noise"]] = _of(cell)
    references = {name: each["value"] for name, each in result["references"].items()}
    figure = lines_figure(lines, references, "error of a two-qubit gate", "return")
    contents = {
        FILE: json.dumps(_finite(result), indent=1).encode() + b"\n",
        "sweep.svg": svg(figure, "sweep", "return by noise and shots").encode() + b"\n",
        "sweep.png": png(figure),
    }
    for name, content in contents.items():
        with atomic_file(path / name) as file:
            file.write(content)
    print(f"{path}: {', '.join(contents)} hold this result")


def _finite(value: Any) -> Any:
    """Values as JSON has them: null in the place of NaN, of which an interval of one episode is made."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _interval(returns: Sequence[float]) -> Interval:
    return mean_interval({"": returns})


def _of(values: Mapping[str, Any]) -> Interval:
    return Interval(values["value"], values["low"], values["high"])


def _shown(found: Interval) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _told(shots: int | None) -> str:
    return "exact" if shots is None else f"{shots} shots"
