"""Standings: what the arms of a comparison reach in each task, with published agents beside them."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import Any

from worldmodel.compare.anchor import Anchor, Anchors, base, told_sources
from worldmodel.compare.document import Cell, Row, Table, number
from worldmodel.compare.plan import Plan
from worldmodel.compare.results import Result, Results, of_arm
from worldmodel.compare.statistics import Interval, mean_interval

Returns = Mapping[str, Mapping[str, Sequence[float]]]  # arm -> task -> returns of the runs that have ended
NOTHING = Cell("-")


class Standings:
    """Means of arms and of published methods in each task and over all of them.

    A method stands beside the arms with its return after exactly as many steps. Over all tasks it has a mean where it
    has such a return in each.
    """

    def __init__(self, plan: Plan, results: Results, returns: Returns, anchors: Anchors | None) -> None:
        """returns: with those that failed runs count as."""
        self.plan, self.results, self.returns, self.name = plan, results, returns, anchors and anchors.name
        self.ids: dict[str, str] = {}  # of environments
        self.anchors: dict[str, list[Anchor]] = {task: [] for task in plan.tasks}
        if anchors is not None:
            self.ids = {task: plan.arms[plan.reference].configs[task]["env"]["id"] for task in plan.tasks}
            self.anchors = {task: anchors.of(name) for task, name in self.ids.items()}
        scales = {(task.low, task.high) for task in plan.tasks.values()}
        self.unit = "return" if len(scales) == 1 else "score"  # of means over tasks

    def mean(self, arm: str, task: str) -> Interval | None:
        """The mean return of an arm's runs with its 95 % interval; None before the first has ended."""
        values = self.returns[arm][task]
        return mean_interval({task: values}) if values else None

    def overall(self, arm: str) -> Interval | None:
        """The mean over all tasks; None before each of them has a run that has ended."""
        found = self.returns[arm]
        if not all(found.values()):
            return None
        return mean_interval({task: [self._scaled(task, one) for one in values] for task, values in found.items()})

    def published(self, task: str) -> dict[str, float]:
        """The returns of methods after as many steps as the task has here."""
        steps = self.plan.tasks[task].steps
        return {one.method: one.value for one in self.anchors[task] if one.steps == steps}

    def methods(self) -> dict[str, float | None]:
        """Methods with a return after as many steps in any task, with the mean over the tasks of those that have all.

        The highest mean comes first.
        """
        every = {task: self.published(task) for task in self.plan.tasks}
        found: dict[str, float | None] = {}
        for method in dict.fromkeys(method for returns in every.values() for method in returns):
            values = [self._scaled(task, returns[method]) for task, returns in every.items() if method in returns]
            found[method] = sum(values) / len(values) if len(values) == len(every) else None
        return dict(sorted(found.items(), key=lambda item: -float("inf") if item[1] is None else item[1], reverse=True))

    def ahead(self, arm: str, method: str) -> tuple[int, int]:
        """In how many tasks the arm's mean is above the method's return, and in how many both have one."""
        pairs = [(self.mean(arm, task), self.published(task).get(method)) for task in self.plan.tasks]
        both = [(mean.value, other) for mean, other in pairs if mean is not None and other is not None]
        return sum(mean > other for mean, other in both), len(both)

    @property
    def lead(self) -> str:
        """The mean of the only arm in one line, and how many published ones are below it."""
        arm, tasks, seeds = self.plan.reference, list(self.plan.tasks), self.plan.seeds
        if (found := self.overall(arm)) is None:
            return f"{arm}: no task has a run that has ended."
        runs = of_arm(arm, self.results)
        failed = sum(run.state == "failed" for run in runs)
        where = f"in {tasks[0]}" if len(tasks) == 1 else f"over {len(tasks)} tasks"
        text = f"{arm}: mean {self.unit} {number(found.value).text} {where}, {_count(seeds, 'seed')} each"
        text += f", {failed} of {len(runs)} runs failed." if failed else "."
        means = [mean for mean in self.methods().values() if mean is not None]
        if means:
            below = sum(mean < found.value for mean in means)
            text += f" Published means at equal steps: {below} of {len(means)} are lower."
        return text

    def blocks(self) -> Iterator[Any]:
        """The tables, each under a sentence."""
        yield (
            "Means of the runs with 95 % intervals by Student's t, which few seeds make wide. Failed runs count as the "
            "lowest return of all runs of their task."
        )
        if self.name is not None:
            yield (
                f"Published agents are those of suite.anchors={self.name}, in the same task. Nothing is tested against "
                "them: their seeds, their evaluations and sometimes the version of the task are others."
            )
        if len(self.plan.tasks) > 1:
            yield from self._all_tasks()
        for task in self.plan.tasks:
            yield self._of_task(task)
        known = [one for task in self.plan.tasks for one in self.anchors[task]]
        if known:
            rows: list[Row] = [[source, methods] for source, methods in told_sources(known).items()]
            yield Table(["source", "agents"], rows, "Where the published returns are from.")

    def figures(self) -> dict[str, Any]:
        """The figures of the tables as JSON, but for times."""
        arms = list(self.plan.arms)
        tasks: dict[str, Any] = {
            task: {
                "steps": config.steps,
                "arms": {arm: _plain(self.mean(arm, task)) for arm in arms},
                "published": [
                    {"task": one.task, "method": one.method, "steps": one.steps, "return": one.value}
                    for one in self.anchors[task]
                ],
            }
            for task, config in self.plan.tasks.items()
        }
        return {
            "anchors": self.name,
            "unit": self.unit,
            "means": {arm: _plain(self.overall(arm)) for arm in arms} | self.methods(),
            "ahead": {arm: {method: list(self.ahead(arm, method)) for method in self.methods()} for arm in arms},
            "tasks": tasks,
        }

    def marks(self, task: str) -> list[tuple[str, int, float]]:
        """A point for each published method: its label, its steps, those nearest to the task's, and its return."""
        nearest: dict[str, Anchor] = {}
        steps = self.plan.tasks[task].steps
        for one in self.anchors[task]:
            best = nearest.setdefault(one.method, one)
            if _apart(one.steps, steps) < _apart(best.steps, steps):
                nearest[one.method] = one
        return [
            (one.method if one.steps == steps else f"{one.method} at {one.steps:,}", one.steps, one.value)
            for one in nearest.values()
        ]

    def _all_tasks(self) -> Iterator[Any]:
        arms, methods = list(self.plan.arms), self.methods()
        lines: list[tuple[float | None, Row]] = []
        for arm in arms:
            if (found := self.overall(arm)) is not None:
                lines.append((found.value, [arm, "this comparison", *_range(found), *([NOTHING] * len(arms))]))
        for method, mean in methods.items():
            counts = [self.ahead(arm, method) for arm in arms]
            cells = [Cell(f"{wins} of {of}", wins / of) if of else NOTHING for wins, of in counts]
            lines.append((mean, [method, "published", number(mean), NOTHING, *cells]))
        if not lines:
            return
        count = len(self.plan.tasks)
        name = f"mean {self.unit} of {count} tasks"
        heads = [f"{arm} is ahead of it in" for arm in arms]
        text = "Over all tasks, after equal steps. A method that was not published for one of the tasks has no mean."
        if self.unit == "score":
            text += " A score is 0 at the return that counts as 0 and 1 at the one that counts as 1."
        yield _table(["agent", "what", name, "95 % interval", *heads], lines, text, published=bool(methods))

    def _of_task(self, task: str) -> Table:
        plan, steps = self.plan, self.plan.tasks[task].steps
        lines: list[tuple[float | None, Row]] = []
        for arm in plan.arms:
            runs, mean = self.results[task, arm], self.mean(arm, task)
            value = [NOTHING, NOTHING] if mean is None else _range(mean)
            seeds = ", ".join(run.state if run.score is None else number(run.score).text for run in runs)
            ours: Row = [arm, "this comparison", *value, seeds, number(_minutes(runs)), NOTHING]
            lines.append((mean and mean.value, ours))
        by_method: dict[tuple[str, str], list[Anchor]] = {}
        for one in self.anchors[task]:
            by_method.setdefault((one.method, one.task), []).append(one)
        for (method, name), anchors in by_method.items():
            same = next((one.value for one in anchors if one.steps == steps), None)
            others = [f"{number(one.value).text} at {one.steps:,}" for one in anchors if one.steps != steps]
            label = method if _is_version(name, self.ids[task]) else f"{method} ({name})"
            row: Row = [label, "published", number(same), NOTHING, NOTHING, NOTHING, "; ".join(others) or "-"]
            lines.append((same, row))
        returns = f"return at {steps:,} {plan.kind.unit}"
        heads = ["agent", "what", returns, "95 % interval", "each seed", "minutes of a run", "at other steps"]
        return _table(heads, lines, f"{self._title(task)}.", published=bool(by_method))

    def _title(self, task: str) -> str:
        """A task with its environment, if its runs play in one."""
        if not self.plan.kind.plays:
            return task
        env = self.plan.arms[self.plan.reference].configs[task]["env"]
        return f"{task}: {env['id']}, action repeat {env['action_repeat']}"

    def _scaled(self, task: str, value: float) -> float:
        """A return in the unit of means over tasks."""
        config = self.plan.tasks[task]
        return value if self.unit == "return" else (value - config.low) / (config.high - config.low)


def _table(heads: Sequence[str], lines: list[tuple[float | None, Row]], caption: str, published: bool) -> Table:
    """Rows with the highest value first, those without one last; columns for published agents only if there are any."""
    lines.sort(key=lambda line: -float("inf") if line[0] is None else line[0], reverse=True)
    shown = [place for place, head in enumerate(heads) if published or not _of_published(head)]
    return Table([heads[place] for place in shown], [[row[place] for place in shown] for _, row in lines], caption)


def _of_published(head: str) -> bool:
    return head in ("what", "at other steps") or head.endswith("is ahead of it in")


def _is_version(name: str, env: str) -> bool:
    """Whether an anchor's task is the environment, or is named without a version."""
    return name == base(name) or name == env.rpartition("/")[2].rpartition(":")[2]


def _minutes(runs: Sequence[Result]) -> float | None:
    """The mean minutes of the runs that have finished."""
    done = [run.seconds / 60 for run in runs if run.state == "finished"]
    return sum(done) / len(done) if done else None


def _range(found: Interval) -> list[Cell]:
    ends = Cell("-") if isnan(found.low) else Cell(f"{number(found.low).text} to {number(found.high).text}", found.low)
    return [number(found.value), ends]


def _plain(found: Interval | None) -> dict[str, float | None] | None:
    """An interval as JSON takes it."""
    return found and {key: None if isnan(value) else value for key, value in found._asdict().items()}


def _apart(one: int, other: int) -> float:
    return max(one / other, other / one)


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}{'' if number_of == 1 else 's'}"
