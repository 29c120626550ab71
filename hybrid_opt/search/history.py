"""What a study has evaluated, as a surrogate sees it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hybrid_opt.search.axis import Axis

Floats = NDArray[np.float64]
RELATIVE = "qubo:relative"  # system attribute: what was proposed, in Optuna's internal numbers, for the other workers
SELDOM = 8  # trials for every change of a range, at least: else it changes with the trial
EQUAL = 1e-9  # positions this close are the same


def common_space(trials: Sequence[FrozenTrial]) -> tuple[dict[str, BaseDistribution], set[str]]:
    """Return the parameters of the finished trials, by name, and the names whose range changed.

    A range that changed seldom, as between two sittings of a study, is the latest one. One that changes with every few
    trials is left out, and so are parameters with one value only.
    """
    space: dict[str, BaseDistribution] = {}
    seen, changes, mixed = Counter[str](), Counter[str](), set[str]()
    for trial in sorted(trials, key=lambda trial: trial.number):
        for name, distribution in trial.distributions.items():
            known = space.setdefault(name, distribution)
            if type(known) is not type(distribution):
                mixed.add(name)
            seen[name] += 1
            changes[name] += known != distribution
            space[name] = distribution
    dynamic = mixed | {name for name, count in changes.items() if SELDOM * count > seen[name]}
    kept = {name: space[name] for name in sorted(space) if name not in dynamic and not space[name].single()}
    return kept, {name for name in kept if changes[name]}


def lies_within(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> bool:
    """Whether all values of a trial are in these ranges; parameters that it did not have do not count."""
    return all(
        position_of(Axis(name, space[name]), trial.params[name]) is not None for name in space.keys() & trial.params
    )


def position_of(axis: Axis, value: Any) -> float | None:
    """The position of a value, None where it is not in the range: of an earlier range, or enqueued by mistake."""
    try:
        inner = axis.distribution.to_internal_repr(value)
        return axis.position(value) if axis.distribution._contains(inner) else None
    except (ValueError, TypeError):
        return None


def all_trials(study: Study) -> list[FrozenTrial]:
    """The trials of a study; where Hyperband shows a sampler those of one bracket, those of the others too."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


@dataclass(frozen=True)
class History:
    """N finished trials with a value, R running ones, and all M that are not to be proposed again; d axes.

    positions: float64 [N, d], NaN where a trial does not have the parameter. losses: float64 [N], in the order of how
    good the trials are; see `losses_of`. running: float64 [R, d]. taken: float64 [M, d], the failed ones too. trials:
    the N trials.
    """

    positions: Floats
    losses: Floats
    running: Floats
    taken: Floats
    trials: list[FrozenTrial]

    @staticmethod
    def of(study: Study, axes: Sequence[Axis], but: int = -1) -> "History":
        """What the study knows, without the trial of number `but`.

        A trial that failed or stopped before it asked for all parameters that every complete one has says nothing.
        """
        trials = [trial for trial in all_trials(study) if trial.number != but]
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        needed = {axis.name for axis in axes if all(axis.name in trial.params for trial in complete)}
        known = [(trial, _params(trial, axes)) for trial in trials]
        known = [(trial, params) for trial, params in known if params and needed <= params.keys()]
        finished = [(trial, params) for trial, params in known if trial.state in VALUED]
        running = [params for trial, params in known if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
        return History(
            _positions([params for _, params in finished], axes),
            losses_of([trial for trial, _ in finished], study.direction),
            _positions(running, axes),
            _positions([params for _, params in known], axes),
            [trial for trial, _ in finished],
        )

    def is_taken(self, point: Floats) -> bool:
        """Whether a point [d] has been evaluated; parameters that a trial did not have do not count."""
        same = (np.abs(self.taken - point) < EQUAL) | np.isnan(self.taken)
        return bool(same.all(1).any())


VALUED = (TrialState.COMPLETE, TrialState.PRUNED)


def losses_of(trials: Sequence[FrozenTrial], direction: StudyDirection) -> Floats:
    """How bad complete and pruned trials are, float64 [N]; only their order means anything across kinds.

    A complete trial: its value, negated where the study maximises. A pruned one: the final value at the quantile that
    its last report has among all reports at that step, or the worst final value where nobody else reported then.
    One that breaks constraints: worse than all that obey them, by the sum of what it breaks them by.
    """
    sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
    finals = np.array([sign * float(t.value or 0.0) for t in trials if t.state == TrialState.COMPLETE])
    losses = np.array([sign * float(t.value or 0.0) if t.state == TrialState.COMPLETE else np.nan for t in trials])
    pruned = [i for i, trial in enumerate(trials) if trial.state != TrialState.COMPLETE]
    last = [max(trials[i].intermediate_values, default=-1) for i in pruned]
    if not len(finals):  # the later a trial was pruned the better
        keys = [(-step, _report(trials[i], step, sign)) for i, step in zip(pruned, last, strict=True)]
        losses[pruned] = [sorted(keys).index(key) for key in keys]
    for i, step in zip(pruned, last, strict=True) if len(finals) else ():
        peers = [_report(other, step, sign) for other in trials if other is not trials[i]]
        peers = [peer for peer in peers if not np.isnan(peer)]
        report = _report(trials[i], step, sign)
        share = np.mean(np.array(peers) < report) if peers and not np.isnan(report) else 1.0
        losses[i] = np.quantile(finals, share, method="higher")
    broken = np.array([sum(max(0.0, c) for c in trial.constraints.values()) for trial in trials])
    if (broken > 0).any():
        kept = losses[broken <= 0]
        worst, best = (kept.max(), kept.min()) if len(kept) else (0.0, 0.0)
        with np.errstate(over="ignore"):
            span = worst - best if np.isfinite(worst - best) and worst > best else 1.0
        span = max(span, 1e-6 * abs(worst)) if np.isfinite(worst) else span  # else it is rounded away
        most = broken.max(initial=0.0, where=np.isfinite(broken))
        with np.errstate(invalid="ignore"):  # infinite ones are the worst of all
            parts = np.where(np.isinf(broken), 2.0, broken / (most or 1.0))
        losses = np.where(broken > 0, worst + span * (0.1 + parts), losses)
    return losses


def _report(trial: FrozenTrial, step: int, sign: float) -> float:
    """What a trial reported at a step, NaN where it did not."""
    return sign * float(trial.intermediate_values.get(step, np.nan))


def _params(trial: FrozenTrial, axes: Sequence[Axis]) -> dict[str, float]:
    """Positions by name: those that the trial asked for, and of a trial that did not finish those that it may yet.

    Values outside of the ranges are left out; Optuna itself fails the trial that was given them.
    """
    positions = {}
    proposed = trial.system_attrs.get(RELATIVE, {}) if trial.state not in VALUED else {}
    fixed = trial.system_attrs.get("fixed_params", {}) if not trial.state.is_finished() else {}
    for axis in axes:
        value: Any
        if axis.name in trial.params:
            value = trial.params[axis.name]
        elif axis.name in fixed:
            value = fixed[axis.name]
        elif axis.name in proposed:
            value = axis.distribution.to_external_repr(proposed[axis.name])
        else:
            continue
        position = position_of(axis, value)
        if position is not None:
            positions[axis.name] = position
    return positions


def _positions(params: Sequence[dict[str, float]], axes: Sequence[Axis]) -> Floats:
    rows = [[each.get(axis.name, np.nan) for axis in axes] for each in params]
    return np.array(rows, np.float64).reshape(len(rows), len(axes))
