"""What a report says before it is believed: controls, failures, single environments, what runs really were."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.worldmodel.compare.comparisons import fill, plan, report
from worldmodel.compare.plan import Plan
from worldmodel.compare.report import Report
from worldmodel.runs.folder import RunFolderError

ARMS = ["suite=smoke", "seeds=10", "arms=[classical,annealed]"]
FAR = {"classical": 100.0, "annealed": 300.0}


def filled(made: Plan, folder: Path, means: dict[str, float], least: float = 50.0) -> Report:
    """The report of runs that scatter a little around the mean of their arm."""
    fill(made, folder, lambda task, arm, seed: means.get(arm, least) + (7 * seed + len(arm)) % 10)
    return report(made, folder)


def verdict(found: Report) -> str:
    """All that stands under the verdict."""
    return "\n".join(str(block) for block in found._verdict())


def change(path: Path, how: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the last row of a JSON file."""
    *before, last = path.read_text().splitlines()
    path.write_text("".join(f"{line}\n" for line in [*before, json.dumps(how(json.loads(last)))]))


@pytest.mark.parametrize(
    ("twin", "lead", "caveat"),
    [
        (400.0, "helps, but less than its control annealed_pivotal.", "What helps is not the quantum part"),
        (300.0, "helps, but is not shown to be better than its control annealed_pivotal.", "need not be the quantum"),
        (150.0, "helps.", ""),
    ],
)
def test_the_lead_tells_of_controls(tmp_path: Path, twin: float, lead: str, caveat: str) -> None:
    found = filled(plan(*ARMS), tmp_path, FAR | {"annealed_pivotal": twin})
    assert found.lead == f"Against classical at equal environment steps: annealed {lead}"
    assert caveat in verdict(found) and (caveat or "What helps" not in verdict(found))


def test_the_lead_tells_that_no_control_took_part(tmp_path: Path) -> None:
    found = filled(plan(*ARMS, "controls=false"), tmp_path, FAR)
    assert found.lead.endswith("annealed helps, with no control of it to tell why.")
    made = plan("suite=smoke", "seeds=10", "arms=[classical,prioritized]", "controls=false")  # is classical itself
    assert filled(made, tmp_path / "other", {"classical": 100.0, "prioritized": 300.0}).lead.endswith(
        "prioritized helps."
    )


@pytest.mark.slow
def test_effects_in_single_environments_are_found_there(tmp_path: Path) -> None:
    """Worse in one and better in another, which all environments together do not show."""
    made = plan("suite=classic", "seeds=10", "arms=[classical,annealed]", "controls=[annealed_pivotal]")
    level = {"cartpole": 400.0, "acrobot": -200.0, "pendulum": -1200.0}
    effect = {"cartpole": -29.4, "pendulum": 75.0}  # scores of -0.06 and 0.06
    fill(
        made,
        tmp_path,
        lambda task, arm, seed: level[task] + seed + effect.get(task, 0.0) * (arm == "annealed"),
    )
    found = report(made, tmp_path)
    assert found.lead.endswith("annealed shows no difference at this power (hurts in cartpole; helps in pendulum).")
    assert {test.family for test in found.single[0]} == {3} and {test.family for test in found.single[1]} == {3}
    text = "\n".join(str(block) for block in found._tests())
    assert "Arms against the reference, in each environment." in text and "annealed in cartpole" in text
    assert filled(plan(*ARMS), tmp_path / "one", FAR).single == [[], []]


@pytest.mark.parametrize("metric", ["final", "area"])
def test_a_run_without_finite_evaluations_has_failed(tmp_path: Path, metric: str) -> None:
    made = plan(*ARMS, f"suite.metric={metric}", "controls=false")
    filled(made, tmp_path, FAR)
    change(tmp_path / "cartpole/annealed/seed-3/metrics.jsonl", lambda row: row | {"eval/return": None})
    (tmp_path / "cartpole/annealed/seed-4/metrics.jsonl").write_text("")
    found = report(made, tmp_path)
    assert [run.run.name for run in found.failed] == [f"cartpole/annealed/seed-{seed}" for seed in (3, 4)]
    assert found.returns["annealed"]["cartpole"][3:5] == [10.0, 10.0]  # what counts as 0
    assert "(2 of 10 runs of annealed failed)" in found.lead
    assert "not all of its evaluations are finite" in str(found.document().sections)


def test_an_arm_none_of_whose_runs_finished_is_not_judged(tmp_path: Path) -> None:
    made = plan(*ARMS, "controls=false")
    fill(made, tmp_path, lambda task, arm, seed: None if arm == "annealed" else 100.0 + seed)
    reasons = {f"cartpole/annealed/seed-{seed}": ["it broke"] * 2 for seed in range(10)}
    (tmp_path / "failures.json").write_text(json.dumps(reasons))
    found = report(made, tmp_path)
    assert found.lead.endswith("annealed no verdict (10 of 10 runs of annealed failed).")


def test_what_is_evaluated_again_changes_nothing(tmp_path: Path) -> None:
    made = plan(*ARMS, "controls=false")
    before = filled(made, tmp_path, FAR).returns
    change(tmp_path / "cartpole/annealed/seed-3/evaluation.json", lambda told: told | {"mean": 500.0, "step": 5})
    assert report(made, tmp_path).returns == before


def test_runs_of_another_configuration_are_refused(tmp_path: Path) -> None:
    made = plan(*ARMS, "controls=false")
    filled(made, tmp_path, FAR)
    path = tmp_path / "cartpole/annealed/seed-3/config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"seed": 4}))
    with pytest.raises(RunFolderError, match=r"seed-3: holds a run that is not of this plan: seed was 4, is 3; remove"):
        report(made, tmp_path)
    path.unlink()
    with pytest.raises(RunFolderError, match=r"config\.yaml: is damaged; remove its folder"):
        report(made, tmp_path)


def test_warnings_come_before_the_verdicts(tmp_path: Path) -> None:
    """Runs of other versions, a baseline that was never trained, and runs that ended before their time."""
    made = plan("suite=smoke", "seeds=10", "arms=[classical,annealed]", "controls=[ppo]")
    assert "**" not in verdict(filled(made, tmp_path, FAR)).split("- ")[0].split("[")[0]
    path = tmp_path / "cartpole/annealed/seed-3/config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"commit": "another"}))
    for seed in range(10):
        change(tmp_path / f"cartpole/ppo/seed-{seed}/metrics.jsonl", lambda row: row | {"updates": 0.0})
        first = tmp_path / f"cartpole/ppo/seed-{seed}/metrics.jsonl"
        first.write_text(first.read_text().replace('"updates": 10', '"updates": 0'))
    found = report(made, tmp_path)
    told = list(found._verdict())[:4]
    assert "different versions or on different machines" in told[1]
    assert told[2] == "**ppo made no update in cartpole, so that it is a policy that was never trained.**"
    words = ("suite.budget=seconds", "suite.environments.cartpole.seconds=60", "controls=false")
    timed = verdict(filled(plan(*ARMS, *words), tmp_path / "timed", FAR))
    assert "10 runs of annealed in cartpole ended with their steps, before their time was over." in timed


@pytest.mark.parametrize(("arm", "told"), [("recall", "replay/fallback_rate"), ("hybrid", "quantum/choices")])
def test_an_arm_that_did_nothing_of_its_own_is_not_judged(tmp_path: Path, arm: str, told: str) -> None:
    """Where its sampler always fell back, or its solver was never asked; one run that differs is enough to judge."""
    made = plan("suite=smoke", "seeds=10", f"arms=[classical,{arm}]", "controls=false")
    filled(made, tmp_path, {"classical": 100.0, arm: 300.0})
    idle = {"replay/fallback_rate": 1.0, "quantum/choices": 0.0}[told]
    for seed in range(10):
        change(tmp_path / f"cartpole/{arm}/seed-{seed}/metrics.jsonl", lambda row: row | {told: idle})
    found = report(made, tmp_path)
    assert found.lead.endswith(f": {arm} no verdict.") and {test.verdict for test in found.claims} == {"no verdict"}
    assert f"**{arm} did nothing of its own in cartpole: what stands in for it did all" in verdict(found)
    change(tmp_path / f"cartpole/{arm}/seed-3/metrics.jsonl", lambda row: row | {told: 0.5})
    found = report(made, tmp_path)
    assert f"{arm} helps" in found.lead and "nothing of its own" not in verdict(found)


def test_what_the_parts_did_is_told(tmp_path: Path) -> None:
    made = plan("suite=smoke", "seeds=10", "arms=[classical,hybrid]", "controls=false")
    filled(made, tmp_path, {"classical": 100.0, "hybrid": 100.0})
    for seed in range(10):
        done = {"quantum/choices": seed, "quantum/acceptance": 0.5}
        change(tmp_path / f"cartpole/hybrid/seed-{seed}/metrics.jsonl", lambda row, done=done: row | done)
    (costs,) = (section for section in report(made, tmp_path).document().sections if section.name == "costs")
    table = next(block for block in costs.blocks if getattr(block, "caption", "").startswith("What its parts did"))
    assert table.columns[1:3] == ["update directions chosen", "share of them, or of a chain's proposals, taken"]
    assert [[getattr(cell, "text", cell) for cell in row[:3]] for row in table.rows] == [["hybrid", "4.50", "0.500"]]


def test_queries_alone_are_no_jobs(tmp_path: Path) -> None:
    made = plan("suite=smoke", "seeds=10", "arms=[classical,recall]", "controls=false")
    filled(made, tmp_path, {"classical": 100.0, "recall": 100.0})
    for seed in range(10):
        change(tmp_path / f"cartpole/recall/seed-{seed}/metrics.jsonl", lambda row: row | {"replay/queries": 7.0})
    (costs,) = (section for section in report(made, tmp_path).document().sections if section.name == "costs")
    assert any(str(block).startswith("No run sent anything to a quantum backend") for block in costs.blocks)
    (table,) = (block for block in costs.blocks if getattr(block, "caption", "").startswith("What solvers simulated"))
    assert [[getattr(cell, "text", cell) for cell in row] for row in table.rows] == [["recall", "0", "0", "70"]]
