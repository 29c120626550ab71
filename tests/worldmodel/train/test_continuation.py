"""Stopping and continuing: a run that was killed or stopped writes the metrics of one that was not, to the bit."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.worldmodel.train.runs import Run, Starter, last_step, rows, timeless
from worldmodel.cli.command import command
from worldmodel.runs.checkpoint import checkpoints
from worldmodel.runs.folder import CHECKPOINTS
from worldmodel.train.config import TrainConfig
from worldmodel.train.trainer import RandomStates

WORDS = ("deterministic=true", "checkpoint.minutes=0.004", "eval.every=80", "eval.episodes=1", "log.every=10")
STREAMS = ("env.num=2",)
SMALL = ("circuit.qubits=2", "circuit.layers=2", "model.front_options.every=3", "model.front_options.rows=40")
HEADS = ("actor=product", "critic=circuit", "reward=frozen", "continuation=fourier", "prior=narrow")
CONTROL = (
    *("training=control", "prefill=40", "batch_size=4", "train_ratio=24"),
    *("size.deter=64", "size.units=32", "size.hidden=32"),
)
PARTS = {
    "heads": (*(f"model.heads.{head}" for head in HEADS), "model.front=pca", "circuit.shots=16", "circuit.noise=0.01"),
    "router": ("model.router=circuit", "model.expert=product", "model.front=autoencoder", "model.cell=circuit"),
    "born": (
        *("model.router=product", "model.router_options.readout=probabilities", "model.expert=circuit"),
        *("model.cell=frozen", "model.front=none", "circuit=iqp", "circuit.gradient=shift"),
    ),
}
CASES = {
    **{name: (*SMALL, *words) for name, words in PARTS.items()},
    "uniform": (),
    "workers": (*STREAMS, "env.vectorization=async"),
    "curious": ("replay=curious",),
    "mixture": ("replay=mixture",),
    "annealed": ("replay=annealed", "replay.pool=8", "replay.plans=4"),
    "boltzmann": ("replay=boltzmann", "replay.every=4", "replay.plans=4", "replay.bits=8"),
    "markov": ("replay=markov", "replay.plans=4", "replay.bits=4"),
    "recall": ("replay=recall", "replay.fit=16"),
    "recall by a kernel": ("replay=recall", "replay.fit=16", "replay.similarity=fidelity"),
    "novel": ("replay=novel", "replay.inducing=16", "replay.plans=4"),
    "hybrid": ("optimizer=hybrid", "optimizer.every=3", "optimizer.blocks=2", "solver.shots=64", "optimizer.windows=2"),
    "control": (*CONTROL, "control.period=7"),
    "continuous control": (*CONTROL, "env=pendulum"),
    "continuous": ("training=quick", "env=pendulum", "env.action_repeat=3", "env.time_limit=30"),
}
EVERYTHING = (*STREAMS, "eval.environments=shared", "replay=prioritized", "replay.storage=disk", "replay.capacity=200")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(EVERYTHING, id="everything"),
        *(pytest.param(words, id=name, marks=pytest.mark.slow) for name, words in CASES.items()),
    ],
)
def test_killed_and_continued_equals_not_stopped(tmp_path: Path, forks: Starter, words: tuple[str, ...]) -> None:
    kills, steps = (5, 300) if words == EVERYTHING else (3, 200)
    words = (*WORDS, *words, f"steps={steps}")
    assert forks.run(tmp_path / "whole", *words, "checkpoint.minutes=10").finish()[0] == 0
    moments = random.Random(0)
    continued = 0
    for _ in range(kills):
        run = forks.run(tmp_path / "run", *words)
        assert run.reach(max(0, last_step(tmp_path / "run")) + moments.randrange(30))
        while not checkpoints(tmp_path / "run" / CHECKPOINTS) and run.code() is None:
            time.sleep(0.01)
        time.sleep(0.05 * moments.random())
        run.kill(signal.SIGKILL)
        code, out, _ = run.finish()
        assert code == -signal.SIGKILL
        continued += "continuing at step" in out
    assert continued >= kills // 2
    code, _, err = forks.run(tmp_path / "run", *words).finish()
    assert (code, err) == (0, "") and last_step(tmp_path / "run") >= steps
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")


@pytest.mark.slow
def test_stopped_by_signals_and_continued_equals_not_stopped(tmp_path: Path, forks: Starter) -> None:
    words = (*WORDS, "steps=300", "checkpoint.minutes=10")
    assert forks.run(tmp_path / "whole", *words).finish()[0] == 0
    for number, step, start in ((signal.SIGTERM, 50, Run), (signal.SIGINT, 100, forks.run)):
        run = start(tmp_path / "run", *words)
        assert run.reach(step)
        run.kill(number)
        code, _, err = run.finish()
        assert code == 130
        assert err.startswith("interrupted at step ") and err.endswith("the same command continues\n")
    code, out, _ = forks.run(tmp_path / "run", *words).finish()
    assert code == 0 and "continuing at step" in out
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")


@pytest.mark.slow
def test_stopped_in_an_evaluation(tmp_path: Path, forks: Starter) -> None:
    """It is broken off, and made anew from the beginning on continuing."""
    fragile = ("env.id=tests.worldmodel.worlds:Fragile-v0", "env.kwargs={flag:none,how:none}")
    words = ("deterministic=true", "steps=45", "log.every=10", "eval.every=40", "eval.episodes=200", *fragile)
    assert forks.run(tmp_path / "whole", *words).finish()[0] == 0
    run = forks.run(tmp_path / "run", *words)
    assert run.reach(40)
    run.kill(signal.SIGTERM)
    code, _, err = run.finish()
    assert code == 130 and err.startswith("interrupted at step 40; ")
    assert not any("eval/return" in row for row in rows(tmp_path / "run"))
    assert forks.run(tmp_path / "run", *words).finish()[0] == 0
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")


def terminated(config: TrainConfig) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(1)


def test_interrupted_before_it_has_begun(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert command("train", f"{__name__}:terminated", []) == 130
    assert capsys.readouterr().err == "interrupted\n" and signal.getsignal(signal.SIGTERM) is before


def test_random_states_of_another_device() -> None:
    """Their generators have states of other sizes: the run goes on with other numbers, the same each time."""

    class Small(torch.Generator):
        def get_state(self) -> torch.Tensor:
            return super().get_state()[:16]

    state = RandomStates(torch.Generator().manual_seed(3)).state_dict()
    draws = []
    for seed in (0, 1):
        generator = Small().manual_seed(seed)
        RandomStates(generator).load_state_dict(state)
        draws.append(torch.rand(3, generator=generator))
    assert torch.equal(*draws) and not torch.equal(draws[0], torch.rand(3, generator=torch.Generator().manual_seed(3)))


def test_killed_before_the_first_checkpoint_begins_anew(tmp_path: Path, forks: Starter) -> None:
    words = ("deterministic=true", "steps=120", "checkpoint.minutes=10", "log.every=10")
    run = forks.run(tmp_path / "run", *words)
    assert run.reach(60)
    run.kill(signal.SIGKILL)
    run.finish()
    assert forks.run(tmp_path / "run", *words).finish()[0] == 0
    steps = [row["step"] for row in rows(tmp_path / "run")]
    assert steps == sorted(steps) and steps.count(60) == 1


@pytest.mark.slow
def test_more_steps_continue_as_if_they_had_been_asked_for_at_first(tmp_path: Path, forks: Starter) -> None:
    constant = ("optimizer.final_rate=1", "behavior.entropy=1e-3", "behavior.final_entropy=1e-3")  # over any run
    words = ("deterministic=true", *constant, "log.every=10", *STREAMS)
    assert forks.run(tmp_path / "whole", *words, "steps=120").finish()[0] == 0
    assert forks.run(tmp_path / "run", *words, "steps=80").finish()[0] == 0
    workers = "env.vectorization=async"  # which may change, and changes nothing
    assert forks.run(tmp_path / "run", *words, "steps=120", workers).finish()[0] == 0
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")
