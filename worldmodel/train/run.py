"""`python -m worldmodel.train`: a run composed from its configuration, begun or continued."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.backend import Backend
from hybrid_opt.paths import user_path
from hybrid_opt.solvers import with_noise
from quantum_sampler import Selector, make_selector, wants_features
from worldmodel.cli.command import stopped_by_signals
from worldmodel.cli.overrides import settings
from worldmodel.envs import Environments
from worldmodel.envs.spaces.spaces import ActionSpec, ObservationSpec
from worldmodel.kernels import for_agent
from worldmodel.kernels.supported import small
from worldmodel.launch import hardware
from worldmodel.model.agent import Agent
from worldmodel.model.factory import Factory
from worldmodel.model.making import make_agent
from worldmodel.model.player import Player
from worldmodel.replay import stream as experience
from worldmodel.replay.buffer import Replay, bytes_per_step
from worldmodel.replay.features import WIDTH, Pooling
from worldmodel.replay.probe import ModelProbe
from worldmodel.runs.checkpoint import checkpoints, load_weights, state_file
from worldmodel.runs.error_log import error_log
from worldmodel.runs.evaluation import finished, told
from worldmodel.runs.folder import CHECKPOINTS, RunFolder
from worldmodel.runs.metrics import MetricsWriter
from worldmodel.train.config import TrainConfig, run_config
from worldmodel.train.hybrid import make_optimizer
from worldmodel.train.recipe import AUTO, begun_as, is_open, suiting, with_recipe
from worldmodel.train.trainer import Trainer
from worldmodel.train.update import Update

IMAGINED_BYTES = 2  # at least, of each number of an imagined state, in bfloat16
ITEM_BYTES = 48  # about, of an item in the selectors
# Keys that may differ when a run is continued. Of size.fan_in the run keeps its own: its weights have been drawn.
MAY_CHANGE = (
    *("steps", "seconds", "logdir", "device", "threads"),
    *("eval", "log", "checkpoint", "size.fan_in", "env.vectorization"),
)


def run(config: TrainConfig, words: Sequence[str] = (), composed_here: bool = True) -> int:
    """Train; returns the exit code. words: those that made the configuration, for TensorBoard.

    composed_here: these words are of this command, so `training=auto` among them is for the environment to choose.

    What can be wrong with the input is found before anything is written.
    """
    hardware.keep_freed_memory()
    device = hardware.choose_device(config.device)
    if config.deterministic:
        hardware.make_deterministic(device)
    if config.compile and device.type != "cuda":
        raise hardware.MachineError(f"compile=true: needs a CUDA device, not {device}")
    with ExitStack() as stack:
        folder = stack.enter_context(RunFolder(_new_logdir(config) if config.logdir == "auto" else config.logdir))
        stack.enter_context(error_log(lambda: folder.path))
        path = folder.path
        leaves_recipe = composed_here and bool(words) and is_open(words)
        if leaves_recipe and (begun_values := folder.config()):
            leaves_recipe, name = False, begun_as(begun_values, words, MAY_CHANGE)
            config = config if name == AUTO else with_recipe(words, name)
        folder.compare(config.as_dict(), MAY_CHANGE)
        found = checkpoints(path / CHECKPOINTS)
        if found:
            begun = run_config(path)
            config = replace(config, size=replace(config.size, fan_in=begun.size.fan_in))  # as its weights were drawn
        if done := finished(path, config.steps, bool(found)):
            print(f"{path}: finished{told(done)}; more steps=... continue it")
            return 0
        environments = Environments(config.env, config.env.num, config.seed, repeatable=config.deterministic)
        stack.callback(environments.close)
        hardware.put_back_torch(config.env.id)
        if leaves_recipe:
            name, why = suiting(config, environments.observation_specs, environments.action_spec)
            if name != AUTO:
                config = with_recipe(words, name)
                print(f"training={name}: {why}")
        if not _updates(config):
            print(f"steps={config.steps}: no update follows prefill={config.prefill}, so nothing is learned")
        images = any(spec.kind == "image" for spec in environments.observation_specs.values())
        rows = config.batch_size * config.batch_length
        threads = hardware.set_threads(config.threads, small=rows <= 256 and not images)
        if device.type == "cuda":  # after the workers have been forked: this starts CUDA
            torch.cuda.set_device(device)  # whose streams and graphs are those of the current device
        _check_memory(config, environments, path, device)
        agent = for_agent(_agent(config, environments, "cpu").to(device), threads)
        if not found:
            if config.init is not None:
                load_weights(agent, state_file(user_path(config.init, "init")))
            environments.reset()
        precision = hardware.choose_precision(config.precision, device, small(agent))
        generator = torch.Generator(device)
        generator.manual_seed(config.seed)
        if not found and (aside := folder.begin(config.as_dict())):
            print(f"{path}: no checkpoint to continue from; the run begins anew, what was there is in {aside.name}")
        backends = _Backends(config, path, stack)
        player = Player(agent, precision, generator, _acting(config, agent, backends))
        probe = ModelProbe(player, config.seed)
        replay = _replay(config, environments, path, _selector(config, probe, backends))
        pooling = Pooling(config.size.deter, config.seed, device) if _features(config) else None
        slots = config.model.memory_options.slots if config.parts.remembered else 0
        stream = experience.Stream(replay, device, config.size.classes, config.batch_size, pooling, slots)
        probe.bind(stream)
        deterministic = config.deterministic
        optimizer = make_optimizer(config.optimizer, agent, precision, config.seed, deterministic, backends.open)
        update = Update(agent, optimizer, precision, generator, config.compile, config.optimizer.final_rate)
        stack.callback(update.steps.close)
        counts = _parameters_of_parts(config, agent)
        chosen = hardware.explained(config.device, device, small(agent))
        about = f"{chosen}, {str(precision)[6:]}, {threads} threads, {config.optimizer.name}"
        print(f"{config.env.id}: {about}; logdir {path}")
        if config.budget is not None and not backends.opened:
            print("budget: no part of this run is on a backend that counts; shots simulated here are free")
        trainer = Trainer(config, folder, environments, stream, player, update)
        stack.callback(trainer.close)
        if found:
            broken, sizes = trainer.resume(found[-1])
            for name in folder.cut_back(**sizes):
                print(f"{path / name}: is not what it was at the checkpoint; it was changed since")
            folder.write_config(config.as_dict())
            print(f"continuing at step {trainer.counters.step}")
            if broken:
                print(
                    f"the episodes of streams {broken} could not be replayed to where they were: new ones begin there"
                )
        writer = stack.enter_context(MetricsWriter(path))
        if found:
            _tell_rate(config, begun.steps, trainer.counters.step, writer)
        else:
            writer.hparams(settings(words, config.as_dict()), ["eval/return"])
            if counts:
                writer.write(0, {f"model/parameters/{place}": count for place, count in counts.items()})
        with stopped_by_signals(trainer):
            trainer.run(writer)
    return 0


def _updates(config: TrainConfig) -> int:
    """The updates of a whole run."""
    collected = config.steps / config.env.action_repeat - config.prefill
    return int(collected * config.train_ratio / (config.batch_size * config.batch_length))


def _tell_rate(config: TrainConfig, steps: int, step: int, writer: MetricsWriter) -> None:
    """Say and log the learning rate where other steps than before make it jump."""
    optimizer = config.optimizer
    shares = (min(1.0, step / whole) for whole in (steps, config.steps))
    was, now = (optimizer.lr * (1 - share * (1 - optimizer.final_rate)) for share in shares)
    if was != now:
        print(f"steps was {steps}, is {config.steps}: the learning rate goes from {was:.3g} to {now:.3g} at once")
        writer.write(step, {"model/learning_rate": now})


def _new_logdir(config: TrainConfig) -> Path:
    """A folder under runs/ named after the environment and the time."""
    name = config.env.id.replace("/", "-").replace(":", "-")
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-seed{config.seed}"


def _agent(config: TrainConfig, environments: Environments, device: str) -> Agent:
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(config.seed)
        specs = environments.observation_specs, environments.action_spec
        agent: Agent = make_agent(config, *specs)
    return agent


def _parameters(config: TrainConfig, observation: Mapping[str, ObservationSpec], action: ActionSpec) -> int:
    """How many parameters an agent for these spaces has; nothing is allocated."""
    with torch.random.fork_rng(), torch.device("meta"):
        agent = make_agent(config, dict(observation), action)
    return sum(parameter.numel() for parameter in agent.parameters())


def _parameters_of_parts(config: TrainConfig, agent: Agent) -> dict[str, int]:
    """Say and return how many parameters those parts have that are not the usual ones."""
    usual, chosen, counts = Factory().kinds, config.parts.kinds, {}
    for place, part in agent.parts.items():
        if chosen[place] != usual[place]:
            sizes = [(p.numel(), p.requires_grad) for p in part.parameters()]
            counts[place] = sum(size for size, _ in sizes)
            trained = sum(size for size, trains in sizes if trains)
            print(f"model.{place}: {chosen[place]}, {counts[place]:,} parameters, {trained:,} of them trained")
    return counts


def _largest(config: TrainConfig, environments: Environments, parameters: int) -> tuple[str, str]:
    """The key that a model too large is due to, and what is accepted: a space that takes most of it, else the size."""
    specs, action = environments.observation_specs, environments.action_spec
    small = ObservationSpec("vector", (1,))
    without = {
        f"observation {key!r}": _parameters(config, {**specs, key: small}, action)
        for key, spec in specs.items()
        if spec.kind != "image"
    }
    without["the action"] = _parameters(config, specs, ActionSpec("discrete", (2,)))
    name = min(without, key=lambda name: without[name])
    if 2 * without[name] > parameters:
        return "size", "a smaller size"
    return f"env.id={config.env.id}: its space of {name}", "a space of fewer numbers or classes"


def _check_memory(config: TrainConfig, environments: Environments, path: Path, device: torch.device) -> None:
    """Tell what model and replay will take, before they are allocated. Raises MachineError where they do not fit."""
    parameters = _parameters(config, environments.observation_specs, environments.action_spec)
    model = hardware.check_model(parameters, device, lambda: _largest(config, environments, parameters))
    if _updates(config):
        rows, state = config.batch_size * config.batch_length, IMAGINED_BYTES * config.size.feature
        key = f"behavior.horizon={config.behavior.horizon} with batch_size={config.batch_size}"
        hardware.check_imagined(rows * (config.behavior.horizon + 1) * state, device, key)
    options = config.replay
    fields = bytes_per_step(experience.fields(environments.observation_specs, environments.action_spec))
    latents = bytes_per_step(experience.latents(config.size, config.parts.remembered))
    steps = min(options.capacity, config.steps + config.env.num)
    whole = (fields + latents) * steps + (ITEM_BYTES + 4 * _features(config)) * options.capacity // config.stride
    saved = (fields + (config.checkpoint.keep + 1) * latents) * steps  # latents anew each time
    hardware.check_replay(whole, saved, options.storage == "disk", path, options.capacity, reserved=model)


def _replay(config: TrainConfig, environments: Environments, path: Path, selector: Selector) -> Replay:
    options, streams, stride = config.replay, config.env.num, config.stride
    length = options.capacity // streams
    try:
        return Replay(
            experience.fields(environments.observation_specs, environments.action_spec),
            experience.latents(config.size, config.parts.remembered),
            selector,
            steps=length,
            streams=streams,
            window=config.batch_length,
            stride=stride,
            seed=config.seed,
            directory=path / "replay" if options.storage == "disk" else None,
        )
    except (OSError, MemoryError) as error:
        raise hardware.MachineError(f"replay.capacity={options.capacity}: cannot be allocated ({error})") from error


def _features(config: TrainConfig) -> int:
    """Numbers of the model state that the chosen selector keeps of each item."""
    return WIDTH if wants_features(config.replay.selector, **config.selector_options) else 0


class _Backends:
    """Opens the backends that options name, each once, with their jobs in the run's ledger and within its budget."""

    def __init__(self, config: TrainConfig, path: Path, stack: ExitStack) -> None:
        self._ledger, self._budget, self._stack = path / "ledger.sqlite", config.budget, stack
        self._noise = config.noise
        self._opened: dict[str, Backend] = {}

    @property
    def opened(self) -> bool:
        """Whether any part of the run has a backend of its own."""
        return bool(self._opened)

    def open(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with backends in the place of their names; our own simulator needs none. Raises ProblemError.

        Solvers that simulate circuits get the noise of the run.
        """
        found = {key: self._value(key, value) for key, value in options.items()}
        if "solver" in options:
            found["solver"] = with_noise(found["solver"], self._noise, options.get("backend"))
        return found

    def named(self, name: str, check: Callable[[Backend], None] | None = None) -> Backend:
        """The backend of a name. check: see `open_backend`. Raises ProblemError."""
        if name not in self._opened:
            self._opened[name] = open_backend(name, ledger=self._ledger, budget=self._budget, check=check)
            self._stack.callback(self._opened[name].close)
        return self._opened[name]

    def _value(self, key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self.open(value)
        return value if key != "backend" or value == "statevector" else self.named(value)


def _acting(config: TrainConfig, agent: Agent, backends: _Backends) -> Callable[[], AbstractContextManager[None]]:
    """The context in which the agent acts: its circuits run on the backend of their own, if they have one."""
    name = config.circuit.backend
    if name == "statevector":
        return nullcontext
    if not agent.acts_by_circuits:
        print(f"circuit.backend={name}: no part that acts has a circuit")
        return nullcontext
    from worldmodel.model.circuits import acting_through, check_backend  # with the simulator: most runs do without

    backend = backends.named(name, partial(check_backend, config.circuit))
    return acting_through(agent, backend, config.circuit, config.noise)


def _selector(config: TrainConfig, probe: ModelProbe, backends: _Backends) -> Selector:
    """The chosen selector, with the component for fresh data beside it."""
    options, chosen = config.replay, backends.open(config.selector_options)
    capacity = Replay.item_capacity(options.capacity // config.env.num, config.env.num, config.stride)
    given = (capacity, config.seed, _features(config), probe)
    if not options.fresh:
        return make_selector(options.selector, *given, **chosen)
    share = options.fresh / config.batch_size
    streams = config.env.num  # items of a stream that overlap are handed out once
    components = {
        "fresh": {"share": share, "span": streams * -(-config.batch_length // config.stride), "width": streams},
        options.selector: {"share": 1 - share, **chosen},
    }
    return make_selector("mixture", *given, components=components, correction="component")
