"""`python -m worldmodel.compare`: the plan, its runs, and the report."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

from worldmodel.compare.anchor import read_anchors
from worldmodel.compare.config import CompareConfig
from worldmodel.compare.execution import FAILURES, Failures, execute
from worldmodel.compare.plan import PLAN, Plan
from worldmodel.compare.planning import planned
from worldmodel.compare.report import Report, write
from worldmodel.compare.results import collected
from worldmodel.compare.tensorboard import FILE, write_layout
from worldmodel.runs.folder import RunFolder

_UNTOLD = ("execute=", "launcher")  # words that change nothing in the report


def _told(plan: Plan, workers: int, execute: bool) -> Iterator[str]:
    """What will be run: seeds, environments with their steps, and arms."""
    yield f"seeds: {plan.seeding[0]} to {plan.seeding[-1]}"
    yield "environments: " + ", ".join(f"{name} ({task.steps} {plan.kind.unit})" for name, task in plan.tasks.items())
    yield "arms: " + ", ".join(f"{name} ({arm.role})" for name, arm in plan.arms.items())
    if execute:
        yield f"{workers} runs at a time; execute=false reports what is there and runs nothing; Ctrl-C saves"


def run(config: CompareConfig, words: list[str]) -> int:
    """Run what has not been run yet, and report; returns the exit code."""
    plan = planned(config)
    anchors = read_anchors(config.suite.anchors) if config.suite.anchors is not None else None
    with ExitStack() as stack:
        folder = stack.enter_context(RunFolder(config.logdir))
        if not (folder.path / PLAN).exists():
            folder.refuse_foreign((FAILURES, "report.*", "results.json", "figures", FILE), PLAN)
        workers = min(config.workers, len(plan.runs))
        launcher = stack.enter_context(closing(config.launcher.open(workers))) if config.execute else None
        plan.write(folder.path)
        failures = Failures(folder.path)
        print(f"{folder.path}: {len(plan.runs)} runs of {len(plan.arms)} arms; plan {plan.hash[:12]}", flush=True)
        print("\n".join(_told(plan, workers, config.execute)), flush=True)
        if launcher is not None:
            execute(plan.runs, folder.path, launcher, workers, failures)
        results = collected(plan, folder.path, failures, config.device)
        told = [word for word in words if not word.startswith(_UNTOLD)]
        report = Report(plan, results, told, config.device, anchors)
        write(report, folder.path)
        write_layout(folder.path, plan, results)
        print(f"{report.lead}\n{folder.path / 'report.html'}")
    return 0
