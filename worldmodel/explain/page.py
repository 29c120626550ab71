"""The page of an explanation: one HTML file that needs no other."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

from worldmodel.explain.explanation import GRADIENTS, OCCLUSION
from worldmodel.explain.pictures import bars, heat_map, overlay
from worldmodel.explain.result import Result, shown
from worldmodel.explain.targets import NAMES

MOST_FEATURES = 16  # in a picture
FRAMES = 6  # of an episode
RECALLED = 12  # states of an episode whose reads are told
BASELINES = {"zero": "an observation of zeros", "mean": "the mean of all observations of these episodes"}


def page(result: Result) -> str:
    """Return the page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("worldmodel.explain", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    content = {
        "result": result,
        "lead": _lead(result),
        "baselines": BASELINES,
        "tests": [_test(each) for each in result.explanations],
        "importances": [_importance(result, target) for target in NAMES],
        "episodes": [_episode(result, number) for number in range(len(result.played.episodes))],
        "spectra": [_spectrum(name, found) for name, found in result.spectra.items()],
        "several": len(result.played.episodes) > 1,
    }
    return environment.get_template("page.html").render(content)


def _lead(result: Result) -> str:
    """The sentence that says it all."""
    parts = []
    for target in NAMES:
        found = [each for each in result.explanations if each.target == target and each.method == GRADIENTS]
        held = [each.baseline for each in found if each.holds]
        if len(held) == len(found):
            parts.append(f"The explanation of the {target} passes its tests.")
        elif held:
            parts.append(f"The explanation of the {target} passes its tests against the baseline {held[0]} alone.")
        elif not any(each.gains.better for each in found):
            parts.append(f"The explanation of the {target} is not better than random.")
        else:
            parts.append(f"The explanation of the {target} fails a test: do not rely on it.")
    return " ".join(parts)


def _test(each: Any) -> dict[str, Any]:
    every, head = each.correlations["all"], each.correlations["head"]
    return {
        "target": each.target,
        "baseline": each.baseline,
        "method": each.method,
        "missed": "-" if each.missed is None else f"{each.missed:.2%}",
        "deletion": shown(each.gains.deletion),
        "insertion": shown(each.gains.insertion),
        "control": shown(each.control.deletion),
        "signed": f"{every['signed']:+.2f}",
        "sizes": f"{every['sizes']:+.2f}",
        "head": f"{head['sizes']:+.2f}",
        "holds": each.holds,
        "verdict": "holds" if each.holds else "; ".join(each.faults),
    }


def _importance(result: Result, target: str) -> dict[str, Any]:
    """Mean sizes of contributions, against the mean baseline."""
    sizes = {
        method: result.get(target, "mean", method).values.abs().mean(0).cpu().numpy()
        for method in (GRADIENTS, OCCLUSION)
    }
    order = np.argsort(-sizes[GRADIENTS], kind="stable")[:MOST_FEATURES]
    names = [result.inputs.names[i] for i in order]
    return {
        "target": target,
        "said": result.said[target],
        "picture": bars(names, {method: found[order].tolist() for method, found in sizes.items()}),
        "left_out": len(result.inputs.names) - len(order),
    }


def _episode(result: Result, number: int) -> dict[str, Any]:
    states = result.played.states
    own = np.flatnonzero(states.episode == number)
    played, shows = result.played.episodes[number], bool(states.frames or result.inputs.grids)
    return {
        "number": number + 1,
        "told": f"return {played.ret:.1f}, {played.length} steps, {len(own)} states explained",
        "maps": [_map(result, target, own) for target in NAMES],
        "memory": [_recalled(result, int(i)) for i in _spaced(own, RECALLED) if states.read and states.read[i]],
        "frames": [_frame(result, int(i)) for i in _spaced(own, FRAMES)] if shows else [],
    }


def _map(result: Result, target: str, own: Any) -> dict[str, str]:
    """Contributions by feature and step."""
    found = result.get(target, "mean", GRADIENTS).values[own].cpu().numpy()  # [n, F]
    order = np.sort(
        np.argsort(-np.abs(result.get(target, "mean", GRADIENTS).values.cpu().numpy()).mean(0))[:MOST_FEATURES]
    )
    names = [result.inputs.names[i] for i in order]
    steps = result.played.states.step[own].tolist()
    return {"target": target, "picture": heat_map(found[:, order].T, names, steps, f"{target}, contributions by step")}


def _recalled(result: Result, place: int) -> dict[str, Any]:
    """What the memory read at a state."""
    states = result.played.states
    read: Any = states.read[place]
    parts = [f"step {step} ({share:.0%}, {uses:.3g} uses)" for share, step, uses in read.read]
    return {
        "step": int(states.step[place]),
        "slots": read.slots,
        "success": f"{read.success:.3g}",
        "read": ", ".join(parts),
    }


def _frame(result: Result, place: int) -> dict[str, Any]:
    """A state: its frame, its images with what they contributed, and the features that counted most."""
    states, inputs = result.played.states, result.inputs
    pictures = []
    if states.frames:
        pictures.append({"said": "frame", "source": _data(states.frames[place])})
    for key in inputs.grids:
        for target in NAMES:
            numbers = result.get(target, "mean", GRADIENTS).numbers
            assert numbers is not None
            image = inputs.part(states.rows[[place]], key)[0].cpu().numpy()
            seen = inputs.part(numbers[[place]], key)[0].sum(-1).cpu().numpy()
            pictures.append({"said": f"{key}, {target}", "source": _data(overlay(image, seen))})
    tops = []
    for target in NAMES:
        values = result.get(target, "mean", GRADIENTS).values[place].cpu().numpy()
        first = np.argsort(-np.abs(values), kind="stable")[:3]
        tops.append({"target": target, "said": ", ".join(f"{inputs.names[i]} {values[i]:+.3g}" for i in first)})
    action = ", ".join(f"{value:.3g}" for value in states.action[place].tolist())
    return {"step": int(states.step[place]), "action": action, "pictures": pictures, "tops": tops}


def _spectrum(name: str, found: dict[str, Any]) -> dict[str, Any]:
    if "refused" in found:
        return {"target": name, "said": found["refused"], "picture": ""}
    labels = [*map(str, range(1, len(found["shares"]) + 1)), "above"]
    shares = [*found["shares"], found["beyond"]]
    return {
        "target": name,
        "said": f"mean frequency {found['mean']:.2f}",
        "picture": bars([f"frequency {label}" for label in labels], {"share of the variance": shares}),
    }


def _spaced(own: Any, most: int) -> Sequence[Any]:
    return own[np.unique(np.linspace(0, len(own) - 1, min(most, len(own))).round().astype(int))].tolist()  # type: ignore[no-any-return]


def _data(file: bytes) -> str:
    return f"data:image/png;base64,{b64encode(file).decode()}"
