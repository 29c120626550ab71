"""The report of a comparison: the verdict in plain words first, then everything that it rests on."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from worldmodel.compare import tables
from worldmodel.compare.analysis import Tested, estimates, least_difference, needed, stated_power, tested
from worldmodel.compare.anchor import Anchors
from worldmodel.compare.document import Cell, Document, Picture, Row, Section, Table, number
from worldmodel.compare.figures import (
    Palette,
    curves_figure,
    estimates_figure,
    improvements_figure,
    profiles_figure,
)
from worldmodel.compare.plan import ALPHA, CLAIM_SEEDS, Plan
from worldmodel.compare.results import Result, Results, curves, of_arm, returns, scored
from worldmodel.compare.standings import Standings
from worldmodel.compare.statistics import Interval, interval, sample_complexity
from worldmodel.runs.atomic_file import atomic_file

Scored = Mapping[str, Mapping[str, list[float]]]
_SEEN = ("helps", "hurts")
_UNSEEN = ("no difference seen", "no verdict")


class Report:
    """Everything that is said of a comparison, computed once."""

    def __init__(
        self,
        plan: Plan,
        results: Results,
        command: Sequence[str],
        device: str | None,
        anchors: Anchors | None = None,
    ) -> None:
        """command: the words that ran it; device: that quantum jobs were priced for; anchors: to show beside."""
        self.plan, self.results, self.command, self.device = plan, results, command, device
        self.missing = sum(run.state == "missing" for runs in results.values() for run in runs)
        self.failed = [run for runs in results.values() for run in runs if run.state == "failed"]
        self.returns = returns(plan, results)
        begun = {arm: tasks for arm, tasks in self.returns.items() if all(tasks.values())}
        self.scores: Scored = scored(plan, begun)
        self.claims, self.ablations = (self._tested(pairs) for pairs in (plan.claims, plan.ablations))
        several = plan.tasks if len(plan.tasks) > 1 else ()
        self.single = [self._tested(pairs, several) for pairs in (plan.claims, plan.ablations)]
        self.alone = len(plan.arms) == 1  # then nothing is tested
        shown = self.alone or anchors is not None
        self.standings = Standings(plan, results, self.returns, anchors) if shown else None
        self.palette = Palette([plan.reference, *(arm for arm, _ in plan.claims)])

    def _tested(self, pairs: Sequence[tuple[str, str]], tasks: Iterable[str] | None = None) -> list[Tested]:
        """The tests of a family: of all environments together, or in each of some, of arms named ARM in TASK."""
        begun = [pair for pair in pairs if set(pair) <= self.scores.keys()]
        scores: Scored = self.scores
        if tasks is not None:
            begun = [(f"{arm} in {task}", f"{other} in {task}") for task in tasks for arm, other in begun]
            scores = {f"{arm} in {task}": {task: runs} for arm, of in scores.items() for task, runs in of.items()}
        found = tested(begun, scores, least=CLAIM_SEEDS if not self.missing else self.plan.seeds + 1)
        dead = {name for (task, arm), runs in self.results.items() if _dead(runs) for name in (arm, f"{arm} in {task}")}
        dead |= {f"{arm} in {task}" for (task, arm), runs in self.results.items() if _idle(runs)}
        dead |= {arm for arm in self.plan.arms if _idle(of_arm(arm, self.results))}
        return [replace(test, verdict="no verdict") if {test.arm, test.other} & dead else test for test in found]

    @property
    def lead(self) -> str:
        """The verdict in one line; of an arm alone what it reached."""
        if self.missing:
            text = f"{self.missing} of {len(self.plan.runs)} runs have not ended."
            return text if self.alone else f"No verdict: {text}"
        if self.alone and self.standings:
            return self.standings.lead
        if self.plan.seeds < CLAIM_SEEDS:
            return f"No verdict: too few seeds ({self.plan.seeds}; {CLAIM_SEEDS} or more are needed for a claim)."
        if not self.claims:
            return f"Nothing to judge: {self.plan.reference} has controls alone beside it."
        return f"Against {self.plan.reference} at equal {self._budget}: {'; '.join(map(self._claim, self.claims))}."

    def _claim(self, test: Tested) -> str:
        """A verdict in the lead: with what its controls say of a gain, the environments of its own, and failures."""
        text = f"{test.arm} {_words(test)}"
        if test.verdict == "helps":
            worse, level, any_ = self._controls(test.arm)
            if worse:
                text += f", but less than its control {_and(worse)}"
            elif level:
                text += f", but is not shown to be better than its control {_and(level)}"
            elif not any_ and self.plan.arms[test.arm].config.controls:
                text += ", with no control of it to tell why"
        apart = [one for one in self.single[0] if one.arm.startswith(f"{test.arm} in ") and one.verdict in _SEEN]
        notes = [f"{one.verdict} in {one.arm.partition(' in ')[2]}" for one in apart]
        for name in (test.arm, test.other):
            states = [run.state for run in of_arm(name, self.results)]
            if failed := states.count("failed"):
                notes.append(f"{failed} of {len(states)} runs of {name} failed")
        return f"{text} ({'; '.join(notes)})" if notes else text

    def _controls(self, arm: str) -> tuple[list[str], list[str], bool]:
        """The controls that an arm is worse than, those that it is not shown to differ from, and whether it has any."""
        own = [one for one in self.ablations if one.arm == arm]
        named = {verdict: [one.other for one in own if one.verdict == verdict] for verdict in ("hurts", *_UNSEEN)}
        return named["hurts"], [name for verdict in _UNSEEN for name in named[verdict]], bool(own)

    @property
    def _budget(self) -> str:
        return {
            "steps": self.plan.kind.unit,
            "seconds": "wall-clock time",
            "updates": "gradient updates",
            "trials": f"{self.plan.kind.unit} and tuning trials",
        }[self.plan.budget]

    def document(self) -> Document:
        """The report as a document."""
        plan = self.plan
        standings = [Section("standings", "Standings", list(self.standings.blocks()))] if self.standings else []
        if self.alone:
            result = [self.lead, *self._warnings(), *self._left_out()]
            sections = [
                Section("result", "Result", result),
                *standings,
                Section("asked", "What was asked", list(self._asked())),
                Section("curves", "Learning curves", list(self._curves())),
            ]
        else:
            sections = [
                Section("verdict", "Verdict", list(self._verdict())),
                *standings,
                Section("asked", "What was asked", list(self._asked())),
                Section("results", "Results", list(self._results())),
                Section("curves", "Learning curves", list(self._curves())),
                Section("profiles", "Performance profiles", list(self._profiles())),
                Section("tests", "Tests", list(self._tests())),
                Section("power", "Power", list(self._power())),
            ]
        sections += [
            Section("complexity", "Sample complexity", list(self._complexity())),
            Section("costs", "Costs", list(tables.costs(plan, self.results, self.device))),
            Section("failures", "Crashed runs", list(tables.failures(self.results))),
            Section("arms", "Arms and their configurations", list(tables.arms(plan))),
            Section("machine", "Versions and machine", list(tables.machine(self.results))),
            Section("commands", "Commands", list(tables.commands(plan, self.command))),
            Section("times", "Times", list(tables.times(plan, self.results))),
        ]
        return Document(f"{plan.suite}: {plan.question}", self.lead, sections)

    def figures(self) -> dict[str, Any]:
        """The figures of the report as JSON, but for times."""
        standings = {"standings": self.standings.figures()} if self.standings else {}
        return {
            "plan": self.plan.hash,
            "result" if self.alone else "verdict": self.lead,
            "returns": self.returns,
            "scores": {arm: found._asdict() for arm, found in estimates(self.scores).items()},
            "tests": [_plain(test) for test in (*self.claims, *self.ablations, *self.single[0], *self.single[1])],
            "failed": [run.run.name for run in self.failed],
            **standings,
        }

    def _verdict(self) -> Iterator[Any]:
        yield self.lead
        yield from self._warnings()
        if self.failed:
            yield f"{len(self.failed)} runs failed and count as the lowest return of their environment."
        for test in self.claims:
            lines = [f"**{test.arm} against {test.other}: {test.verdict}.** {self._sentence(test)}"]
            own = [other for other in self.ablations if other.arm == test.arm]
            lines += [
                f"{test.arm} against its control {one.other}: {one.verdict}. {self._sentence(one)}" for one in own
            ]
            worse, level, _ = self._controls(test.arm)
            if test.verdict == "helps" and worse:
                lines.append(f"What helps is not the quantum part: {_and(worse)} without it is better.")
            elif test.verdict == "helps" and level:
                lines.append(f"What helps need not be the quantum part: nothing shows it better than {_and(level)}.")
            if test.verdict == "helps" and not own and self.plan.arms[test.arm].config.controls:
                lines.append("No control of it took part, so nothing shows that the quantum part is what helps.")
            yield lines
        yield from self._left_out()
        for test in self.ablations:
            if test.arm == self.plan.reference:
                yield f"{test.arm} against its control {test.other}: {test.verdict}. {self._sentence(test)}"

    def _left_out(self) -> Iterator[str]:
        for arm, controls in self.plan.left_out.items():
            yield f"Controls of {arm} that did not take part: {_and(controls)}."

    def _warnings(self) -> Iterator[str]:
        """What a reader has to know before the verdict is believed."""
        ended = [run for runs in self.results.values() for run in runs if run.state == "finished"]
        if len({json.dumps(run.about, sort_keys=True) for run in ended}) > 1:
            yield "**The runs were made with different versions or on different machines; see Versions and machine.**"
        for (task, name), runs in self.results.items():
            done = [run for run in runs if run.state == "finished"]
            if done and self.plan.arms[name].config.algorithm and not all(run.updates for run in done):
                yield f"**{name} made no update in {task}, so that it is a policy that was never trained.**"
            if _idle(runs):
                yield f"**{name} did nothing of its own in {task}: what stands in for it did all, and was compared.**"
            early = sum(run.steps >= self.plan.tasks[task].steps for run in done)
            if early and self.plan.budget == "seconds":
                yield f"**{early} runs of {name} in {task} ended with their steps, before their time was over.**"

    def _sentence(self, test: Tested) -> str:
        gap, chance = test.difference, test.improvement
        text = (
            f"Its interquartile mean is {_signed(gap)} in score; p = {number(test.adjusted, 2).text} after Holm's "
            f"correction over {test.family} {'test' if test.family == 1 else 'tests'}; one of its runs beats one of "
            f"the other with probability {chance.value:.2f} ({chance.low:.2f} to {chance.high:.2f})."
        )
        if test.verdict == "no difference seen":
            least = least_difference(test, self.scores)
            if least is None:
                return f"{text} All runs ended alike, or there are too few seeds to see any difference."
            where = " in every environment" if len(self.plan.tasks) > 1 else ""
            seen = f"{number(least, 2).text}{where}"
            text += f" {self.plan.seeds} seeds see a true difference of {seen} with a power of 80 %."
        return text

    def _asked(self) -> Iterator[Any]:
        plan, tests = self.plan, self.plan.as_dict()["tests"]
        if self.alone:
            tests = {key: tests[key] for key in ("failed runs",)}
        metric = plan.kind.final if plan.metric == "final" else plan.kind.area
        rows: list[Row] = [
            ["metric", f"{plan.metric}: {metric}"],
            ["runs", f"python -m {plan.kind.module}"],
            ["equal budget", self._budget],
            ["seeds of each arm and environment", f"{plan.seeds}, from {plan.first_seed}"],
            ["reference", plan.reference],
            *[[key, str(value)] for key, value in tests.items()],
            ["SHA-256 of the plan", plan.hash],
        ]
        yield "All of this was fixed, in plan.json, before the first run."
        yield Table(["what", "declared"], rows)
        yield Table(
            ["environment", "words", plan.kind.unit, "return that counts as 0", "as 1"],
            [
                [name, " ".join(task.words), number(task.steps), number(task.low), number(task.high)]
                for name, task in plan.tasks.items()
            ],
        )

    def _results(self) -> Iterator[Any]:
        rows: list[Row] = []
        for task in self.plan.tasks:
            for arm in self.plan.arms:
                values = self.returns[arm][task]
                if values:
                    found = interval({task: values}, tables.generator(task, arm))
                    failed = sum(run.state == "failed" for run in self.results[task, arm])
                    counts = [number(len(values)), number(failed)]
                    ends = [number(min(values)), number(max(values))]
                    rows.append([task, arm, self.plan.arms[arm].role, *counts, *_range(found), *ends])
        columns = ["environment", "arm", "role", "runs", "failed", "IQM of returns", "95 % interval"]
        yield Table([*columns, "lowest", "highest"], rows)
        if self.scores:
            found_scores = estimates(self.scores)
            yield Table(
                ["arm", "IQM of scores", "95 % interval"], [[arm, *_range(one)] for arm, one in found_scores.items()]
            )
            text = "Interquartile mean of the scores of each arm, with 95 % intervals"
            yield Picture("scores", text, estimates_figure(found_scores, self.palette))

    def _curves(self) -> Iterator[Any]:
        yield "Interquartile mean of the evaluations over seeds; bands are pointwise 95 % bootstrap intervals."
        if self.standings and self.standings.name is not None:
            yield "A cross is what a published method reached, at its own steps or at the right edge if they are more."
        for task, config in self.plan.tasks.items():
            drawn = {arm: curves(self.plan, task, arm, self.results) for arm in self.plan.arms}
            if any(steps for steps, _ in drawn.values()):
                text = f"Learning curves in {task}"
                marks = self.standings.marks(task) if self.standings else []
                figure = curves_figure(drawn, self.plan.groups, config.threshold, self.plan.kind.unit, marks)
                yield Picture(f"curves-{task}", text, figure)

    def _profiles(self) -> Iterator[Any]:
        if self.scores:
            yield "The share of runs above each score, every environment alike, with pointwise 95 % intervals."
            yield Picture("profiles", "Performance profiles", profiles_figure(self.scores, self.plan.groups))

    def _tests(self) -> Iterator[Any]:
        columns = ["arm", "against", "difference of IQM", "95 % interval", "P(improvement)", "95 % interval", "p"]
        titles = ("Arms against the reference", "Arms against their controls")
        families = [(f"{title}.", tests) for title, tests in zip(titles, (self.claims, self.ablations), strict=True)]
        families += [
            (f"{title}, in each environment.", tests) for title, tests in zip(titles, self.single, strict=True)
        ]
        for title, tests in families:
            rows: list[Row] = []
            for test in tests:
                row: list[Cell | str] = [test.arm, test.other, *_range(test.difference), *_range(test.improvement)]
                rows.append([*row, number(test.p), number(test.adjusted), test.verdict])
            if rows:
                yield Table([*columns, "p, Holm", "verdict"], rows, title)
        both = [*self.claims, *self.ablations]
        if both:
            text = "Probability of improvement of each pair, with 95 % intervals"
            yield Picture("improvement", text, improvements_figure(both, self.palette))

    def _power(self) -> Iterator[Any]:
        yield (
            f"The chance to see a true difference of scores by the test above, at the level {ALPHA} / tests of the "
            "family, if runs scatter around it as these did, and the seeds that it takes for a power of 80 %."
        )
        rows: list[Row] = []
        scattered = [test for test in self.claims if not all(_flat(self.scores[arm]) for arm in (test.arm, test.other))]
        for test in scattered:
            for effect in self.plan.effects:
                found, seeds = stated_power(test, self.scores, effect), needed(test, self.scores, effect)
                cells = [number(effect), Cell(f"{found.power:.0%} +- {1.96 * found.error:.0%}", found.power)]
                wanted = Cell("more than 160", 161) if seeds is None else number(seeds)
                rows.append([test.arm, test.other, cells[0], number(found.runs), cells[1], wanted])
        if rows:
            yield Table(["arm", "against", "true difference", "seeds", "power", "seeds for 80 %"], rows)
        for test in self.claims:
            if test not in scattered:
                yield f"{test.arm} and {test.other}: all runs of an arm ended alike, so no power can be told."

    def _complexity(self) -> Iterator[Any]:
        rows: list[Row] = []
        for task, config in self.plan.tasks.items():
            if config.threshold is None:
                continue
            for arm in self.plan.arms:
                steps, found = curves(self.plan, task, arm, self.results)
                if found and steps:
                    shares = [sample_complexity(steps, found, config.threshold, share) for share in (0.5, 0.8)]
                    rows.append([task, arm, number(config.threshold), *map(number, shares)])
        if rows:
            unit = self.plan.kind.unit
            yield f"{unit.capitalize()} until so many runs have once reached the threshold in an evaluation."
            yield Table(["environment", "arm", "threshold", "half of the runs", "80 % of the runs"], rows)


def write(report: Report, folder: Path) -> None:
    """Write report.html, report.md, its figures, and results.json."""
    report.document().write(folder)
    with atomic_file(folder / "results.json") as file:
        file.write(json.dumps(report.figures(), indent=1).encode() + b"\n")


def _plain(test: Tested) -> dict[str, Any]:
    values = {"difference": test.difference._asdict(), "improvement": test.improvement._asdict()}
    return {
        "arm": test.arm,
        "against": test.other,
        **values,
        "p": test.p,
        "holm": test.adjusted,
        "verdict": test.verdict,
    }


def _dead(runs: Sequence[Result]) -> bool:
    """Whether all runs have ended and none of them finished: what they count as says nothing of the arm."""
    return all(run.state == "failed" for run in runs)


def _idle(runs: Sequence[Result]) -> bool:
    """Whether nothing that the runs did was done by the part that their arm is named for."""
    done = [run.work for run in runs if run.state == "finished"]
    return bool(done) and all(work.get("fallback_rate") == 1 or work.get("choices") == 0 for work in done)


def _words(test: Tested) -> str:
    """A verdict as the predicate of an arm."""
    return {"no difference seen": "shows no difference at this power"}.get(test.verdict, test.verdict)


def _signed(gap: Interval) -> str:
    way = "higher" if gap.value > 0 else "lower"
    size = f"{number(abs(gap.value)).text} {way}" if gap.value else "as high"
    return f"{size} (95 % interval {number(gap.low).text} to {number(gap.high).text})"


def _range(found: Interval) -> list[Cell]:
    return [number(found.value), Cell(f"{number(found.low).text} to {number(found.high).text}", found.low)]


def _flat(tasks: Mapping[str, Sequence[float]]) -> bool:
    return all(len(set(values)) == 1 for values in tasks.values())


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
