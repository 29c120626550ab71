"""`python -m worldmodel.evaluate`: what it prints, writes and renders, and what it leaves alone."""

import json
import shutil
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from tests.worldmodel.train.runs import evaluate, line_of, rows, timeless, train
from tests.worldmodel.worlds import Single
from worldmodel.train import episodes

PICTURE = "env.id=tests.worldmodel.worlds:Picture-v0"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    assert train("steps=80", "eval.every=50", "eval.episodes=1", "eval.final_episodes=3", f"logdir={path}") == 0
    return path


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    assert train("steps=50", PICTURE, f"logdir={path}") == 0
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def result(run: Path) -> dict[str, object]:
    values: dict[str, object] = json.loads((run / "evaluation.json").read_text())
    return values


def evaluations(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]


def test_it_repeats_the_evaluation_at_the_end_of_training(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = result(run)
    (run / "evaluation.json").unlink()
    assert evaluate(f"logdir={run}", "episodes=3") == 0
    after = result(run)
    assert {**after, "finished": 80} == before and after["finished"] is None
    out = capsys.readouterr().out
    for number, value in enumerate(after["returns"], 1):  # type: ignore[arg-type]
        assert f"episode {number}: return {value:.2f}, {value:.0f} steps\n" in out
    assert f"mean {after['mean']:.2f}, std {after['std']:.2f} over 3 episodes\n" in out
    assert sorted(path.name for path in run.iterdir() if path.name == "lock") == []


def test_it_says_of_a_finished_run_that_it_is_finished(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also after evaluating a checkpoint from before the end."""
    before = (run / "evaluation.json").read_bytes()
    for seed in (1, 2):
        assert evaluate(f"logdir={run}", "episodes=1", "checkpoint=best", f"seed={seed}") == 0
    assert f"{run / 'evaluations.jsonl'}: holds this result" in capsys.readouterr().out
    assert (run / "evaluation.json").read_bytes() == before and result(run)["finished"] == 80
    found = evaluations(run)
    assert [row["seed"] for row in found] == [1, 2]
    assert all(row["checkpoint"] == "checkpoints/best.pt" and row["episodes"] == 1 for row in found)
    metrics = (run / "metrics.jsonl").read_bytes()
    words = ("steps=80", "eval.every=50", "eval.episodes=1", "eval.final_episodes=3")
    assert train(*words, f"logdir={run}") == 0
    assert "finished with return" in capsys.readouterr().out
    assert (run / "metrics.jsonl").read_bytes() == metrics


def test_an_unfinished_run_does_not_look_finished(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed between its last checkpoint and its evaluation: the evaluation is still to be done by training."""
    (run / "evaluation.json").unlink()
    assert evaluate(f"logdir={run}", "episodes=1") == 0
    assert result(run)["step"] == 80
    words = ("steps=80", "eval.every=50", "eval.episodes=1", "eval.final_episodes=3")
    assert train(*words, f"logdir={run}") == 0
    assert "continuing at step 80" in capsys.readouterr().out
    assert result(run)["episodes"] == 3 and result(run)["finished"] == 80
    assert [row["step"] for row in rows(run) if "eval/return" in row] == [50, 80]


def test_another_seed_gives_other_episodes(run: Path) -> None:
    returns = []
    for seed in ("null", "1", "1"):
        assert evaluate(f"logdir={run}", "episodes=4", f"seed={seed}") == 0
        returns.append(evaluations(run)[-1]["returns"])
    assert returns[0] != returns[1] == returns[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_video(picture: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / f"film.{kind}"
    assert evaluate(f"logdir={picture}", "episodes=1", f"video={film}") == 0
    frames = imageio.imread(film)
    assert len(frames) == 12  # the environment's brightness is 20 times the step
    assert np.allclose(frames.reshape(12, -1).mean(axis=1), 20 * np.arange(12), atol=6)
    about = imageio.immeta(film)
    assert about["fps"] == 10 if kind == "mp4" else about["duration"] == 100
    assert f"{film}: an episode with return" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [film.name]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "logdir=VALUE: must be given"),
        (("logdir={tmp}/none",), "logdir={tmp}/none: holds no run: it has no config.yaml"),
        (("logdir={run}", "video=film.avi"), "film.avi: the name of an .mp4 or .gif file is accepted"),
        (("logdir={run}", "video={tmp}/none/film.mp4"), "film.mp4: a file in a folder that exists is accepted"),
        (("logdir={run}", "checkpoint=none"), "none: holds no checkpoint; "),
        (("logdir={run}", "checkpoint={run}/metrics.jsonl"), "metrics.jsonl: cannot be read ("),
        (("logdir={run}", "episodes=0"), "episodes=0: must be greater than or equal to 1"),
        (("logdir={run}", "video={tmp}/film.gif", "device=gpu"), "device=gpu: auto, cpu, cuda or cuda:N is accepted"),
        (("logdir={run}", "episode=3"), "episode=3: unknown key; did you mean episodes?"),
    ],
)
def test_wrong_input(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], line: str
) -> None:
    before = (finished / "evaluation.json").read_bytes()
    given = [word.format(run=finished, tmp=tmp_path) for word in words]
    assert evaluate(*given) == 2
    out, err = capsys.readouterr()
    assert line.format(run=finished, tmp=tmp_path) in line_of(err) and out == ""
    assert (finished / "evaluation.json").read_bytes() == before and not any(tmp_path.iterdir())


def test_an_environment_that_cannot_render(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    counting = ("env.id=tests.envs.custom:Counting-v0", "env.kwargs={terminate_at:5}")
    assert train("steps=20", *counting, f"logdir={run}") == 0
    capsys.readouterr()
    assert evaluate(f"logdir={run}", f"video={tmp_path / 'film.mp4'}") == 2
    assert (
        line_of(capsys.readouterr().err)
        == "video: env.id=tests.envs.custom:Counting-v0 renders no rgb_array frames: it takes no render_mode"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("none", "rendering failed (CustomError: number 9 is bad (at "),
        ("growing frame", "render() returned uint8 [9, 6, 3]; accepted: uint8 [8, 6, 3], as the first frame was"),
    ],
)
def test_rendering_that_fails_leaves_no_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, what: str
) -> None:
    run = tmp_path / "run"
    broken = ("env.id=tests.envs.custom:Broken-v0", f"env.kwargs={{how:{how}}}")
    assert train("steps=20", *broken, "env.eval_time_limit=5", f"logdir={run}") == 0
    capsys.readouterr()
    assert evaluate(f"logdir={run}", f"video={tmp_path / 'film.mp4'}") == 1
    assert what in line_of(capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (run / "error.log").exists() == (how == "none")  # where there is a traceback


def test_a_run_without_a_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoints" / "best.pt").unlink()
    assert evaluate(f"logdir={run}", "checkpoint=best") == 2
    assert "has none before its first evaluation; latest is accepted" in line_of(capsys.readouterr().err)
    shutil.rmtree(run / "checkpoints")
    assert evaluate(f"logdir={run}") == 2
    assert "run: holds no checkpoint" in line_of(capsys.readouterr().err)


@pytest.mark.parametrize("name", ["config.yaml", "evaluation.json"])
def test_damaged_files(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (run / name).write_text((run / name).read_text()[:40])
    assert evaluate(f"logdir={run}") == 2
    assert f"its {name} is damaged" in line_of(capsys.readouterr().err)


def test_a_configuration_of_another_version(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (run / "config.yaml").read_text().replace("batch_size:", "batch_sizes:")
    (run / "config.yaml").write_text(text)
    assert evaluate(f"logdir={run}") == 2
    assert "its config.yaml is not one of this version (batch_size: must be given" in line_of(capsys.readouterr().err)


SINGLE = ("env.id=tests.worldmodel.worlds:Single-v0", "eval.every=30", "eval.episodes=2", "deterministic=true")


@pytest.mark.slow
@pytest.mark.parametrize("stiff", [True, False])
def test_an_environment_that_can_exist_once(tmp_path: Path, stiff: bool) -> None:
    """Evaluated between episodes; training is that of a run without any evaluation, to the bit."""
    words = (*SINGLE, "steps=100", "log.every=10", f"env.kwargs.stiff={str(stiff).lower()}")
    run, alone = tmp_path / "run", tmp_path / "alone"
    assert train(*words, "eval.environments=shared", f"logdir={run}") == 0
    assert Single.alive == 0
    found = [row["step"] for row in rows(run) if "eval/return" in row]
    assert found == [36, 60, 96, 100]  # episodes have 12 steps
    final = result(run)
    assert (final["episodes"], final["finished"]) == (2, 100)
    assert evaluate(f"logdir={run}", "episodes=2", f"video={tmp_path / 'film.gif'}") == 0
    assert Single.alive == 0 and (tmp_path / "film.gif").exists()
    if stiff:
        assert train(*words, "eval.every=0", "eval.final_episodes=0", f"logdir={alone}") == 0
        kept = [line for line in timeless(run).splitlines() if "eval/return" not in line]
        assert kept == timeless(alone).splitlines()


def test_without_any_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    words = (*SINGLE, "steps=60", "eval.every=0", "eval.final_episodes=0", f"logdir={run}")
    assert train(*words) == 0
    done = result(run)
    assert (done["returns"], done["mean"], done["finished"]) == ([], None, 60)
    assert train(*words) == 0
    assert "run: finished, not evaluated; more steps=... continue it" in capsys.readouterr().out


def test_a_second_instance_that_cannot_be_made_names_the_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*SINGLE, "steps=60", f"logdir={tmp_path / 'run'}") == 1
    line = line_of(capsys.readouterr().err)
    assert "Address already in use" in line and "eval.environments=shared evaluates in the environment of" in line
    assert Single.alive == 0


def test_a_long_evaluation_shows_progress(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(episodes, "EVERY", 0.0)
    assert evaluate(f"logdir={run}", "episodes=2") == 0
    assert "evaluating: 0 of 2 episodes, 1 steps of each stream\n" in capsys.readouterr().out
