"""Sweeps of noise and shots: a tiny run end to end, breakdown and crossing by hand, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.worldmodel.train.runs import evaluate, line_of, train
from worldmodel.evaluate.sweep import Cell, breakdown, crossing

CIRCUIT = ("model.heads.actor=circuit", "circuit.qubits=2", "circuit.layers=1")
SWEEP = ("episodes=3", "sweep.noise=[0.1,0,0.5]", "sweep.shots=[10,null]")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose actor is a circuit, one that learned in noise, and a classical one."""
    path = tmp_path_factory.mktemp("runs")
    assert train("steps=50", *CIRCUIT, f"logdir={path / 'clean'}") == 0
    noise = ("noise=phase_damping", "noise.p=0.05")
    assert train("steps=50", *CIRCUIT, *noise, f"logdir={path / 'noisy'}") == 0
    assert train("steps=50", f"logdir={path / 'classical'}") == 0
    return path


def result(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "sweep.json").read_text())
    return found


@pytest.mark.slow
def test_a_sweep_of_a_tiny_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice the same; the clean cell is the plain evaluation; the control's return is its own evaluation."""
    run, other = runs / "clean", runs / "classical"
    assert evaluate(f"logdir={run}", *SWEEP, f"sweep.control={other}") == 0
    out, found = capsys.readouterr().out, result(run)
    assert [(cell["noise"], cell["shots"]) for cell in found["cells"]] == [
        (noise, shots) for shots in (10, None) for noise in (0.0, 0.1, 0.5)
    ]
    assert {cell["test"] for cell in found["cells"]} == {"train clean, test clean", "train clean, test noisy"}
    assert found["model"] == "depolarizing" and found["trained"] == "clean"
    for folder, returns in ((run, found["cells"][3]["returns"]), (other, None)):
        assert evaluate(f"logdir={folder}", "episodes=3") == 0
        played = json.loads((folder / "evaluations.jsonl").read_text().splitlines()[-1])
        mean = found["references"]["clean" if folder == run else "control"]["value"]
        assert played["mean"] == pytest.approx(mean) and returns in (None, played["returns"])
    assert (run / "sweep.svg").read_text().startswith("<svg") and (run / "sweep.png").read_bytes()[1:4] == b"PNG"
    for cell in found["cells"]:
        assert f"{cell['value']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}]" in out
    assert len(found["breakdown"]) == len(found["crossing"]) == 2 and out.count("breakdown, ") == 2
    capsys.readouterr()
    assert evaluate(f"logdir={run}", *SWEEP, f"sweep.control={other}") == 0
    assert result(run) == found


@pytest.mark.slow
def test_a_run_that_learned_in_noise_is_named_so(runs: Path) -> None:
    assert evaluate(f"logdir={runs / 'noisy'}", "episodes=1", "sweep.noise=[0,0.1]") == 0
    found = result(runs / "noisy")
    assert found["model"] == "phase_damping"
    assert [cell["test"] for cell in found["cells"]] == ["train noisy, test clean", "train noisy, test noisy"]
    assert found["cells"][0]["low"] is None  # one episode has no interval


def cells(*returns: tuple[float, ...]) -> list[Cell]:
    return [Cell(noise, None, played) for noise, played in zip((0.0, 0.01, 0.1), returns, strict=True)]


def test_the_breakdown_is_the_largest_noise_that_keeps_nine_tenths() -> None:
    """Student's t of two episodes a, a + 2 h: half a width of 12.706 h."""
    found = cells((100.0, 100.0), (91.0, 91.0), (89.0, 89.0))
    assert breakdown(found, 0.0, 100.0) == 0.01
    assert breakdown(found, -20.0, 100.0) == 0.1  # 88 is needed
    assert breakdown(cells((100.0, 100.0), (91.0, 99.0), (100.0, 100.0)), 0.0, 100.0) == 0.1
    assert breakdown(cells((80.0, 120.0), (91.0, 99.0), (50.0, 50.0)), 0.0, 100.0) is None
    assert breakdown(cells((9.0,), (9.0,), (9.0,)), 0.0, 9.0) is None
    assert breakdown(found, 100.0, 100.0) is None  # nothing was learned


def test_the_crossing_lies_between_cells() -> None:
    found = cells((100.0, 100.0), (90.0, 90.0), (60.0, 60.0))
    assert crossing(found, 75.0) == pytest.approx(0.055)
    assert crossing(found, 90.0) == pytest.approx(0.01)
    assert crossing(found, 100.0) == 0.0
    assert crossing(found, 10.0) is None


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["sweep.noise=[]"], "sweep.noise=[]: a list of different values is accepted"),
        (["sweep.shots=[10,10]"], "sweep.shots=[10, 10]: a list of different values is accepted"),
        (["sweep.noise=[0.9]"], "sweep.noise.0=0.9: must be less than or equal to 0.75"),
        (["sweep.shots=[0]"], "sweep.shots.0=0: must be greater than or equal to 1"),
        (["sweep.model=readout"], "sweep.model=readout: is accepted with sweep.noise or sweep.shots"),
        (["sweep.noise=[0.1]", "video=a.gif"], "video=a.gif: null is accepted with sweep.noise and sweep.shots"),
    ],
)
def test_what_is_no_sweep_is_refused_in_one_line(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("logdir=x", *words) == 2
    assert line_of(capsys.readouterr().err).startswith(line)


@pytest.mark.slow
def test_what_does_not_go_with_a_run_is_refused_in_one_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, models = runs / "clean", "amplitude_damping, depolarizing, device, phase_damping, readout"
    assert train("steps=50", "env.id=Acrobot-v1", f"logdir={runs / 'other'}") == 0
    capsys.readouterr()
    other, classical = runs / "other", runs / "classical"
    for folder, words, line in (
        (run, ("sweep.noise=[0.1]", "sweep.model=x"), f"sweep.model=x: {models} are accepted"),
        (
            run,
            ("sweep.noise=[0.6]", "sweep.model=readout"),
            "sweep.noise.p=0.6: input should be less than or equal to 0.5",
        ),
        (
            run,
            ("sweep.noise=[0]", f"sweep.control={other}"),
            f"sweep.control={other}: plays Acrobot-v1; a run of CartPole-v1 is accepted",
        ),
        (
            classical,
            ("sweep.noise=[0,0.1]",),
            f"logdir={classical}: sweep is accepted for runs that act by circuits, as with model.heads.actor=circuit",
        ),
    ):
        assert evaluate(f"logdir={folder}", *words) == 2
        assert line_of(capsys.readouterr().err) == line
    assert not (run / "lock").exists()
