"""Whole runs whose quantum parts go on learning their angles: their metrics, and that they continue exactly."""

from pathlib import Path
from typing import Any

import pytest

from tests.worldmodel.train.runs import line_of, rows, train

CONSTANT = ("optimizer.final_rate=1", "behavior.entropy=1e-3", "behavior.final_entropy=1e-3")  # over any run
LEARNING = ("solver=qaoa", "solver.angles=learned", "solver.adapt=true", "solver.layers=1", "solver.shots=32")
DIRECTION = (
    *("optimizer=hybrid", *LEARNING, "solver.evaluations=0", "optimizer.every=2", "optimizer.slowest=1"),
    *("optimizer.blocks=2", "optimizer.windows=2", "optimizer.moves=[skip,base,double]", "log.every=20"),
)
REPLAY = (
    *("replay=annealed", "replay.engine=qaoa", "replay.pool=8", "replay.fresh=0", "replay.plans=2", "log.every=20"),
    "replay.options={angles: learned, adapt: true, layers: 1, evaluations: 0, shots: 32}",
)


def figures(folder: Path, prefix: str) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if not key.startswith("time/")}
        for row in rows(folder)
        if f"{prefix}/adaptation_met" in row
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "prefix"), [(DIRECTION, "quantum"), (REPLAY, "replay")], ids=["direction", "replay"])
def test_continued_equals_not_stopped(words: tuple[str, ...], prefix: str, tmp_path: Path) -> None:
    words = (*words, *CONSTANT, "deterministic=true", "eval.final_episodes=1")
    assert train(*words, "steps=200", f"logdir={tmp_path / 'whole'}") == 0
    for steps in (120, 200):
        assert train(*words, f"steps={steps}", f"logdir={tmp_path / 'run'}") == 0
    whole, run = (figures(tmp_path / name, prefix) for name in ("whole", "run"))
    last = whole[-1]
    assert last[f"{prefix}/adaptation_met"] >= 8 and last[f"{prefix}/adaptation_circuits"] > 0
    assert 0 < last[f"{prefix}/adaptation_before"] <= 1 and 0 < last[f"{prefix}/adaptation_after"] <= 1
    late = [row for row in whole if row["step"] > 120]
    assert len(late) >= 3 and late == [row for row in run if row["step"] > 120]


def test_it_is_refused_without_a_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("solver=qaoa", "solver.adapt=true", f"logdir={tmp_path / 'run'}") == 2
    assert "solver.adapt=True" in line_of(capsys.readouterr().err)
