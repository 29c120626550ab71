"""`python -m worldmodel.train`: a run composed from its configuration, begun or continued."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import numpy as np
import torch

from envs import Environments
from quantum_sampler import Selector, make_selector
from worldmodel import experience, machine
from worldmodel.agent import Agent
from worldmodel.checkpoint import checkpoints, load_state, weights
from worldmodel.config import TrainConfig
from worldmodel.metrics import MetricsWriter
from worldmodel.optimizer import LaProp
from worldmodel.player import Player
from worldmodel.replay import Replay, bytes_per_step
from worldmodel.run_folder import RunFolder, RunFolderError
from worldmodel.trainer import Trainer
from worldmodel.update import Update

MAY_CHANGE = ("steps", "logdir", "device", "threads", "eval", "log", "checkpoint")  # when a run is continued


def run(config: TrainConfig) -> int:
    """Train; returns the exit code. What can be wrong with the input is found before anything is written."""
    machine.keep_freed_memory()
    device = machine.choose_device(config.device)
    precision = machine.choose_precision(config.precision, device)
    threads = machine.set_threads(config.threads)
    if config.deterministic:
        machine.make_deterministic(device)
    path = _new_logdir(config) if config.logdir == "auto" else Path(config.logdir)
    with ExitStack() as stack:
        folder = stack.enter_context(RunFolder(path))
        folder.compare(asdict(config), MAY_CHANGE)
        found = checkpoints(path / "checkpoints")
        if found and (mean := _finished(path, config.steps)) is not None:
            print(f"{path}: finished with return {mean:.1f}; more steps=... continue it")
            return 0
        environments = Environments(config.env, config.env.num, config.seed)
        stack.callback(environments.close)
        agent, replay = _agent(config, environments, device), _replay(config, environments, path)
        generator = torch.Generator(device)
        generator.manual_seed(config.seed)
        options = asdict(config.optimizer)
        name = options.pop("name")
        optimizer = LaProp([p for p in agent.parameters() if p.requires_grad], **options)
        update = Update(agent, optimizer, precision, generator, config.compile)
        player = Player(agent, precision, generator)
        print(f"{config.env.id}: {device}, {str(precision)[6:]}, {threads} threads, {name}; logdir {path}")
        if found:
            folder.cut_back(load_state(found[-1] / "state.pt", mmap=True)["marks"])
        folder.write_config(asdict(config))
        writer = stack.enter_context(MetricsWriter(path))
        trainer = Trainer(config, folder, environments, replay, player, update, writer)
        stack.callback(trainer.close)
        if found:
            broken = trainer.resume(found[-1])
            print(f"continuing at step {trainer.counters.step}")
            if broken:
                print(
                    f"the episodes of streams {broken} could not be replayed to where they were: new ones begin there"
                )
        else:
            trainer.start()
            writer.hparams(asdict(config), ["eval/return"])
        with _stopped_by_signals(trainer):
            trainer.run()
    return 0


def _new_logdir(config: TrainConfig) -> Path:
    """A folder under runs/ named after the environment and the time."""
    name = config.env.id.replace("/", "-").replace(":", "-")
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-seed{config.seed}"


def _finished(path: Path, steps: int) -> float | None:
    """The mean return of a run that has reached `steps`."""
    try:
        result = json.loads((path / "evaluation.json").read_bytes())
        return float(result["mean"]) if result["step"] >= steps else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"logdir={path}: its evaluation.json is damaged; remove it to evaluate again") from error


def _agent(config: TrainConfig, environments: Environments, device: torch.device) -> Agent:
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        agent = Agent(
            environments.observation_specs, environments.action_spec, config.size, config.loss, config.behavior
        )
    if config.init is not None:
        agent.load_state_dict(weights(Path(config.init)))
    return agent.to(device)


def _replay(config: TrainConfig, environments: Environments, path: Path) -> Replay:
    """The replay, after a look at whether it fits."""
    options, streams, stride = config.replay, config.env.num, config.stride
    fields = experience.fields(environments.observation_specs, environments.action_spec)
    latents = experience.latents(config.size)
    length = options.capacity // streams
    size = bytes_per_step({**fields, **latents}) * min(options.capacity, config.steps + streams)
    machine.check_fits(size, options.storage == "disk", path, options.capacity)
    seed = int(np.random.SeedSequence((config.seed, 1)).generate_state(1)[0])
    return Replay(
        fields,
        latents,
        _selector(config, Replay.item_capacity(length, streams, stride)),
        steps=length,
        streams=streams,
        window=config.batch_length,
        stride=stride,
        seed=seed,
        directory=path / "replay" if options.storage == "disk" else None,
    )


def _selector(config: TrainConfig, capacity: int) -> Selector:
    """The chosen selector, with the component for fresh data beside it."""
    options = config.replay
    if not options.fresh:
        return make_selector(options.selector, capacity, config.seed, **config.selector_options)
    share = options.fresh / config.batch_size
    streams = config.env.num  # items of a stream that overlap are handed out once
    components = {
        "fresh": {"share": share, "span": streams * -(-config.batch_length // config.stride), "width": streams},
        options.selector: {"share": 1 - share, **config.selector_options},
    }
    return make_selector("mixture", capacity, config.seed, components=components, correction="component")


@contextmanager
def _stopped_by_signals(trainer: Trainer) -> Iterator[None]:
    """SIGINT and SIGTERM ask the trainer to save and stop; the second one stops at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if trainer.stopping:
            raise KeyboardInterrupt
        trainer.stopping = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
