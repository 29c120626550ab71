"""`python -m worldmodel.explain`: play, explain, test the explanations, and write a page and its figures."""

import os
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from hybrid_opt.paths import user_path
from worldmodel.envs import Environments
from worldmodel.envs.errors import EnvironmentFault, EnvironmentRefused
from worldmodel.evaluate.policy import Policy, load
from worldmodel.explain.config import ExplainConfig
from worldmodel.explain.explanation import explain
from worldmodel.explain.inputs import Inputs
from worldmodel.explain.page import page
from worldmodel.explain.result import Result, as_json, table
from worldmodel.explain.spectra import spectra
from worldmodel.explain.states import play
from worldmodel.explain.targets import make_targets
from worldmodel.kernels.compiling import compilations_said
from worldmodel.launch import hardware
from worldmodel.runs.atomic_file import atomic_file
from worldmodel.runs.error_log import error_log
from worldmodel.train.config import TrainConfig, run_config
from worldmodel.train.episodes import SEED

PAGE, FIGURES = "explanation.html", "explanation.json"


def run(config: ExplainConfig) -> int:
    """Explain; returns the exit code. Nothing of the run but these two files is written."""
    hardware.keep_freed_memory()
    hardware.set_threads(config.threads)
    path = user_path(config.logdir, "logdir").absolute()
    trained = run_config(path)
    said = partial(print, flush=True)
    with ExitStack() as stack:
        stack.enter_context(error_log(lambda: path))
        stack.enter_context(compilations_said(said))
        circuit = replace(trained.circuit, backend="statevector", noise=0.0, shots=None)  # what is drawn has no slopes
        agent = load(path, config.checkpoint, config.device, circuit)
        stack.callback(agent.close)
        print(f"{trained.env.id}: {agent.checkpoint}, step {agent.step}")
        result = explained(config, trained, agent, path)
    for name, text in ((FIGURES, as_json(result)), (PAGE, page(result))):
        with atomic_file(path / name) as file:
            file.write(text.encode())
    print(f"\n{table(result)}\n\n{path}: {PAGE}, {FIGURES}")
    return 0


def explained(config: ExplainConfig, trained: TrainConfig, agent: Policy, path: Path) -> Result:
    """Play episodes of a run with its agent, and explain them."""
    seed = SEED if config.seed is None else config.seed
    make = partial(Environments, trained.env, 1, seed, evaluation=True, repeatable=trained.deterministic)
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws into memory and needs no display
    try:
        environments, render = make(render=True), True
    except (EnvironmentRefused, EnvironmentFault):  # frames are wanted, not needed
        environments, render = make(), False
    said = partial(print, flush=True)
    inputs = Inputs(environments.observation_specs)
    with closing(environments), torch.no_grad():
        played = play(agent.player.copy(seed), environments, inputs, config.episodes, config.states, said, render)
    targets = make_targets(agent.player.agent.eval(), inputs)
    found = list(explain(targets, inputs, played, config.orders, config.draws, said))
    with torch.no_grad():
        chosen = targets.chosen(played.states.rows, played.states.kept)
    agreed = float((chosen - played.states.action).abs().amax(-1).lt(0.05).float().mean())
    spectrum = spectra(targets, played.states.rows, played.states.kept)
    checkpoint = agent.checkpoint.relative_to(path) if agent.checkpoint.is_relative_to(path) else agent.checkpoint
    return Result(
        trained.env.id, str(checkpoint), agent.step, seed, targets.said, inputs, played, found, agreed, spectrum
    )
