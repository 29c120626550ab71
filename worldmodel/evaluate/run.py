"""`python -m worldmodel.evaluate`: the greedy return of a run's agent, and a video of it."""

import os
from contextlib import ExitStack, closing
from functools import partial

from hybrid_opt.paths import user_path
from worldmodel.envs import Environments
from worldmodel.evaluate.config import EvaluateConfig
from worldmodel.evaluate.policy import load
from worldmodel.evaluate.video import check_video, video
from worldmodel.kernels.compiling import compilations_said
from worldmodel.launch import hardware
from worldmodel.runs.error_log import error_log
from worldmodel.runs.evaluation import EVALUATIONS, append, read_evaluation, result_of, write_evaluation
from worldmodel.train.config import run_config
from worldmodel.train.episodes import SEED, STREAMS, evaluate


def run(config: EvaluateConfig) -> int:
    """Evaluate; returns the exit code. The run may be training meanwhile.

    The result is a row of its evaluations.jsonl. Its evaluation.json, by which a finished run is known and compared, is
    that of training's end; before there is one, it holds this result.
    """
    hardware.keep_freed_memory()
    hardware.set_threads(config.threads)
    path = user_path(config.logdir, "logdir").absolute()
    seed = SEED if config.seed is None else config.seed
    trained = run_config(path)
    options = trained.env
    make = partial(Environments, options, seed=seed, evaluation=True, repeatable=trained.deterministic)
    read_evaluation(path)  # if it is damaged, that is said now
    with ExitStack() as stack:
        stack.enter_context(error_log(lambda: path))
        stack.enter_context(compilations_said(partial(print, flush=True)))
        if config.video is not None:
            film = user_path(config.video, "video").absolute()
            check_video(film)
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws into memory and needs no display
            make(1, render=True).close()  # if it cannot, that is said now
        if config.sweep.asked:
            from worldmodel.evaluate.sweep import sweep  # with the statistics of comparisons

            sweep(config, path, trained, make)
            return 0
        agent = load(path, config.checkpoint, config.device)
        stack.callback(agent.close)
        streams = options.num if trained.eval.environments == "shared" else min(config.episodes, STREAMS)
        environments = stack.enter_context(closing(make(streams)))
        print(f"{options.id}: {agent.checkpoint}, step {agent.step}")
        played = evaluate(agent.player.copy(seed), environments, config.episodes, note=partial(print, flush=True))
        for number, episode in enumerate(played, 1):
            print(f"episode {number}: return {episode.ret:.2f}, {episode.length} steps")
        result = result_of(path, played, agent.step, agent.checkpoint) | {"seed": seed}
        append(path, result)
        before = read_evaluation(path)
        if before is None or not before["finished"]:
            write_evaluation(path, played, agent.step, agent.checkpoint, finished=None)
        print(f"mean {result['mean']:.2f}, std {result['std']:.2f} over {len(played)} episodes")
        print(f"{path / EVALUATIONS}: holds this result")
        environments.close()  # there may be room for one at a time
        if config.video is not None:
            shown = stack.enter_context(closing(make(1, render=True, beside=environments)))
            with video(film, agent.frame_rate) as record:
                (episode,) = evaluate(agent.player.copy(seed), shown, 1, record=record)
            print(f"{film}: an episode with return {episode.ret:.2f}")
    return 0
