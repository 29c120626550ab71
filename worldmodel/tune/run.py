"""`python -m worldmodel.tune`: a policy that tunes circuits, trained in a run folder and written as policy.npz."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hybrid_opt.circuits.schedules.learned import TuningPolicy
from hybrid_opt.paths import user_path
from worldmodel.cli.overrides import settings
from worldmodel.launch import hardware
from worldmodel.runs.evaluation import finished, told, write_evaluation
from worldmodel.runs.folder import RunFolder
from worldmodel.runs.metrics import MetricsWriter
from worldmodel.train import run as training
from worldmodel.tune.config import TuneConfig
from worldmodel.tune.episodes import evaluation_row, play
from worldmodel.tune.landscape import with_landscape

POLICY = "policy.npz"
MAY_CHANGE = ("steps", "logdir", "device", "threads", "eval", "log", "checkpoint")  # when a run is continued


def run(config: TuneConfig, words: Sequence[str] = ()) -> int:
    """Train, evaluate and write the policy; returns the exit code. A run that was stopped is continued."""
    name = f"tune-{config.agent.name}-{time.strftime('%Y%m%d-%H%M%S')}-seed{config.seed}"
    logdir = f"runs/{name}" if config.logdir == "auto" else config.logdir
    return _distilled(config, logdir, words) if config.agent.name == "worldmodel" else _trained(config, logdir, words)


def _trained(config: TuneConfig, logdir: str, words: Sequence[str]) -> int:
    from worldmodel.tune.sb3 import Tuner

    device = hardware.choose_device(config.device)
    hardware.set_threads(config.threads, small=True)
    with ExitStack() as stack:
        folder = stack.enter_context(RunFolder(logdir))
        folder.compare(config.effective(), MAY_CHANGE)
        tuner = Tuner(config, device, folder)
        stack.callback(tuner.close)
        found = tuner.find()
        if done := finished(folder.path, config.steps, found is not None):
            print(f"{folder.path}: finished{told(done, 3)}; more steps=... continue it")
            return 0
        if found:
            tuner.resume(found)
            for name in folder.cut_back(found["marks"], found.get("sums")):
                print(f"{folder.path / name}: is not what it was at the checkpoint; it was changed since")
            folder.write_config(config.effective())
            print(f"continuing at step {found['step']}")
        elif aside := folder.begin(config.effective()):
            print(
                f"{folder.path}: no checkpoint to continue from; the run begins anew, what was there is in {aside.name}"
            )
        writer = stack.enter_context(MetricsWriter(folder.path, found["step"] if found else 0))
        if not found:
            writer.hparams(settings(words, config.effective()), ["eval/return"])
        print(f"{config.env.id}: {config.agent.name} on {device}; logdir {folder.path}")
        policy = _measured(tuner.train(writer), config)
        policy.save(folder.path / POLICY)
        played, ratios = play(policy, config.tuning, config.eval.final_episodes)
        writer.write(tuner.step, evaluation_row(played, ratios))
        writer.flush()
        result = write_evaluation(folder.path, played, tuner.step, folder.path / POLICY, finished=tuner.step)
        print(_summary(folder.path, result["mean"], ratios))
    return 0


def _distilled(config: TuneConfig, logdir: str, words: Sequence[str]) -> int:
    """Ordinary training on the environment, then an MLP that is fitted to the agent's greedy actions."""
    from worldmodel.tune.distillation import distilled

    code = training.run(config.training(logdir), words, composed_here=False)
    path = user_path(logdir, "logdir")
    policy = _measured(distilled(config, path), config)
    policy.save(path / POLICY)
    played, ratios = play(policy, config.tuning, config.eval.final_episodes)
    returns = float(np.mean([episode.ret for episode in played]))
    print(_summary(path, returns, ratios))
    return code


def _measured(policy: TuningPolicy, config: TuneConfig) -> TuningPolicy:
    """With the landscape around its first guesses, if that is asked for."""
    problems = config.agent.landscape
    if problems:
        print(f"measuring the energy around the first guesses of {problems} problems", flush=True)
    return with_landscape(policy, config.tuning, problems) if problems else policy


def _summary(path: Path, mean: float, ratios: NDArray[np.float64]) -> str:
    ratio = "" if np.isnan(ratios).any() else f", median approximation ratio {np.median(ratios):.4f}"
    return f"{path / POLICY}: return {mean:.3f}{ratio}"
