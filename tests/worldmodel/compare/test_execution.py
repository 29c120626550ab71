"""Running a comparison: several at a time, crashes, interrupts, runs that are still saving themselves."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

from tests.worldmodel.train.runs import ENVIRONMENT, ROOT
from worldmodel.cli.compose import UsageError
from worldmodel.compare import execution
from worldmodel.compare.execution import FAILURES, Failures, Interrupted, Run, RunRefused, execute
from worldmodel.launch import launcher as launchers
from worldmodel.launch.launcher import LaunchError, Local, LocalConfig, RayConfig
from worldmodel.launch.process import Program
from worldmodel.runs.folder import RunFolder, RunFolderError

FAKE = """
import json, os, sys, time
from pathlib import Path
words = dict(word.split("=", 1) for word in sys.argv[1:])
folder = Path(words["logdir"].strip("'"))
begun = folder / "begun"
begun.write_text(begun.read_text() + "x" if begun.exists() else "x")
tries = len(begun.read_text())
if words["kind"] == "crashes" or (words["kind"] == "crashes_once" and tries == 1):
    sys.exit("error: it broke")
if words["kind"] == "refuses":
    print("error: device=cuda: there is none", file=sys.stderr)
    sys.exit(2)
if words["kind"] == "killed_once" and tries == 1:
    os.kill(os.getpid(), 9)
end = time.monotonic() + 60
while words["kind"] == "together" and len(list(folder.parent.glob("*/begun"))) < 3:
    assert time.monotonic() < end
    time.sleep(0.02)
time.sleep(float(words.get("seconds", 0)))
result = {"returns": [1.0], "mean": 1.0, "std": 0.0, "episodes": 1, "step": 5, "finished": 5}
(folder / "evaluation.json").write_text(json.dumps(result))
"""
LOCAL = Local()


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake_run.py").write_text(FAKE)
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), str(ROOT), before])))


def runs(*kinds: str, seconds: float = 0) -> list[Run]:
    return [
        Run(f"task/{kind}/seed-{i}", "fake_run", (f"kind={kind}", f"seconds={seconds}")) for i, kind in enumerate(kinds)
    ]


def test_crashes_are_retried_once_and_then_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failures = Failures(tmp_path)
    given = runs("good", "crashes", "crashes_once", "killed_once")
    execute(given, tmp_path, LOCAL, 2, failures)
    assert [failures.failed(run.name) for run in given] == [False, True, False, False]
    reasons = json.loads((tmp_path / FAILURES).read_text())
    assert reasons["task/crashes/seed-1"] == ["exit code 1: it broke"] * 2
    assert reasons["task/killed_once/seed-3"] == ["killed by SIGKILL"]
    assert "[4/4]" in (out := capsys.readouterr().out) and "FAILED (exit code 1: it broke)" in out
    execute(given, tmp_path, LOCAL, 2, Failures(tmp_path))
    assert "4 of 4 runs have ended before" in capsys.readouterr().out
    assert (tmp_path / "task/crashes/seed-1/begun").read_text() == "xx"  # not tried a third time


def test_what_is_at_work_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The step of the last whole row, and the time left by the runs that have ended."""
    monkeypatch.setattr(execution, "EVERY", 0.3)
    given = runs("good", "good", seconds=1.0)
    (tmp_path / given[0].name).mkdir(parents=True)
    (tmp_path / given[0].name / "metrics.jsonl").write_text('{"step": 40}\n{"step": 70}\n{"st')
    execute(given, tmp_path, LOCAL, 1, Failures(tmp_path))
    out = capsys.readouterr().out
    assert "[0/2] at work: task/good/seed-0 at step 70\n" in out
    assert re.search(r"\[1/2\] task/good/seed-0: return 1 \(0.0 min\), about 0:00:0\d left\n", out)
    assert re.search(r"\[1/2\] at work: task/good/seed-1 at step 0, about 0:00:0\d left\n", out)
    assert re.search(r"\[2/2\] task/good/seed-1: return 1 \(0.0 min\)\n", out)


def test_a_bar_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", terminal)
    execute(runs("good", "good"), tmp_path, LOCAL, 1, Failures(tmp_path))
    assert "| 0/2 [" in terminal.getvalue() and "| 2/2 [" in terminal.getvalue()
    assert capsys.readouterr().out.startswith("2 runs to do; the first that ends tells ")


def test_workers_run_side_by_side(tmp_path: Path) -> None:
    """Each of three waits until all have begun."""
    failures, given = Failures(tmp_path), runs(*3 * ["together"])
    execute(given, tmp_path, LOCAL, 3, failures)
    assert not failures.reasons
    assert all((tmp_path / run.name / "evaluation.json").exists() for run in given)


@pytest.mark.parametrize(
    ("workers", "asked", "threads"), [(1, None, 5), (2, None, 2), (9, None, 1), (2, "4", 4), (2, "", 2)]
)
def test_workers_divide_the_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, asked: str | None, threads: int
) -> None:
    monkeypatch.setattr(launchers, "processors", lambda: 5)
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    code, out = "import os; print(os.environ['OMP_NUM_THREADS'])", tmp_path / "out"
    run = LocalConfig("local").open(workers).start(Program(("-c", code), str(out), str(tmp_path / "err")))
    while run.ended() is None:
        time.sleep(0.01)
    assert out.read_text() == f"{threads}\n"


def test_an_interrupt_stops_the_runs(tmp_path: Path) -> None:
    (run,) = runs("good", seconds=60)
    pid = os.getpid()

    def interrupt() -> None:
        while not (tmp_path / run.name / "begun").exists():
            time.sleep(0.02)
        os.kill(pid, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    begun = time.monotonic()
    with pytest.raises(Interrupted, match="interrupted after 0 of 1 runs"):
        execute([run], tmp_path, LOCAL, 1, Failures(tmp_path))
    assert time.monotonic() - begun < 50 and not (tmp_path / FAILURES).exists()


def test_a_run_that_refuses_its_input_stops_the_comparison(tmp_path: Path) -> None:
    """It is no fault of the arm, and the runs that follow would refuse theirs."""
    failures = Failures(tmp_path)
    with pytest.raises(RunRefused, match=r"^task/refuses/seed-1: device=cuda: there is none$") as caught:
        execute(runs("good", "refuses", "good"), tmp_path, LOCAL, 1, failures)
    assert caught.value.exit_code == 2 and not failures.reasons
    assert not (tmp_path / "task/good/seed-2").exists()


def test_runs_end_with_a_comparison_that_is_killed(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux ends a child with its parent")
    code = (
        "import sys; from pathlib import Path; from worldmodel.compare.execution import *\n"
        "from worldmodel.launch.launcher import Local\n"
        "execute([Run('a', 'fake_run', ('kind=good', 'seconds=600'))], Path(sys.argv[1]), Local(), 1, "
        "Failures(Path(sys.argv[1])))"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": os.environ["PYTHONPATH"]}
    comparison = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment)
    while not (tmp_path / "a" / "begun").exists():
        assert comparison.poll() is None
        time.sleep(0.05)
    comparison.kill()
    comparison.wait()
    deadline = time.monotonic() + 30
    while any(str(tmp_path / "a") in line for line in _command_lines()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _command_lines() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return [line for line in lines if "fake_run" in line]


def test_a_folder_in_use_is_waited_for(tmp_path: Path) -> None:
    (run,) = runs("good")
    folder = RunFolder(tmp_path / run.name)
    threading.Timer(1.0, folder.close).start()
    execute([run], tmp_path, LOCAL, 1, Failures(tmp_path))
    assert (tmp_path / run.name / "evaluation.json").exists() and not (tmp_path / FAILURES).exists()


def test_a_damaged_list_of_failures_is_named(tmp_path: Path) -> None:
    (tmp_path / FAILURES).write_text("[1")
    with pytest.raises(RunFolderError, match=f"its {FAILURES} is damaged"):
        Failures(tmp_path)


@pytest.mark.parametrize(
    ("address", "kind", "told"),
    [
        ("local", LaunchError, "launcher=ray: Ray could not be started on this machine: it timed out"),
        ("auto", UsageError, "launcher.address=auto: no Ray cluster can be reached: it timed out"),
    ],
)
def test_a_ray_that_does_not_start_is_one_line(
    address: str, kind: type[Exception], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise Exception("it timed\nout")

    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=fail))
    with pytest.raises(kind, match=re.escape(told)):
        RayConfig("ray", address=address, cpus=1, gpus=0).open(2)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_nobody_answers_for_is_told_at_once(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise AssertionError("Ray would try for many minutes")

    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=fail))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # nobody listens
        address = f"{scheme}127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"launcher.address={address}: no Ray cluster can be reached: .*refused"):
            RayConfig("ray", address=address, cpus=1, gpus=0).open(2)


@pytest.mark.slow
def test_runs_on_ray(tmp_path: Path) -> None:
    """As on this machine: crashes are told and tried once more, and an interrupt stops what runs."""
    pytest.importorskip("ray", reason='no Ray: pip install "worldmodel[ray]"')
    launcher = RayConfig("ray", address="local", cpus=1, gpus=0).open(2)
    try:
        failures, given = Failures(tmp_path), runs("good", "crashes", "killed_once")
        execute(given, tmp_path, launcher, 2, failures)
        assert [failures.failed(run.name) for run in given] == [False, True, False]
        assert failures.reasons["task/crashes/seed-1"] == ["exit code 1: it broke"] * 2
        assert failures.reasons["task/killed_once/seed-2"] == ["killed by SIGKILL"]
        long = Run("task/long/seed-0", "fake_run", ("kind=good", "seconds=600"))
        threading.Thread(target=_interrupt_once, args=(tmp_path / long.name / "begun",)).start()
        with pytest.raises(Interrupted):
            execute([long], tmp_path, launcher, 1, failures)
        deadline = time.monotonic() + 30
        while any(long.name in line for line in _command_lines()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        launcher.close()


def _interrupt_once(begun: Path) -> None:
    while not begun.exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)
