"""What a report shows of its runs beside their returns: costs, crashes, configurations, machine, commands, times."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np

from worldmodel.compare.costs import QuantumCost
from worldmodel.compare.document import Code, Row, Table, number
from worldmodel.compare.plan import Plan
from worldmodel.compare.results import WORK, Results, of_arm
from worldmodel.runs.folder import differences
from worldmodel.runs.yaml import to_yaml

Blocks = Iterator[Any]


def generator(*names: str) -> np.random.Generator:
    """A random generator of its own for every figure."""
    return np.random.default_rng(crc32("/".join(names).encode()))


def costs(plan: Plan, results: Results, device: str | None) -> Blocks:
    """Steps, updates and tuning trials of the runs, and what they sent to quantum backends."""
    rows: list[Row] = []
    for arm in plan.arms:
        runs = of_arm(arm, results)
        ended = [run for run in runs if run.state == "finished"]
        means = [_mean([run.steps for run in ended]), _mean([run.updates for run in ended])]
        rows.append([arm, number(len(ended)), *map(number, means), number(plan.arms[arm].config.trials)])
    yield Table(["arm", "finished runs", f"{plan.kind.unit} of a run", "updates of a run", "tuning trials"], rows)
    yield "Updates are those of the last row of metrics; a model-free baseline counts its own kind of updates."
    yield from _work(plan, results)
    columns = ["arm", "jobs", "circuits or problems", "shots or reads", "QPU seconds", "dollars"]
    jobs: list[Row] = []
    simulated: list[Row] = []
    unfit = 0
    for arm in plan.arms:
        total = sum((run.quantum for run in of_arm(arm, results)), QuantumCost())
        counted = (total.simulated_shots, total.simulated_circuits, total.queries)
        if any(counted):
            simulated.append([arm, *map(number, counted)])
        if not total.jobs:
            continue
        booked = (total.jobs, total.circuits, total.shots, total.seconds, total.dollars)
        estimate = (total.estimated_seconds, total.estimated_dollars) if device else ()
        jobs.append([arm, *map(number, (*booked, *estimate))])
        unfit += total.unfit
    if jobs:
        columns += [f"seconds on {device}, estimated", f"dollars on {device}, estimated"] if device else []
        yield Table(columns, jobs, "Quantum jobs of all runs together, as their ledgers booked them.")
        if unfit:
            yield f"{unfit} jobs cannot run on {device} and have no estimate."
    else:
        yield "No run sent anything to a quantum backend: its quantum parts, if any, were simulated in it."
    if simulated:
        text = "What solvers simulated, or drew classically, by the metrics of all runs together."
        yield Table(["arm", "shots, reads or samples", "circuits", "oracle queries"], simulated, text)
        yield "Oracle queries of replay selectors are those of the batches that metrics were logged for."


def _work(plan: Plan, results: Results) -> Blocks:
    """How much the parts did that arms differ in: a part that hardly ever acts is hardly compared."""
    rows: list[Row] = []
    for arm in plan.arms:
        done = [run.work for run in of_arm(arm, results) if run.work]
        if done:
            means = (_mean([work[key] for work in done if key in work]) for key in WORK)
            rows.append([arm, *map(number, means)])
    if rows:
        columns = ["arm", *WORK.values()]
        yield Table(columns, rows, "What its parts did in the mean of a run.")


def failures(results: Results) -> Blocks:
    """The runs that crashed, and why."""
    rows: list[Row] = [
        [run.run.name, run.state, number(len(run.reasons)), "; ".join(run.reasons)]
        for runs in results.values()
        for run in runs
        if run.reasons
    ]
    if rows:
        yield "A run that crashes is tried once more; one that crashes again has failed and counts as the lowest."
        yield Table(["run", "now", "crashes", "reasons"], rows)
    else:
        yield "None."


def arms(plan: Plan) -> Blocks:
    """What each arm is, the configuration of the reference and of baselines, and in what that of others differs."""
    rows: list[Row] = []
    for name, arm in plan.arms.items():
        controls = ", ".join(control for control in arm.config.controls if control in plan.arms)
        rows.append([name, arm.role, arm.config.about, " ".join(arm.config.words) or "-", controls or "-"])
    yield Table(["arm", "role", "what", "words", "controls"], rows)
    for task in plan.tasks:
        reference = plan.arms[plan.reference].configs[task]
        for name, arm in plan.arms.items():
            mine = arm.configs[task]
            if name != plan.reference and arm.config.algorithm is None:
                texts = differences(reference, mine, ())
                yield Code("\n".join(texts) or "nothing", f"{task}: where {name} differs from {plan.reference}")
            else:
                text = to_yaml(json.loads(json.dumps(mine))).rstrip()
                yield Code(text, f"{task}: configuration of {name}, but for the seed")


def machine(results: Results) -> Blocks:
    """With what, and on what, the runs were made."""
    finished = [run for runs in results.values() for run in runs if run.state == "finished"]
    seen: dict[str, list[Mapping[str, Any]]] = {}
    for run in finished:
        seen.setdefault(json.dumps(run.about, sort_keys=True), []).append(run.about)
    if len(seen) > 1:
        yield f"**The runs were made with {len(seen)} different versions or machines.**"
    for text, abouts in sorted(seen.items()):
        about = json.loads(text)
        parts: list[Row] = [[part, str(value)] for part, value in _flat(about)]
        of = dict.fromkeys(arm for (_, arm), runs in results.items() if any(run.about == about for run in runs))
        yield Table(["what", "value"], parts, f"{len(abouts)} runs of {', '.join(of)}")
    if not finished:
        yield "No run has finished."


def _flat(about: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in about.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}: {inner}", one) for inner, one in value.items())
        else:
            yield key, value


def commands(plan: Plan, command: Sequence[str]) -> Blocks:
    """The command that makes this comparison, and those of its runs."""
    yield Code(" ".join(["python -m worldmodel.compare", *map(_shell, command)]))
    lines = [" ".join([f"python -m {run.module}", *map(_shell, run.words)]) for run in plan.runs]
    yield Code("\n".join(lines), f"the {len(lines)} runs, each with a logdir=... of its own")


def _shell(word: str) -> str:
    import shlex

    return shlex.quote(word)


def times(plan: Plan, results: Results) -> Blocks:
    """Minutes of the runs; they mean little where other work shared the machine."""
    rows: list[Row] = []
    for arm in plan.arms:
        minutes = [run.seconds / 60 for run in of_arm(arm, results) if run.state == "finished"]
        if minutes:
            rows.append([arm, *map(number, (float(np.median(minutes)), min(minutes), max(minutes)))])
    total = sum(run.seconds for runs in results.values() for run in runs) / 3600
    yield Table(["arm", "median minutes of a run", "least", "most"], rows)
    yield f"All runs together took {total:.2f} hours, evaluations included."


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
