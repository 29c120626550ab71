"""Published returns: what the collections hold, and which tasks they are of."""

import csv
from math import isfinite
from pathlib import Path

import pytest

from worldmodel.cli.compose import UsageError
from worldmodel.compare.anchor import COLUMNS, FOLDER, Anchor, Anchors, read_anchors

SIX = ("cartpole-swingup", "walker-walk", "cheetah-run", "reacher-hard", "pendulum-swingup", "hopper-stand")
COLLECTIONS = sorted(FOLDER.glob("*.csv"))


@pytest.mark.parametrize("path", COLLECTIONS, ids=lambda path: path.stem)
def test_a_collection_has_one_finite_return_with_its_source_for_a_method_and_steps(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS and all(len(row) == len(COLUMNS) and all(row) for row in rows)
    assert len({tuple(row[:3]) for row in rows}) == len(rows)
    found = read_anchors(path.stem)
    for task, method, steps, value, source in rows[1:]:
        same = [one for one in found.of(task, int(steps)) if (one.method, one.task) == (method, task)]
        assert same == [Anchor(task, method, int(steps), float(value), source)]
        assert isfinite(float(value)) and int(steps) > 0


@pytest.mark.parametrize(("method", "mean"), [("TD-MPC2", 581), ("DreamerV3", 465), ("BRO UTD 10", 823)])
def test_means_over_six_tasks_are_the_published_ones(method: str, mean: int) -> None:
    """As they were computed from the files that the returns are from; a return is rounded to one."""
    found = read_anchors("dmc_proprio")
    returns = [one.value for task in SIX for one in found.of(f"dm_control/{task}-v0", 100_000) if one.method == method]
    assert len(returns) == 6 and sum(returns) / 6 == pytest.approx(mean, abs=0.51)


def test_versions_of_a_task_are_one_and_other_tasks_are_others() -> None:
    gymnasium = read_anchors("gymnasium")
    hopper = gymnasium.of("Hopper-v5", 100_000)
    assert {one.task for one in hopper} == {"Hopper-v4"}
    assert {one.method: one.value for one in hopper}["SAC"] == 1103
    assert {one.task for one in gymnasium.of("LunarLander-v3")} == {"LunarLander-v2"}
    assert {one.task for one in gymnasium.of("LunarLanderContinuous-v3")} == {"LunarLanderContinuous-v2"}
    assert gymnasium.of("MiniGrid-DoorKey-5x5-v0", 100_000)[0].value == 0.964
    assert gymnasium.of("FrozenLake-v1") == gymnasium.of("my_envs:Walk-v0") == []
    assert Anchors("mine", [Anchor("Walk", "A", 1, 2.0, "b")]).of("my_envs:Walk-v0")


def test_an_unknown_collection_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"^suite\.anchors=dmc: dmc_proprio, gymnasium or null is accepted$"):
        read_anchors("dmc")
