"""All explanations of some states, with the tests of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldmodel.explain.faithfulness import Curves, Gains, curves, falling, gains, random_curves
from worldmodel.explain.gradients import Attribution, integrated_gradients
from worldmodel.explain.inputs import Inputs
from worldmodel.explain.occlusion import occlusion
from worldmodel.explain.randomisation import MOST, correlation
from worldmodel.explain.states import Played
from worldmodel.explain.targets import NAMES, Function, Targets

COMPLETE = 0.01  # most that attributions may miss of what they explain
LEAST = 1e-6  # change of a target that is more than rounding
COARSE = 0.02  # of those by re-drawn weights, of which the ranks alone count
FEW = 12  # states that agents with re-drawn weights are explained in
GRADIENTS, OCCLUSION = "integrated gradients", "occlusion"


@dataclass(frozen=True)
class Explanation:
    """A target explained against one baseline by one method, and how its tests went.

    values [N, F]: what each feature contributes; numbers [N, P]: what each number does, for gradients alone; missed:
    the most that the sum misses of the change, relative, None where a method promises nothing; correlations: with
    re-drawn weights, of the head alone and of all.
    """

    target: str
    baseline: str
    method: str
    values: Tensor
    numbers: Tensor | None
    change: Tensor
    missed: float | None
    gains: Gains
    correlations: dict[str, dict[str, float]]
    control: Gains

    @property
    def faults(self) -> list[str]:
        """The tests that it fails, in words."""
        if not bool((self.change.abs() > LEAST).any()):
            return ["nothing to explain: the target does not depend on the observation"]
        found = []
        if self.missed is not None and self.missed >= COMPLETE:
            found.append(f"incomplete: sums miss up to {self.missed:.1%}")
        if not self.gains.better:
            found.append("not better than random order")
        if self.control.better:
            found.append("cannot be judged: explanations by re-drawn weights pass too")
        if (alike := self.correlations["all"]["signed"]) >= MOST:
            found.append(f"resembles explanations by re-drawn weights (rank correlation {alike:.2f})")
        return found

    @property
    def holds(self) -> bool:
        """Whether it passes all its tests."""
        return not self.faults


def explain(
    targets: Targets, inputs: Inputs, played: Played, orders: int, draws: int, note: Callable[[str], None]
) -> Iterator[Explanation]:
    """Explain both targets against both baselines, by integrated gradients and by occlusion."""
    states, rng = played.states, np.random.default_rng(0)
    baselines = {"zero": torch.zeros_like(played.mean), "mean": played.mean}
    every = [targets.redrawn(None, draws + draw) for draw in range(draws)]
    others = {name: {"head": [targets.redrawn(name, draw) for draw in range(draws)], "all": every} for name in NAMES}
    x, groups = states.rows, states.episode
    few = np.unique(np.linspace(0, len(x) - 1, min(len(x), FEW)).round().astype(np.int64))
    for target in NAMES:
        function = targets.function(target, states.kept, states.action)
        theirs = {
            which: [other.function(target, states.kept[few], states.action[few]) for other in redrawn]
            for which, redrawn in others[target].items()
        }
        for name, baseline in baselines.items():
            note(f"explaining {target} against {name}")
            given = x, baseline, inputs
            random = random_curves(function, *given, orders, rng)
            exact = integrated_gradients(function, x, baseline)
            for method, values, explained in (
                (GRADIENTS, inputs.by_feature(exact.values), coarse),
                (OCCLUSION, occlusion(function, *given), occlusion),
            ):
                alike = {which: [explained(f, x[few], *given[1:]) for f in made] for which, made in theirs.items()}
                yield Explanation(
                    target,
                    name,
                    method,
                    values,
                    exact.values if method == GRADIENTS else None,
                    exact.change,
                    missed(exact) if method == GRADIENTS else None,
                    gains(curves(function, *given, falling(values)), random, groups),
                    {which: correlation(values[few], found) for which, found in alike.items()},
                    chance(function, *given, alike["all"], few, random),
                )


def coarse(function: Function, x: Tensor, baseline: Tensor, inputs: Inputs) -> Tensor:
    """Return integrated gradients by feature [N, F] with few points."""
    return inputs.by_feature(integrated_gradients(function, x, baseline, COARSE, 3, 1).values)


def missed(found: Attribution) -> float:
    """Return the most that sums of attributions miss of the change of any state, relative to it.

    A change below a hundredth of the mean change counts as that, and so does one that float32 does not tell to 1 %.
    """
    change, total = found.change.double(), found.values.double().sum(1)
    least = (found.rounding.double() / COMPLETE).clamp(min=max(LEAST, float(change.abs().mean()) / 100))
    return float(((total - change).abs() / torch.maximum(change.abs(), least)).max())


def chance(
    function: Function,
    x: Tensor,
    baseline: Tensor,
    inputs: Inputs,
    others: list[Tensor],
    few: NDArray[np.int64],
    random: Curves,
) -> Gains:
    """Return the gains of explanations by re-drawn weights, judged on the agent itself: they should have none.

    others: of the states `few`. One draw may be lucky in all states at once, so the interval is over draws.
    """
    places = torch.from_numpy(few).to(x.device)

    def own(rows: Tensor, states: Tensor) -> Tensor:
        return function(rows, places[states])

    found = [curves(own, x[few], baseline, inputs, falling(values)) for values in others]
    joined = Curves(*(np.concatenate([getattr(each, name) for each in found]) for name in Curves._fields))
    repeated = Curves(*(np.tile(each[few], len(found)) for each in random))
    return gains(joined, repeated, np.repeat(np.arange(len(found)), len(few)))
