"""Arms beside published agents: means by hand, failed and missing runs, and the report of an arm alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.worldmodel.compare.comparisons import fill, plan
from worldmodel.compare.anchor import Anchor, Anchors
from worldmodel.compare.execution import Failures
from worldmodel.compare.plan import Plan
from worldmodel.compare.report import Report, write
from worldmodel.compare.results import collected

PENDULUM = 'suite.environments.pendulum={words: ["env=pendulum"], steps: 600, low: 10, high: 500}'
ALONE = ["suite=smoke", "arms=[classical]", "controls=false", PENDULUM]
ANCHORS = Anchors(
    "mine",
    [
        Anchor("CartPole-v1", "A", 600, 100.0, "paper A"),
        Anchor("Pendulum", "A", 600, 300.0, "paper A"),
        Anchor("CartPole-v0", "B", 600, 160.0, "paper B"),
        Anchor("Pendulum-v1", "B", 6000, 1.0, "paper B"),
        Anchor("Pendulum-v1", "C", 1200, 2.0, "paper C"),
        Anchor("Pendulum-v1", "C", 1300, 3.0, "paper C"),
    ],
)
RETURNS = {("cartpole", 0): 100.0, ("cartpole", 1): 200.0, ("pendulum", 0): 250.0, ("pendulum", 1): 270.0}


def reported(made: Plan, folder: Path, anchors: Anchors | None = ANCHORS) -> Report:
    return Report(made, collected(made, folder, Failures(folder)), ["suite=smoke"], None, anchors)


def row(text: str, agent: str, column: int = 0) -> list[str]:
    """The cells of the table row of an agent, the first after so many others of it."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.split("\n")
        if line.startswith(f"| {agent} |")
    ][column]


def test_means_and_wins_are_those_by_hand(tmp_path: Path) -> None:
    made = plan(*ALONE)
    fill(made, tmp_path, lambda task, arm, seed: RETURNS[task, seed])
    found = reported(made, tmp_path).standings
    assert found and found.unit == "return"
    mean = found.overall("classical")
    assert mean and mean.value == pytest.approx((150 + 260) / 2)
    assert found.methods() == {"A": pytest.approx((100 + 300) / 2), "B": None}  # B has one of both, C no equal steps
    assert found.ahead("classical", "A") == (1, 2)
    assert found.ahead("classical", "B") == (0, 1)
    assert found.ahead("classical", "C") == (0, 0)
    assert found.marks("pendulum") == [("A", 600, 300.0), ("B at 6,000", 6000, 1.0), ("C at 1,200", 1200, 2.0)]


def test_tasks_of_other_scales_are_averaged_as_scores(tmp_path: Path) -> None:
    made = plan(*ALONE[:3], PENDULUM.replace("low: 10", "low: 0"))
    fill(made, tmp_path, lambda task, arm, seed: RETURNS[task, seed])
    found = reported(made, tmp_path).standings
    assert found and found.unit == "score"
    mean = found.overall("classical")
    assert mean and mean.value == pytest.approx(np.mean([140 / 490, 260 / 500]))
    assert found.methods()["A"] == pytest.approx(np.mean([90 / 490, 300 / 500]))


@pytest.mark.slow
def test_the_report_of_an_arm_alone_judges_nothing(tmp_path: Path) -> None:
    made = plan(*ALONE)
    fill(made, tmp_path, lambda task, arm, seed: RETURNS[task, seed])
    write(reported(made, tmp_path), tmp_path)
    text = (tmp_path / "report.md").read_text()
    lead = "classical: mean return 205 over 2 tasks, 2 seeds each. Published means at equal steps: 1 of 1 are lower."
    assert text.split("\n")[2] == f"**{lead}**"
    for absent in ("verdict", "Verdict", "permutation", "Holm", " p =", "## Tests", "## Power", "IQM of returns"):
        assert absent not in text
    assert row(text, "A")[:5] == ["A", "published", "200", "-", "1 of 2"]
    assert row(text, "B")[:5] == ["B", "published", "-", "-", "0 of 1"]
    assert row(text, "classical", 1)[2:] == ["150", "-485 to 785", "100, 200", "1", "-"]  # 12.706 x 50 either way
    assert row(text, "B (CartPole-v0)")[2] == "160"
    assert row(text, "C")[2:] == ["-", "-", "-", "-", "2 at 1,200; 3 at 1,300"]
    assert "| paper B | B |" in text and "pendulum: Pendulum-v1, action repeat 1." in text
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["result"] == lead and found["tests"] == []
    assert found["standings"]["means"]["A"] == 200 and found["standings"]["ahead"]["classical"]["A"] == [1, 2]
    assert (tmp_path / "figures/curves-pendulum.png").exists() and "at the right edge" in text


def test_failed_runs_count_and_missing_ones_are_told(tmp_path: Path) -> None:
    made = plan(*ALONE)
    fill(made, tmp_path, lambda task, arm, seed: None if seed else RETURNS[task, seed])
    begun = reported(made, tmp_path)
    assert begun.lead == "2 of 4 runs have not ended."
    failures = Failures(tmp_path)
    for name in 2 * ["pendulum/classical/seed-1"]:
        failures.add(name, "exit code 1: it broke")
    found = reported(made, tmp_path)
    assert found.lead == "1 of 4 runs have not ended." and found.standings
    mean = found.standings.mean("classical", "pendulum")
    assert mean and mean.value == (250 + 10) / 2  # a failed one has what counts as 0
    table = found.standings._of_task("pendulum")
    (ours,) = [line for line in table.rows if line[0] == "classical"]
    assert ours[4] == "250, failed"
    failures.add("cartpole/classical/seed-1", "it broke")
    failures.add("cartpole/classical/seed-1", "it broke")
    assert "2 of 4 runs failed." in reported(made, tmp_path).lead


@pytest.mark.slow
def test_published_agents_stand_beside_several_arms_too(tmp_path: Path) -> None:
    made = plan("suite=smoke", "arms=[classical,ppo]", "controls=false", "seeds=10")
    fill(made, tmp_path, lambda task, arm, seed: 100.0 + seed + 90 * (arm == "ppo"))
    found = reported(made, tmp_path)
    assert found.lead == "Against classical at equal environment steps: ppo helps."
    write(found, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "## Verdict" in text and "## Standings" in text and "## Tests" in text
    places = [
        text.index(f"\n| {name} |", text.index("## Standings")) for name in ("ppo", "B (CartPole-v0)", "classical", "A")
    ]
    assert places == sorted(places)


def test_an_arm_alone_without_anchors_has_its_own_table(tmp_path: Path) -> None:
    made = plan("suite=smoke", "arms=[classical]", "controls=false")
    fill(made, tmp_path, lambda task, arm, seed: 99.0 + 2 * seed)
    found = reported(made, tmp_path, None)
    assert found.lead == "classical: mean return 100 in cartpole, 2 seeds each."
    assert found.standings
    (table,) = [block for block in found.standings.blocks() if not isinstance(block, str)]
    assert list(table.columns) == [
        "agent", "return at 600 environment steps", "95 % interval", "each seed", "minutes of a run"
    ]  # fmt: skip
