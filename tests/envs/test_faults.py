"""Faults: an environment that fails, dies or returns nonsense stops the run with one line, and never hangs it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from worldmodel.envs.faults import traceback_of
from worldmodel.envs.workers import Workers

from tests.envs import custom
from tests.envs.test_environments import config, flat, play
from worldmodel.envs import EnvironmentFault, Environments

ROOT = Path(__file__).parent.parent.parent


def broken(how: str, mode: str, **options: Any) -> Environments:
    return Environments(
        config("tests.envs.custom:Broken-v0", kwargs={"how": how}, vectorization=mode, **options), num=2, seed=0
    )


def fault(how: str, mode: str) -> EnvironmentFault:
    """The fault at the third step; the state must still be that before it, and closing must not hang."""
    env = broken(how, mode)
    env.reset()
    play(env, 2)
    before, state = flat(env.current), env.state_dict()
    with pytest.raises(EnvironmentFault) as caught:
        play(env, 1)
    assert flat(env.current) == before
    assert [len(part) for part in env.state_dict()["actions"]] == [2, 2]
    start = time.monotonic()
    env.close()
    assert time.monotonic() - start < 4
    again = broken(how, mode)
    assert again.load_state_dict(state) == []
    assert flat(again.current) == before
    again.close()
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("tests.envs.custom:Broken-v0")
    return caught.value


RAISED = {
    "raise": "raise CustomError(7, lambda: None)",
    "sysexit": "raise SystemExit(3)",
    "cancel": "raise asyncio.CancelledError",
    "mute": "raise MuteError  # in a step",
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("nan", "stream 0: observation 'observation' is not finite (value nan)"),
        ("overflow", "stream 0: observation 'observation' has value 1e+300, which float32 cannot hold; numbers up to "),
        ("reward", "stream 0: reward is not finite (value inf)"),
        ("large reward", "stream 0: reward has value 1e+39, which float32 cannot hold; numbers up to 3.4e38 are acc"),
        ("category", "outside Discrete(3, start=5)"),
        ("raise", "stream 0: CustomError: number 7 is bad"),
        ("sysexit", "stream 0: SystemExit: 3"),
        ("cancel", "stream 0: CancelledError: (at "),
        ("mute", "stream 0: MuteError: <exception str() failed> (at "),
    ],
)
@pytest.mark.filterwarnings("error:overflow encountered")
def test_faults_of_a_step(how: str, text: str, mode: str) -> None:
    error = fault(how, mode)
    assert text in str(error)
    if how in RAISED:  # with the line that raised it, and the whole traceback beside it
        line = RAISED[how]
        assert str(error).endswith(f"(at {place(line)} in step)")
        trace = traceback_of(error)
        assert trace.startswith("Traceback") and line in trace and "in step" in trace
    elif "Discrete" not in text:
        assert traceback_of(error) == ""


def place(line: str) -> str:
    """File and number of a line in the module of the environments."""
    file = Path(custom.__file__)
    (number,) = [n for n, text in enumerate(file.read_text().splitlines(), 1) if text.strip() == line]
    return f"{file}:{number}"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_second_environment_that_cannot_be_made(mode: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The first one is closed; nothing but the fault tells it."""
    where = place('raise RuntimeError("Address already in use")')
    with pytest.raises(EnvironmentFault) as caught:
        Environments(config("tests.envs.custom:Unmade-v0", kwargs={"owner": os.getpid()}, vectorization=mode), 2, 0)
    reason = f"cannot be made (RuntimeError: Address already in use (at {where} in __init__))"
    assert str(caught.value) == f"tests.envs.custom:Unmade-v0 {reason}"
    assert "in __init__" in traceback_of(caught.value)
    assert custom.Unmade.alive == 0 and capfd.readouterr().err == ""


def test_an_environment_that_cannot_be_made_has_no_text() -> None:
    with pytest.raises(
        EnvironmentFault, match=r"Unborn-v0 cannot be made \(MuteError: <exception str\(\) failed> \(at "
    ):
        Environments(config("tests.envs.custom:Unborn-v0"), 1, 0)


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.filterwarnings("ignore:.*close\\(\\) failed")  # the one that was made for its spaces
def test_a_close_that_fails_is_told(mode: str) -> None:
    env = Environments(config("tests.envs.custom:Unclosed-v0", vectorization=mode), 2, 0)
    env.reset()
    with pytest.warns(UserWarning) as told:
        env.close()
    reason = f"CustomError: number 5 is bad (at {place('raise CustomError(5, lambda: None)')} in close)"
    lines = {f"stream {stream}: close() failed ({reason})" for stream in range(2)}
    assert lines <= {str(warning.message).removeprefix("tests.envs.custom:Unclosed-v0, ") for warning in told}
    assert len(told) == 2


@pytest.mark.parametrize("how", ["close", "stubborn", "kill"])
def test_an_environment_with_processes_of_its_own(how: str) -> None:
    """They can be ended by it, and end with its worker in any case."""
    kwargs = {"stubborn": how == "stubborn", "early": how == "kill"}
    env = Environments(config("tests.envs.custom:Parent-v0", kwargs=kwargs, vectorization="async"), 2, 0)
    pids = [int(pid) for pid in env.reset().observation["observation"].flat]
    assert all(running(pid) for pid in pids)
    if how == "kill":
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(EnvironmentFault, match="stream 0: the worker process was killed by SIGKILL"):
            play(env, 2)
    start = time.monotonic()
    env.close()
    assert time.monotonic() - start < 4
    deadline = time.monotonic() + 5
    while any(running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in pids if running(pid)]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Gymnasium tells the fault too
def test_an_observation_of_another_shape(mode: str) -> None:
    text = "stream 0: observation 'observation' has shape (2,), its space declares (3,)"
    assert text in str(fault("shape", mode))


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Gymnasium tells the fault too
def test_a_frame_that_cannot_be_rendered(mode: str) -> None:
    broken_frames = config("tests.envs.custom:Broken-v0", kwargs={"how": "render"}, vectorization=mode)
    env = Environments(broken_frames, num=2, seed=0, render=True)
    env.reset()
    with pytest.raises(EnvironmentFault, match=r"Broken-v0, stream [01]: rendering failed \(CustomError: number 9"):
        env.render()
    env.close()


FRAMES = {
    "float frame": "float64 [8, 6, 3]; accepted: uint8 [H, W, 3]",
    "no frame": "NoneType; accepted: uint8 [H, W, 3]",
    "list frame": "list; accepted: uint8 [H, W, 3]",
    "gray frame": "uint8 [8, 6]; accepted: uint8 [H, W, 3]",
    "growing frame": "uint8 [9, 6, 3]; accepted: uint8 [8, 6, 3], as the first frame was",
}


@pytest.mark.parametrize(("how", "mode"), [*((how, "sync") for how in FRAMES), ("float frame", "async")])
def test_frames_that_are_no_pictures(how: str, mode: str) -> None:
    options = config("tests.envs.custom:Broken-v0", kwargs={"how": how}, vectorization=mode)
    env = Environments(options, num=1, seed=0, render=True)
    env.reset()
    if how == "growing frame":
        (frame,) = env.render()
        assert frame.shape == (8, 6, 3)
        play(env, 1)
    with pytest.raises(EnvironmentFault) as caught:
        env.render()
    assert str(caught.value) == f"tests.envs.custom:Broken-v0, stream 0: render() returned {FRAMES[how]}"
    env.close()


def test_a_worker_that_exits() -> None:
    assert re.search("stream [01]: the worker process ended with exit code 3", str(fault("exit", "async")))


def test_a_reset_that_fails_leaves_the_state_before_the_step() -> None:
    env = broken("reset", "async", time_limit=2)
    env.reset()
    play(env, 1)
    before = flat(env.current)
    with pytest.raises(EnvironmentFault, match="RuntimeError: no second episode"):
        play(env, 1)
    assert flat(env.current) == before
    assert [len(part) for part in env.state_dict()["actions"]] == [1, 1]
    env.close()


@pytest.mark.parametrize("when", ["between", "during"])
def test_a_killed_worker(when: str) -> None:
    env = Environments(config("tests.envs.custom:Broken-v0", kwargs={"how": "slow"}, vectorization="async"), 3, 0)
    env.reset()
    workers = env._vector._env
    assert isinstance(workers, Workers)
    victim = workers.processes[1].pid
    assert victim is not None
    if when == "between":
        os.kill(victim, signal.SIGKILL)
        time.sleep(0.2)
    else:
        subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {victim}"])
    start = time.monotonic()
    with pytest.raises(EnvironmentFault, match="stream 1: the worker process was killed by SIGKILL"):
        play(env, 1000)
    env.close()
    assert time.monotonic() - start < 5
    assert not any(process.is_alive() for process in workers.processes)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_process_of_the_workers_can_be_interrupted_from_its_first_moment_on() -> None:
    """Ctrl-C goes to all processes of a terminal, those that are just starting included."""
    code = """
import os, signal, sys
from multiprocessing.forkserver import _forkserver
from worldmodel.envs import Environments
from tests.envs.test_environments import config
def mask(pid, name):
    (line,) = [line for line in open(f"/proc/{pid}/status") if line.startswith(name)]
    return int(line.split()[1], 16) & (1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1)
env = Environments(config(vectorization="async"), 2, 0)
both = 1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1
assert mask(_forkserver._forkserver_pid, "SigBlk") == both  # and so have its children, until they do not heed them
for process in env._vector._env.processes:
    env.reset()
    assert (mask(process.pid, "SigBlk"), mask(process.pid, "SigCgt")) == (0, both)
    assert mask(process.pid, "SigIgn") == 0  # what the environment starts would inherit it
assert mask(os.getpid(), "SigBlk") == 0
env.close()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_workers_survive_an_interrupt_meant_for_the_run() -> None:
    env = Environments(config(vectorization="async"), 2, 0)
    env.reset()
    workers = env._vector._env
    assert isinstance(workers, Workers)
    for process in workers.processes:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
    time.sleep(0.1)
    play(env, 2)
    start = time.monotonic()
    env.close()
    assert time.monotonic() - start < 4


SCRIPT = """
import os, sys, time
import gymnasium, multiprocessing, subprocess, torch
import numpy as np
from worldmodel.envs import EnvConfig, Environments

class Mine(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1e9, 1e9, (3,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)
    def __init__(self):
        if multiprocessing.parent_process():  # here in a worker
            self.child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
            self.child.start()
    def reset(self, *, seed=None, options=None):
        return np.array(["torch" in sys.modules, os.getpid(), self.child.pid], float), {}

gymnasium.register("Mine-v0", Mine)
env = Environments(EnvConfig(id="Mine-v0", vectorization="async"), 2, 0)
seen = env.reset().observation["observation"]
print("pids", *(int(pid) for pid in seen[:, 1:].flat), "torch", *(int(flag) for flag in seen[:, 0]), flush=True)
time.sleep(60 if "wait" in sys.argv else 0)
"""


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("end", ["exit", "kill"])
def test_workers_of_a_script(tmp_path: Path, end: str) -> None:
    """They neither import torch nor run the script again, which has no main guard; and they end with it.

    So do processes that the environments have started.
    """
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", *(["wait"] if end == "kill" else [])]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[5:] == ["torch", "0", "0"], process.communicate()
    if end == "kill":
        process.kill()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == (-signal.SIGKILL if end == "kill" else 0)
    assert not [line for line in errors.splitlines() if "resource_tracker" not in line and "warnings.warn" not in line]
    deadline = time.monotonic() + 5
    while any(running(int(pid)) for pid in words[1:5]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(running(int(pid)) for pid in words[1:5])


def test_actions_of_a_wrong_shape_are_a_bug_not_a_fault() -> None:
    env = Environments(config(), 2, 0)
    env.reset()
    with pytest.raises(ValueError, match="shape"):
        env.step(np.zeros((2, 3), np.float32))
