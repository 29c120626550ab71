"""angles=learned: QAOA angles by a trained policy, a plain MLP that is kept in a file of arrays."""

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.circuits.schedules.features import WIDTHS, Progress, ShapeName, describe_qubo
from hybrid_opt.circuits.schedules.landscape import Landscape, LandscapeSearch
from hybrid_opt.circuits.schedules.optimised import optimised
from hybrid_opt.circuits.schedules.table import Angles, Evaluate
from hybrid_opt.errors import ProblemError
from hybrid_opt.paths import user_path
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.mixers import standardisation

FORMAT = 1
SHIPPED = Path(__file__).parent / "learned.npz"
NEAR = 0.02  # first steps of COBYLA where it goes on from the angles of a policy,
NEARER = 0.005  # and from those of a landscape
MODELLED = 20  # evaluations that the landscape is asked for
STOP = 0.5  # an action above this stops
Output = Literal["clip", "tanh"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TuningPolicy:
    """An MLP with tanh between its layers, from what `Progress.observe` shows to an action in [-1, 1].

    weights: [in, out] and [out] of each layer. output: what keeps the action in its range. shape: of the deformation.
    budget: evaluations of an episode that it was trained for. choose_shots, stop: whether the action has these entries,
    in this order, behind the parameters. about: how it was trained, and at what cost. landscape: of the energy around
    its first guess, over the problems of its training, where that was measured.
    """

    weights: tuple[tuple[Floats, Floats], ...]
    output: Output = "clip"
    shape: ShapeName = "fourier"
    budget: int = 10
    choose_shots: bool = False
    stop: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)
    landscape: Landscape | None = None

    def __post_init__(self) -> None:
        if self.shape not in WIDTHS or self.output not in get_args(Output) or self.budget < 1 or not self.weights:
            raise ProblemError(
                f"policy: shape={self.shape}, output={self.output}, budget={self.budget}, no such policy"
            )
        width = Progress.size(self.shape)
        for matrix, bias in self.weights:
            if matrix.ndim != 2 or matrix.shape[0] != width or bias.shape != matrix.shape[1:]:
                raise ProblemError(
                    f"policy: layer of shapes {matrix.shape}, {bias.shape}; [{width}, n], [n] is accepted"
                )
            if not (np.isfinite(matrix).all() and np.isfinite(bias).all()):
                raise ProblemError("policy: weights are NaN or infinite")
            width = matrix.shape[1]
        if width != self.actions:
            raise ProblemError(f"policy: {width} outputs; {self.actions} are accepted with shape={self.shape}")
        if self.landscape is not None:
            self.landscape.check(WIDTHS[self.shape])

    @property
    def actions(self) -> int:
        """Numbers in an action."""
        return WIDTHS[self.shape] + self.choose_shots + self.stop

    @property
    def measured_layers(self) -> range:
        """Numbers of layers that the landscape is of: those of the training."""
        layers = dict(self.about.get("env", {})).get("layers", 3)
        low, high = (layers, layers) if isinstance(layers, int) else layers
        return range(low, high + 1)

    def act(self, observations: NDArray[np.float32]) -> Floats:
        """Greedy actions [R, actions] for observations [R, size]."""
        values: Floats = np.asarray(observations, np.float64)
        for number, (matrix, bias) in enumerate(self.weights):
            values = (np.tanh(values) if number else values) @ matrix + bias
        return np.tanh(values) if self.output == "tanh" else np.clip(values, -1, 1)

    def save(self, path: str | Path) -> None:
        """Write the policy; the file appears whole or not at all."""
        settings = {name: getattr(self, name) for name in ("output", "shape", "budget", "choose_shots", "stop")}
        arrays = {"format": np.array(FORMAT), "settings": np.array(json.dumps({**settings, "about": dict(self.about)}))}
        for number, (matrix, bias) in enumerate(self.weights):
            arrays[f"matrix_{number}"], arrays[f"bias_{number}"] = matrix.astype(np.float32), bias.astype(np.float32)
        if self.landscape is not None:
            weights, root, misfit = self.landscape.weights, self.landscape.root, self.landscape.misfit
            arrays |= {"landscape_weights": weights.astype(np.float32), "landscape_root": root.astype(np.float32)}
            arrays["landscape_misfit"] = np.array(misfit)
        path = Path(path)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.unlink(missing_ok=True)  # of a killed process; or a link, which is not followed
        with open(temporary, "xb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)

    @staticmethod
    def load(path: str | Path) -> "TuningPolicy":
        """Read a policy. Raises ProblemError, in one line, for a file that is not one, or damaged."""
        try:
            with np.load(user_path(path), allow_pickle=False) as arrays:
                if int(arrays["format"]) != FORMAT:
                    raise ValueError(f"format {int(arrays['format'])}; {FORMAT} is read")
                settings = json.loads(str(arrays["settings"]))
                layers = sum(name.startswith("matrix_") for name in arrays.files)
                pairs = [(arrays[f"matrix_{k}"], arrays[f"bias_{k}"]) for k in range(layers)]
                landscape = _landscape(arrays)
            weights = tuple((np.asarray(m, np.float64), np.asarray(b, np.float64)) for m, b in pairs)
            return TuningPolicy(weights, **settings, landscape=landscape)
        except FileNotFoundError:
            raise ProblemError(
                f"policy={path}: there is no such file; a policy file of `python -m worldmodel.tune` is accepted"
            ) from None
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())
            raise ProblemError(f"policy={path}: no policy file, or a damaged one ({reason})") from error


def _landscape(arrays: Any) -> Landscape | None:
    if "landscape_root" not in arrays.files:
        return None
    weights, root = (np.asarray(arrays[f"landscape_{name}"], np.float64) for name in ("weights", "root"))
    return Landscape(weights, root, float(arrays["landscape_misfit"]))


class Learned:
    """The schedule of a policy: its first guess without evaluations, else the best of what it tried.

    Beyond the evaluations that the policy was trained for, the landscape of its file says where to measure next, for up
    to MODELLED of them, if it has been measured for so many layers; COBYLA goes on from the best with those that are
    left. The energies are taken as the policy's environment shows them; the standard error from `evaluate.error`, 0
    where there is none. Shots are those of `evaluate`, whatever the policy would choose.
    """

    def __init__(self, policy: TuningPolicy, shifts: Mapping[str, Floats] | None = None) -> None:
        """shifts: [A] of the first guess, by the kind of problem; see `Adaptation`."""
        self.policy, self.shifts = policy, shifts or {}

    def __call__(self, qubo: Qubo, layers: int, evaluate: Evaluate | None = None, budget: int = 0) -> Angles:
        if layers < 1:
            raise ProblemError(f"layers={layers}: at least one is accepted")
        policy, trained = self.policy, min(budget, self.policy.budget)
        progress = Progress(1, policy.shape, layers, trained or policy.budget)
        progress.begin([0], describe_qubo(qubo), layers)
        mean, std = standardisation(qubo)
        width = WIDTHS[policy.shape]
        gammas, betas = progress.propose(policy.act(progress.observe())[:, :width])
        search = self._search(progress, layers)
        if (kind := kind_of(qubo)) in self.shifts:
            progress.candidate = progress.candidate + self.shifts[kind]
            gammas, betas = progress.angles(progress.candidate)
        if evaluate is None or not trained:
            return gammas[0], betas[0]
        values: list[float] = []

        def noted(gammas: Floats, betas: Floats) -> float:
            values.append(float(evaluate(gammas, betas)))
            return values[-1]

        def measured(gammas: Floats, betas: Floats) -> tuple[float, float]:
            energy = (noted(gammas[0], betas[0]) - mean) / std
            error = float(getattr(evaluate, "error", 0.0)) / std
            if search is not None:
                search.note(progress.candidate[0], energy, error)
            return energy, error

        for evaluation in range(trained):
            if evaluation:
                action = policy.act(progress.observe())
                if policy.stop and action[0, -1] > STOP:
                    break
                gammas, betas = progress.propose(action[:, :width])
            energy, error = measured(gammas, betas)
            progress.note(np.array([energy]), np.array([error]))
        stopped = len(values) < trained  # by the policy
        if search is not None and not stopped:
            for _ in range(min(MODELLED, budget - trained)):
                progress.candidate = search.step()[None]
                measured(*progress.angles(progress.candidate))
            gammas, betas = progress.angles(search.best()[None])
        else:
            gammas, betas = progress.angles()
        best, left = (gammas[0], betas[0]), budget - len(values)
        if left < 1 or stopped:
            return best
        lowest, radius = min(values), NEAR if search is None else NEARER
        found = optimised(qubo, layers, noted, left, method="cobyla", start=best, radius=radius)
        return found if min(values[-left:]) < lowest else best

    def _search(self, progress: Progress, layers: int) -> LandscapeSearch | None:
        landscape = self.policy.landscape
        if landscape is None or layers not in self.policy.measured_layers:
            return None
        return LandscapeSearch(landscape, progress.about[0], progress.candidate[0].copy(), np.random.default_rng(0))


def kind_of(qubo: Qubo) -> str:
    """By its constraints: free, one_hot, cardinality, or one_hot_cardinality."""
    kinds = ["one_hot"] * bool(qubo.one_hot) + ["cardinality"] * (qubo.cardinality is not None)
    return "_".join(kinds) or "free"


def learned(path: str | Path | None = None) -> Learned:
    """The schedule of a policy file, by default of the one that is shipped. Raises ProblemError."""
    if path is None and not SHIPPED.exists():
        raise ProblemError("angles=learned: no policy is shipped; policy=FILE of `python -m worldmodel.tune` is needed")
    path = user_path(path or SHIPPED, "policy")
    return _learned(str(path), path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=8)
def _learned(path: str, changed: int) -> Learned:
    return Learned(TuningPolicy.load(path))
