"""Wrong input to `worldmodel.train`: one line that says what is accepted, exit code 2, and nothing left behind."""

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

from tests.worldmodel.train.runs import line_of, train
from worldmodel.runs.checkpoint import checkpoints

CUSTOM = "env.id=tests.envs.custom:Sampled-v0"
PICTURE = "env.kwargs={observation:picture}"

CASES = {
    "key": ("stpes=3", "stpes=3: unknown key; did you mean steps?"),
    "key of a section": ("env.di=X", "env.di=X: unknown key; did you mean env.id?"),
    "no value": ("steps", "steps: give steps=VALUE"),
    "option": ("--stpes", "--stpes: unknown option"),
    "type": ("steps=many", "steps=many: must be a whole number"),
    "fraction": ("steps=1.5", "steps=1.5: must be a whole number"),
    "flag": ("deterministic=perhaps", "deterministic=perhaps: must be true or false"),
    "literal": ("precision=float16", "precision=float16: must be auto, float32 or bfloat16"),
    "steps": ("steps=0", "steps=0: must be greater than or equal to 1"),
    "seed": ("seed=10000000000000000000", "must be less than 9223372036854775808"),
    "beyond 64 bits": ("eval.every=1e30", "eval.every=1e30: must be a whole number"),
    "digits beyond 64 bits": (f"steps={'9' * 40}", f"steps={'9' * 40}: must be a whole number of at most 64 bits"),
    "beyond float32": ("behavior.entropy=1e300", "behavior.entropy=1e+300: must be within 3.4e+38"),
    "width": ("size.stoch=9223372036854775807", "size.stoch=9223372036854775807: at most 1048576 is accepted"),
    "threads": ("threads=2147483648", "threads=2147483648: auto or at most 1024 is accepted"),
    "negative seed": ("seed=-1", "seed=-1: must be greater than or equal to 0"),
    "ratio": ("train_ratio=0", "train_ratio=0: must be greater than 0"),
    "not a number": ("optimizer.lr=nan", "optimizer.lr=nan: "),
    "infinite": ("train_ratio=inf", "train_ratio=inf: must be a finite number"),
    "minutes": ("checkpoint.minutes=0", "checkpoint.minutes=0: must be greater than 0"),
    "window": ("batch_length=1", "batch_length=1: must be greater than or equal to 2"),
    "streams": ("env.num=0", "env.num=0: must be greater than or equal to 1"),
    "preset": ("env=cartpol", "did you mean env=cartpole?"),
    "size": ("size=2m", "size=2m: size is one of 1m, 12m, "),
    "selector": ("replay=prioritised", "did you mean replay=prioritized?"),
    "optimiser": ("optimizer=adam", "optimizer=adam: optimizer is one of "),
    "option of a selector": ("replay=prioritized replay.alhpa=1", "unknown key; did you mean replay.alpha?"),
    "value of a selector": ("replay=prioritized replay.alpha=2", "replay.alpha=2: input should be less "),
    "blocks": ("size.deter=33", "size.deter=33: a multiple of size.blocks=8 is accepted"),
    "circuit of control": (
        "model.agent=control model.heads.actor=circuit",
        "model.heads.actor: belongs to model.agent=dreamer, and model.agent=control has no such part",
    ),
    "router of control": ("model.agent=control model.router=mlp", "model.router: belongs to model.agent=dreamer"),
    "returns of control": ("training=control batch_length=4 control.returns=4", "less than batch_length=4 is accepted"),
    "image of control": (
        f"training=control {CUSTOM} {PICTURE}",
        f"model.agent=control: dreamer is accepted for {CUSTOM}, where 'image' is an image",
    ),
    "fresh": ("replay.fresh=4", "replay.fresh=4: less than batch_size=4 is accepted"),
    "prefill": ("prefill=4", "prefill=4: at least 5 is accepted, for windows of batch_length=4 in env.num=1 streams"),
    "capacity": ("replay.capacity=9", "replay.capacity=9: at least 10 is accepted"),
    "unknown environment": ("env.id=CatPole-v1", "no such environment is registered; did you mean CartPole-v1?"),
    "module": ("env.id=no.such.module:X-v0", "env.id=no.such.module:X-v0: module 'no.such.module' cannot be imported"),
    "arguments": ("env.kwargs.wheels=3", "env.id=CartPole-v1 with env.kwargs={'wheels': 3} cannot be made"),
    "limit": ("env.kwargs.max_episode_steps=3", "env.kwargs.max_episode_steps=3: env.time_limit limits the steps"),
    "observation space": (f"{CUSTOM} env.kwargs={{observation:graph}}", "observation space 'observation' Graph("),
    "action space": (f"{CUSTOM} env.kwargs={{action:unbounded}}", "is unbounded; a Box needs finite low and high"),
    "image size": (f"{CUSTOM} {PICTURE} env.resize=[60,64]", "env.resize.0=60: must be a multiple of 16"),
    "forbidden resizing": (f"{CUSTOM} {PICTURE} env.resize=false", "is 50 x 70, the CNN takes multiples of 16"),
    "no Atari": ("env.atari=true", "env.atari=true: CartPole-v1 is no Atari game"),
    "device": ("device=gpu", "device=gpu: auto, cpu, cuda or cuda:N is accepted"),
    "CUDA device": ("device=cuda:99", "device=cuda:99: this machine has "),
    "compiling": ("compile=true", "compile=true: needs a CUDA device, not cpu"),
    "replay in memory": ("replay.capacity=1e12 steps=1e12", "replay.capacity=1000000000000: needs "),
    "replay on disk": ("replay.capacity=1e12 steps=1e12 replay.storage=disk", "GiB on disk, "),
    "slots": ("replay.capacity=1e15", "replay.capacity=1000000000000000: needs "),
    "imagination": ("behavior.horizon=1e12 steps=200", "behavior.horizon=1000000000000 with batch_size=4: the "),
    "frames": (f"{CUSTOM} {PICTURE} env.resize=[1000000,64]", "env.resize.0=1000000: must be less than or "),
    "model": ("size.units=1e6", "M parameters needs "),
    "many classes": (f"{CUSTOM} env.kwargs={{observation:vast}}", "its space of observation 'observation': a "),
    "many choices": (f"{CUSTOM} env.kwargs={{action:vast}}", "Sampled-v0: its space of the action: a "),
    "init": ("init=/none", "/none: holds no checkpoint; the folder of a run, one of its "),
    "parent is a file": (f"logdir={__file__}/run", "cannot be used: Not a directory"),
    "unwritable": ("logdir=/proc/run", "logdir=/proc/run: cannot be used: "),
}  # fmt: skip


@pytest.mark.parametrize(("words", "line"), CASES.values(), ids=CASES.keys())
def test_wrong_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    logdir = [] if "logdir=" in words else ["logdir=new/run"]
    assert train(*logdir, *words.split()) == 2
    assert line in line_of(capsys.readouterr().err)
    assert not any(tmp_path.iterdir())


def test_a_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)  # what is not installed cannot be imported
    assert train("env=atari100k", f"logdir={tmp_path / 'run'}") == 2
    assert "env.id=ALE/Pong-v5: needs ale_py (" in (line := line_of(capsys.readouterr().err))
    assert line.endswith('pip install "worldmodel[atari]"') and not any(tmp_path.iterdir())


def test_deterministic_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert train("deterministic=true", "device=cuda", f"logdir={tmp_path / 'run'}") == 2
    assert line_of(capsys.readouterr().err) == "deterministic=true: needs device=cpu, not cuda"
    assert not any(tmp_path.iterdir())


def test_a_logdir_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("mine")
    assert train(f"logdir={tmp_path / 'run'}") == 2
    assert line_of(capsys.readouterr().err).endswith("run: is a file; a folder is accepted")
    assert (tmp_path / "run").read_text() == "mine"


# What is wrong with a run that is there.


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    assert train("steps=60", "checkpoint.minutes=0.001", f"logdir={path}") == 0
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def spoil(path: Path) -> None:
    """Turn a byte in the middle, where arrays are."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, spoil, Path.unlink], ids=["truncated", "spoilt", "missing"])
@pytest.mark.parametrize("name", ["state.pt", "latents.npz", "chunk"])
def test_damaged_checkpoint(run: Path, name: str, damage: object, capsys: pytest.CaptureFixture[str]) -> None:
    *_, before, last = checkpoints(run / "checkpoints")
    file = last / name if name != "chunk" else max((run / "checkpoints" / "replay").iterdir())
    damage(file)  # type: ignore[operator]
    metrics = (run / "metrics.jsonl").read_text()
    assert train("steps=80", f"logdir={run}") == 2
    line = line_of(capsys.readouterr().err)
    assert f"{file}: cannot be read (" in line
    assert line.endswith(f"; move {last.name} out of {last.parent}, and the run continues from {before.name}")
    assert (run / "metrics.jsonl").read_text() == metrics
    last.rename(run.parent / "moved")  # as it says
    assert train("steps=80", f"logdir={run}") == 0
    assert f"continuing at step {int(before.name.split('-')[1])}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("config.yaml", "its config.yaml is damaged, or not a run's; give another logdir"),
        ("evaluation.json", "its evaluation.json is damaged; remove it to evaluate again"),
    ],
)
def test_damaged_file(run: Path, name: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    cut(run / name)
    assert train("steps=80", f"logdir={run}") == 2
    assert line in line_of(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("init={run}/metrics.jsonl", "metrics.jsonl: cannot be read ("),
        ("init={run}/checkpoints", "checkpoints: holds no checkpoint; "),
        ("init={run} size.units=32", "holds weights of another architecture (size mismatch for world_model.encoder"),
        ("init={run} env=pendulum", "holds weights of another architecture (size mismatch for world_model.encoder"),
        ("init={run} env.id=tests.worldmodel.worlds:Picture-v0", "holds weights of another architecture (Missing key"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit(
    finished: Path, tmp_path: Path, words: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*words.format(run=finished).split(), f"logdir={tmp_path / 'new' / 'run'}") == 2
    assert line in line_of(capsys.readouterr().err)
    assert not any(tmp_path.iterdir())


def test_disk_errors_are_told_by_their_names() -> None:
    """The texts in CASES are those of the system."""
    assert os.strerror(errno.ENOTDIR) == "Not a directory"
