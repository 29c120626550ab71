"""Training runs from end to end: what is in the folder, what may be continued, and by whom."""

import json
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import worldmodel
from tests.worldmodel.train.runs import ENVIRONMENT, PATIENCE, ROOT, Run, evaluate, line_of, rows, timeless, train
from worldmodel.launch import hardware
from worldmodel.runs.checkpoint import checkpoints

WORDS = ("steps=100", "eval.every=50", "eval.episodes=1", "checkpoint.minutes=0.001")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended, to look at."""
    path = tmp_path_factory.mktemp("runs") / "new" / "run"
    assert train(*WORDS, f"logdir={path}", "log.predictions_every=80") == 0
    return path


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to work with."""
    return shutil.copytree(finished, tmp_path / "run")


def events(path: Path) -> EventAccumulator:
    """All that TensorBoard sees of a run."""
    accumulator = EventAccumulator(str(path), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return accumulator.Reload()


@pytest.mark.slow
def test_the_run_folder(finished: Path) -> None:
    assert sorted(path.name.split(".")[0] for path in finished.iterdir()) == [
        "checkpoints", "config", "evaluation", "events", "metrics",
    ]  # fmt: skip
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["steps"] == 100 and config["env"]["id"] == "CartPole-v1" and config["size"]["deter"] == 32
    assert config["versions"]["torch"] == torch.__version__ and {"commit", "hardware"} <= config.keys()
    metrics = rows(finished)
    assert all(isinstance(row["step"], int) for row in metrics)
    names = set().union(*metrics)
    assert {"episode/return", "episode/length", "eval/return", "eval/return_std", "loss/model", "replay/items"} <= names
    assert {"eval/value", "eval/value_bias", "model/latent_rank", "behavior/decided", "episode/best"} <= names
    assert [row["replay/rewarded"] for row in metrics if "updates" in row][-1] > 0.8  # all but the first of an episode
    assert [row["step"] for row in metrics if "eval/return" in row] == [50, 100]
    assert [row["step"] for row in metrics if "updates" in row] == [25, 50, 75, 100]
    assert [row["updates"] for row in metrics if "updates" in row] == [0, 1, 4, 7]  # 60 steps, 2 of each 16 replayed
    assert len(checkpoints(finished / "checkpoints")) == 2 and (finished / "checkpoints" / "best.pt").exists()


def test_episodes_in_the_metrics_add_up(finished: Path) -> None:
    before = 0
    for row in rows(finished):
        if "episode/return" in row:
            assert row["step"] - before == row["episode/length"] == row["episode/return"]
            before = row["step"]
    assert before > 50


def test_the_evaluation(finished: Path) -> None:
    result = json.loads((finished / "evaluation.json").read_text())
    assert result["episodes"] == len(result["returns"]) == 2 and result["step"] == result["finished"] == 100
    assert result["mean"] == np.mean(result["returns"]) and result["std"] == np.std(result["returns"])
    assert (finished / result["checkpoint"] / "state.pt").exists()
    assert rows(finished)[-1]["eval/return"] == result["mean"]


def test_checkpoints_hold_no_pickled_code(finished: Path) -> None:
    for path in [*finished.rglob("*.pt")]:
        state = torch.load(path, weights_only=True)
        assert {"agent", "step"} <= state.keys()
    for path in finished.rglob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert all(array.dtype != object for array in arrays.values())


def test_a_finished_run_is_left_as_it_is(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    assert train(*WORDS, f"logdir={copy}", "log.predictions_every=80") == 0
    assert "finished with return" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()} == before


def test_more_steps_continue_it(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(*WORDS, f"logdir={copy}", "steps=150", "eval.every=120", "log.every=10", "checkpoint.keep=3") == 0
    assert "continuing at step 100" in capsys.readouterr().out
    metrics = rows(copy)
    steps = [row["step"] for row in metrics]
    assert steps == sorted(steps) and steps[-1] == 150
    assert [row["step"] for row in metrics if "eval/return" in row] == [50, 120, 150]  # cadences may change
    updates = [row["updates"] for row in metrics if "updates" in row]
    assert updates == sorted(updates) and updates[-1] == 13
    assert json.loads((copy / "evaluation.json").read_text())["finished"] == 150
    assert yaml.safe_load((copy / "config.yaml").read_text())["steps"] == 150


def test_a_run_from_before_the_scale_of_initial_weights_could_be_chosen(copy: Path) -> None:
    """It is played, evaluated and continued; its weights were drawn by the fan-in of one block, which is kept."""
    text = (copy / "config.yaml").read_text()
    assert text.count("  fan_in: all\n") == 1
    (copy / "config.yaml").write_text(text.replace("  fan_in: all\n", ""))
    assert worldmodel.load(copy, device="cpu").config.size.fan_in == "block"
    assert evaluate(f"logdir={copy}", "episodes=1") == 0
    assert train(*WORDS, f"logdir={copy}", "steps=120") == 0
    assert yaml.safe_load((copy / "config.yaml").read_text())["size"]["fan_in"] == "block"


@pytest.mark.parametrize(
    ("words", "differing"),
    [
        (("seed=1", "optimizer.lr=1e-3"), "seed was 0, is 1; optimizer.lr was 0.0004, is 0.001"),
        (("replay=prioritized",), "replay.selector was uniform, is prioritized; replay.fresh_every was absent, is 0"),
        (("env.kwargs.sutton_barto_reward=true",), "env.kwargs.sutton_barto_reward was absent, is true"),
    ],
)
def test_another_configuration_is_refused(
    copy: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], differing: str
) -> None:
    files = sorted(copy.rglob("*"))
    assert train(*WORDS, f"logdir={copy}", *words) == 2
    assert differing in line_of(capsys.readouterr().err)
    assert sorted(copy.rglob("*")) == files


def test_options_of_the_selector_belong_to_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("steps=60", "replay=prioritized", f"logdir={tmp_path / 'run'}")
    assert train(*words, "replay.alpha=0.3") == 0
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["replay"]["alpha"] == 0.3
    assert train(*words) == 2
    assert "replay.alpha was 0.3, is 0.6" in line_of(capsys.readouterr().err)


@pytest.mark.slow
def test_one_process_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another run is refused; evaluating is not."""
    words = ("steps=100000", "checkpoint.minutes=0.001")
    run = Run(tmp_path, *words)
    try:
        assert run.reach(75)
        assert train(*words, f"logdir={tmp_path}") == 2
        assert "in use by process" in line_of(capsys.readouterr().err)
        assert evaluate(f"logdir={tmp_path}", "episodes=1") == 0
        result = json.loads((tmp_path / "evaluation.json").read_text())
        assert 0 < result["step"] < 100000 and result["finished"] is None
    finally:
        run.kill(signal.SIGKILL)
        run.finish()


def test_init_starts_from_the_weights_of_another_run(finished: Path, tmp_path: Path) -> None:
    best = torch.load(finished / "checkpoints" / "best.pt", weights_only=True)["agent"]
    states = {}
    for name, init in (("run", finished), ("best", finished / "checkpoints" / "best.pt"), ("fresh", None)):
        words = ("steps=20", "eval.final_episodes=1", "seed=5", f"logdir={tmp_path / name}")
        assert train(*words, *([f"init={init}"] if init else [])) == 0
        (checkpoint,) = checkpoints(tmp_path / name / "checkpoints")
        states[name] = torch.load(checkpoint / "state.pt", weights_only=True)["agent"]
    latest = torch.load(checkpoints(finished / "checkpoints")[-1] / "state.pt", weights_only=True)["agent"]
    assert all(torch.equal(value, latest[key]) for key, value in states["run"].items())
    assert all(torch.equal(value, best[key]) for key, value in states["best"].items())
    assert not all(torch.equal(value, latest[key]) for key, value in states["fresh"].items())


def test_init_is_not_needed_for_continuing(finished: Path, tmp_path: Path) -> None:
    other = shutil.copytree(finished, tmp_path / "other")
    words = (f"init={other}", f"logdir={tmp_path / 'run'}")
    assert train(*words, "steps=50") == 0
    shutil.rmtree(other)
    assert train(*words, "steps=60") == 0


def test_tensorboard_reads_the_events(finished: Path) -> None:
    seen = events(finished)
    tags = seen.Tags()
    assert {"eval/return", "episode/return", "loss/model"} <= set(tags["scalars"])
    assert [event.step for event in seen.Scalars("eval/return")] == [50, 100]
    assert {"_hparams_/experiment", "_hparams_/session_start_info"} <= seen.summary_metadata.keys()
    assert tags["images"] == ["open_loop/observation"]
    (plot,) = seen.Images("open_loop/observation")
    assert plot.step == 80 and plot.encoded_image_string.startswith(b"\x89PNG")


@pytest.mark.slow
def test_predictions_of_every_kind_of_observation(tmp_path: Path) -> None:
    words = ("env.id=tests.worldmodel.worlds:Picture-v0", "steps=60", "log.predictions_every=50", f"logdir={tmp_path}")
    assert train(*words) == 0
    seen = events(tmp_path)
    assert set(seen.Tags()["images"]) == {"open_loop/camera", "open_loop/gauge", "open_loop/gear"}
    (film,) = seen.Images("open_loop/camera")
    assert (film.width, film.height) == (32, 48)  # the truth, the prediction and the error below each other
    assert film.encoded_image_string.startswith(b"GIF")


@pytest.mark.slow
def test_threads_of_kernels_change_no_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hardware, "processors", lambda: 3)
    words = (*WORDS, "batch_size=8", "batch_length=16", "train_ratio=32")  # 4 tiles of rows
    for threads in ("auto", "1"):
        assert train(*words, f"threads={threads}", f"logdir={tmp_path / threads}") == 0
    assert "3 threads" in capsys.readouterr().out
    assert timeless(tmp_path / "auto") == timeless(tmp_path / "1")


@pytest.mark.slow
def test_global_random_numbers_of_an_environment_repeat(tmp_path: Path) -> None:
    """In a deterministic run, in its evaluation, and when that is made again."""
    words = ("env.id=tests.envs.custom:Dice-v0", "env.kwargs.terminate_at=5", "deterministic=true", "steps=60")
    results = []
    for name in ("one", "other"):
        np.random.seed()
        assert train(*words, "eval.every=40", "eval.episodes=1", f"logdir={tmp_path / name}") == 0
        assert evaluate(f"logdir={tmp_path / name}", "episodes=2") == 0
        final = json.loads((tmp_path / name / "evaluation.json").read_text())["returns"]
        assert final == json.loads((tmp_path / name / "evaluations.jsonl").read_text())["returns"]
        results.append((timeless(tmp_path / name), final))
    assert results[0] == results[1]


def test_a_logdir_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("steps=20", "env.id=tests.worldmodel.worlds:Picture-v0") == 0
    (path,) = (tmp_path / "runs").iterdir()
    assert path.name.startswith("tests.worldmodel.worlds-Picture-v0-") and path.name.endswith("-seed0")
    assert sorted(child.name for child in tmp_path.iterdir()) == ["runs"]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["laprop", "hybrid"])
def test_training_does_not_import_the_compiler_of_pytorch(tmp_path: Path, optimizer: str) -> None:
    """It is not used, and takes half as long again as all the rest that a run imports."""
    code = (
        "import sys; from tests.worldmodel.train import runs; "
        "print(runs.train(*sys.argv[1:]), 'torch._dynamo' in sys.modules)"
    )
    words = [
        sys.executable,
        "-c",
        code,
        "steps=60",
        "deterministic=true",
        f"optimizer={optimizer}",
        f"logdir={tmp_path / 'run'}",
    ]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr


@pytest.mark.slow
def test_what_an_environment_does_beyond_its_contract_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Settings of PyTorch are put back, and training goes on; masks and rewards beyond the code are told once."""
    meddling = ("env.id=tests.worldmodel.worlds:Meddling-v0", "steps=60")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert train(*meddling, f"logdir={tmp_path / 'run'}") == 0
    out, err = capsys.readouterr()
    told = [str(warning.message) for warning in caught]
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert "Meddling-v0: changes PyTorch's default dtype or gradient mode, which are put back" in " ".join(told)
    assert sum("info['action_mask'] is ignored: every action may be chosen" in text for text in told) == 1 and not err
    assert out.count("rewards beyond 4.85e+08 are learned as 4.85e+08: scale them down") == 1
    assert any("updates" in row and row["updates"] > 0 for row in rows(tmp_path / "run"))


def test_a_run_without_updates_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("steps=40", "eval.final_episodes=0", f"logdir={tmp_path / 'run'}") == 0
    assert "steps=40: no update follows prefill=40, so nothing is learned" in capsys.readouterr().out
    assert train("steps=60", "eval.final_episodes=0", f"logdir={tmp_path / 'run'}") == 0
    out = capsys.readouterr().out
    assert "no update follows" not in out
    assert "steps was 40, is 60: the learning rate goes from 2e-05 to 0.000147 at once" in out
    assert [row["model/learning_rate"] for row in rows(tmp_path / "run") if "model/learning_rate" in row] == [
        pytest.approx(4e-4 * (1 - 2 / 3 * 0.95))
    ]
