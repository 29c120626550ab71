"""A policy goes on learning from the problems that it meets: its first guesses are shifted, where that is better."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.circuits.schedules.features import WIDTHS, Described, Progress, describe_qubo
from hybrid_opt.circuits.schedules.landscape import cubic
from hybrid_opt.circuits.schedules.learned import Learned, TuningPolicy, kind_of
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.simulator.qaoa import QaoaSimulator

Floats = NDArray[np.float64]
LARGEST = 1 << 14  # states of a problem that is learned from
CAUTION = 4.0  # problems that speak for no shift, before any is met
FARTHEST = 0.5  # of a shift from 0
FLAT = 0.2  # least curvature, as a part of the greatest
CURVATURE = 10.0  # where the policy's file has no landscape
FEWEST = 6  # problems on which a shift is tried
SURE = 2.0  # standard errors
MEMORY = 50  # problems that the figures remember, about


@dataclass
class Paired:
    """Differences of two energies on the same problems: how many, their sum and that of their squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """One more problem."""
        self.count, self.total, self.squares = self.count + 1, self.total + value, self.squares + value**2

    @property
    def sure(self) -> int:
        """1 where the mean is above 0 by enough standard errors, -1 where it is as far below, else 0."""
        if self.count < FEWEST:
            return 0
        mean = self.total / self.count
        error = np.sqrt(max(self.squares / self.count - mean**2, 0.0) / (self.count - 1))
        return int(np.sign(mean)) if abs(mean) > SURE * error else 0


@dataclass
class Shift:
    """Of the first guesses of one kind of problem: the one in use, and the one that is being learned.

    better: of the one that is learned over the one in use. kept: of the one in use over none.
    """

    used: list[float]
    trial: list[float]
    lessons: int = 0
    better: Paired = field(default_factory=Paired)
    kept: Paired = field(default_factory=Paired)


@dataclass
class Figures:
    """met: problems. skipped: those too large to be simulated. accepted, dropped: shifts. before, after: approximation
    ratios of the first guess as trained and as it is used, on problems not yet learned from, the last ones counting
    most. gain: the mean of their differences over all problems.
    """

    met: int = 0
    skipped: int = 0
    circuits: int = 0
    accepted: int = 0
    dropped: int = 0
    before: float = 0.0
    after: float = 0.0
    gain: float = 0.0


class Adaptation:
    """Shifts of a policy's first guesses, one for each kind of problem (free, one-hot, cardinality).

    Every problem is a test first and a lesson then. The test: its energy in simulation at the first guess as trained,
    with the shift in use, and with the one that is being learned. The lesson: that one takes a Newton step, with the
    gradient of this problem, the mean curvature of the landscape, and a gain that falls as 1 / problems (stochastic
    approximation, Robbins and Monro 1951). It is put to use where it was better on the problems that came after the
    last such change by 2 standard errors; the one in use is dropped where it is worse than none by as much.

    A problem costs four circuits in simulation at most, and those of more than 2^14 states are not learned from: that
    bounds what a caller waits. It may be called by several threads; what is learned depends on the order of the
    problems alone.
    """

    def __init__(self, policy: TuningPolicy, layers: int, alpha: float = 1.0) -> None:
        """layers: of the circuits. alpha: the part of the probability whose mean energy counts (CVaR)."""
        self.policy, self.layers, self.alpha = policy, layers, alpha
        self.figures = Figures()
        self._shifts: dict[str, Shift] = {}
        self._lock = threading.Lock()

    def schedule(self) -> Learned:
        """The policy's schedule with the shifts that are in use now."""
        with self._lock:
            return Learned(self.policy, {kind: np.array(shift.used) for kind, shift in self._shifts.items()})

    def learn(self, qubos: Sequence[Qubo], simulate: Callable[[int], QaoaSimulator] | None = None) -> None:
        """Test and learn on problems, in this order. simulate: their circuits, by number; default: the plain ones."""
        with self._lock:
            for number, qubo in enumerate(qubos):
                self.figures.met += 1
                if qubo.feasible_space().size > LARGEST:
                    self.figures.skipped += 1
                else:
                    self._learn(qubo, simulate(number) if simulate else QaoaSimulator(qubo, threads=1))

    def _learn(self, qubo: Qubo, simulator: QaoaSimulator) -> None:
        figures, width = self.figures, WIDTHS[self.policy.shape]
        shift = self._shifts.setdefault(kind_of(qubo), Shift([0.0] * width, [0.0] * width))
        place = _Place(self, describe_qubo(qubo), simulator)
        used, trial = np.array(shift.used), np.array(shift.trial)
        rows = np.unique(np.stack([0 * used, used, trial]), axis=0)  # 2 or 3 of the 3 are the same at first
        energies = dict(zip(map(bytes, rows), place.energies(rows), strict=True))
        none, now, then = (float(energies[row.tobytes()]) for row in (0 * used, used, trial))
        figures.circuits += len(rows) + 1
        self._note(place.ratio(none), place.ratio(now))
        if used.any():
            shift.kept.add(none - now)
        if shift.lessons:
            shift.better.add(now - then)
        if shift.better.sure > 0:
            figures.accepted += 1
            shift.used, shift.better, shift.kept = list(shift.trial), Paired(), Paired()
        elif shift.kept.sure < 0:
            figures.dropped += 1
            shift.used, shift.better, shift.kept = [0.0] * width, Paired(), Paired()
        shift.lessons += 1
        step = place.newton(trial) / (CAUTION + shift.lessons)
        shift.trial = [float(value) for value in np.clip(trial + step, -FARTHEST, FARTHEST)]

    def _note(self, before: float, after: float) -> None:
        figures = self.figures
        count = figures.met - figures.skipped
        rate = max(1 / count, 1 / MEMORY)
        figures.before += rate * (before - figures.before)
        figures.after += rate * (after - figures.after)
        figures.gain += (after - before - figures.gain) / count

    def metrics(self) -> dict[str, float]:
        """What the figures say, by names that begin with adaptation."""
        with self._lock:
            return {f"adaptation_{name}": float(value) for name, value in asdict(self.figures).items()}

    def state_dict(self) -> dict[str, Any]:
        """Leaves are Python scalars."""
        with self._lock:
            return {"figures": asdict(self.figures), "shifts": {kind: asdict(s) for kind, s in self._shifts.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        with self._lock:
            self.figures = Figures(**state["figures"])
            self._shifts = {
                kind: Shift(**{**own, "better": Paired(**own["better"]), "kept": Paired(**own["kept"])})
                for kind, own in state["shifts"].items()
            }


class _Place:
    """A problem, its simulation, and the first guess of the policy for it."""

    def __init__(self, adaptation: Adaptation, described: Described, simulator: QaoaSimulator) -> None:
        policy, layers = adaptation.policy, adaptation.layers
        self.policy, self.alpha, self.simulator = policy, adaptation.alpha, simulator
        self.progress = Progress(1, policy.shape, layers, policy.budget)
        self.progress.begin([0], described, layers)
        self.progress.propose(policy.act(self.progress.observe())[:, : WIDTHS[policy.shape]])
        self.guess = self.progress.candidate[0]

    def _angles(self, shifts: Floats) -> tuple[Floats, Floats]:
        rows = len(shifts)
        progress = self.progress
        layers, scale = progress.layers.repeat(rows), progress.scale.repeat(rows)
        return progress.deformation.angles(self.guess + shifts, layers, scale)

    def energies(self, shifts: Floats) -> Floats:
        """Standardised energies [E] with shifts [E, A]."""
        values = self.simulator.value(*self._angles(shifts), self.alpha)
        return np.asarray((values - self.simulator.mean[0]) / self.simulator.std[0])

    def ratio(self, energy: float) -> float:
        """The approximation ratio of a standardised energy."""
        energies = self.simulator.energies[0]
        value = energy * self.simulator.std[0] + self.simulator.mean[0]
        span = float(np.ptp(energies))
        return float(energies.max() - value) / span if span else 1.0

    def newton(self, shift: Floats) -> Floats:
        """The Newton step [A] from there, by the gradient of this problem and the mean curvature of all."""
        _, by_gamma, by_beta = self.simulator.gradient(*self._angles(shift[None]), self.alpha)
        angles = np.eye(len(shift))
        origin = self._angles(np.zeros((1, len(shift))))
        moved = self._angles(angles)  # angles are linear in parameters
        slope = (moved[0] - origin[0]) @ by_gamma[0] + (moved[1] - origin[1]) @ by_beta[0]
        slope = slope / self.simulator.std[0]
        curvature = CURVATURE * angles
        if self.policy.landscape is not None:
            terms = cubic(len(shift))
            curvature = terms.derivatives(self.policy.landscape.mean(self.progress.about[0]))[1]
        values, vectors = np.linalg.eigh(curvature)
        values = np.maximum(values, FLAT * values[-1])
        step: Floats = vectors @ (-(vectors.T @ slope) / values)
        return step
