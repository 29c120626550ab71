"""The result of an explanation: as JSON, and as a table."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from worldmodel.compare.statistics import Interval
from worldmodel.explain.explanation import Explanation
from worldmodel.explain.faithfulness import Gains
from worldmodel.explain.inputs import Inputs
from worldmodel.explain.states import Played

DIGITS = 6


@dataclass(frozen=True)
class Result:
    """Everything that page and JSON say.

    agreed: share of states in which the explained policy, without the sampling of latents, does what was done (within
    0.05 of it, where actions are continuous).
    """

    env: str
    checkpoint: str
    step: int
    seed: int
    said: Mapping[str, str]
    inputs: Inputs
    played: Played
    explanations: Sequence[Explanation]
    agreed: float
    spectra: Mapping[str, Any]

    def get(self, target: str, baseline: str, method: str) -> Explanation:
        """Return one of them."""
        asked = target, baseline, method
        return next(each for each in self.explanations if (each.target, each.baseline, each.method) == asked)


def tests(each: Explanation) -> dict[str, Any]:
    """How the tests of an explanation went."""
    return {
        "target": each.target,
        "baseline": each.baseline,
        "method": each.method,
        "holds": each.holds,
        "faults": each.faults,
        "missed": each.missed,
        "deletion": each.gains.deletion._asdict(),
        "insertion": each.gains.insertion._asdict(),
        "correlations": each.correlations,
        "redrawn_weights": _gains(each.control),
        "importance": _rounded(each.values.abs().mean(0)),
    }


def as_json(result: Result) -> str:
    """The result for programs."""
    states, played = result.played.states, result.played
    exact = [each for each in result.explanations if each.numbers is not None]
    steps = [
        {
            "episode": int(states.episode[i]),
            "step": int(states.step[i]),
            "action": _rounded(states.action[i]),
            "reward": float(states.reward[i]),
            **({"memory": asdict(read)} if (read := states.read[i] if states.read else None) else {}),
            "attributions": {
                f"{each.target} against {each.baseline}": {
                    "change": float(each.change[i]),
                    "values": _rounded(each.values[i]),
                }
                for each in exact
            },
        }
        for i in range(len(states))
    ]
    content = {
        "env": result.env,
        "checkpoint": result.checkpoint,
        "step": result.step,
        "seed": result.seed,
        "targets": dict(result.said),
        "latents": "probabilities of the posterior, not a sample; the recurrent state stays as it was",
        "agreed": result.agreed,
        "features": result.inputs.names,
        "tests": [tests(each) for each in result.explanations],
        "spectra": dict(result.spectra),
        "episodes": [{"return": each.ret, "length": each.length} for each in played.episodes],
        "states": steps,
    }
    return json.dumps(_finite(content), indent=1) + "\n"


def table(result: Result) -> str:
    """The tests for a terminal: a row for each explanation."""
    head = f"{'target':8}{'baseline':10}{'method':22}{'missed':>8}{'deletion':>26}{'insertion':>26}{'rank':>8}  verdict"
    lines = [head]
    for each in result.explanations:
        missing = "" if each.missed is None else f"{each.missed:.2%}"
        rank = f"{each.correlations['all']['signed']:.2f}"
        gains = f"{shown(each.gains.deletion):>26}{shown(each.gains.insertion):>26}"
        verdict = "holds" if each.holds else "; ".join(each.faults)
        lines.append(f"{each.target:8}{each.baseline:10}{each.method:22}{missing:>8}{gains}{rank:>8}  {verdict}")
    return "\n".join(lines)


def shown(found: Interval) -> str:
    """An interval in three digits."""
    return f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"


def _gains(found: Gains) -> dict[str, Any]:
    return {"deletion": found.deletion._asdict(), "insertion": found.insertion._asdict()}


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]


def _finite(value: Any) -> Any:
    """Values as JSON has them: null in the place of NaN, of which an interval of one state is made."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
