"""The configuration of a training run: its keys, and what must hold between them."""

import math
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt import ProblemError
from hybrid_opt.backends import check_name
from hybrid_opt.backends.noise import check_one, noise_of
from hybrid_opt.layers.config import CircuitConfig
from hybrid_opt.solvers import check_solver
from quantum_sampler import selector_parts
from worldmodel.cli.compose import UsageError, leaves
from worldmodel.cli.errors import numbers, validated
from worldmodel.envs import EnvConfig
from worldmodel.model.config import BehaviorConfig, LossConfig, ModelConfig
from worldmodel.model.control.config import ControlConfig
from worldmodel.model.factory import Factory
from worldmodel.model.size import ModelSize
from worldmodel.replay.buffer import ReplayConfig
from worldmodel.runs.folder import RunFolderError, read_config
from worldmodel.runs.parts import options
from worldmodel.train.optimizers import HybridConfig, LaPropConfig

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
LARGEST = 3.4e38  # what float32 holds
_LATER = (
    "seconds",
    "model.",
    "circuit.",
    "noise",
    "control.",
    "env.",
    "eval.environments",
    "size.fan_in",
)  # what earlier runs have not all written
WIDEST = 1 << 20  # of a layer: sizes in bytes stay within 64 bits
_strict = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(config=_strict)
class EvalConfig:
    """When and how long the agent is evaluated."""

    every: Count = 2500
    """environment steps between greedy evaluations, 0 for none"""
    episodes: Positive = 10
    """episodes of each"""
    final_episodes: Count = 20
    """episodes of the one at the end, 0 for none"""
    environments: Literal["own", "shared"] = "own"
    """own, beside those of training, or shared: the streams of training, between episodes, for simulators that can
    exist once"""


@dataclass(config=_strict)
class LogConfig:
    """When metrics and predictions are written."""

    every: Positive = 250
    """environment steps between rows of metrics"""
    predictions_every: Count = 5000
    """environment steps between pictures of open-loop predictions, 0 for none"""


@dataclass(config=_strict)
class CheckpointConfig:
    """When checkpoints are written, and how many are kept."""

    minutes: Annotated[float, Field(gt=0)] = 5
    """minutes between checkpoints"""
    keep: Positive = 2
    """latest checkpoints that are kept, beside the best"""


@dataclass(config=_strict, kw_only=True)
class TrainConfig:
    """A training run."""

    steps: Positive = 10000
    """environment steps, action repeats counted"""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """the run ends after so many seconds, evaluations included, where its steps take longer; null: by its steps
    alone"""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """of everything: environments, weights, exploration, replay"""
    logdir: str = "auto"
    """the run's folder; an existing run in it is continued; auto: a new folder under runs/"""
    init: str | None = None
    """another run's folder, or a checkpoint of it, whose weights this run starts from"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto, float32 or bfloat16; auto: bfloat16 on CUDA, and for large models on processors with AMX"""
    threads: Literal["auto"] | Positive = "auto"
    """CPU threads; auto: OMP_NUM_THREADS or all cores, at most 8; of PyTorch's own operators 1 for vectors in batches
    of at most 256 steps"""
    deterministic: bool = False
    """bit-exact repetition on the CPU"""
    compile: bool = False
    """capture the update as a CUDA graph"""
    backend: str = "statevector"
    """where quantum parts run: statevector, lightning, aer, ibm:NAME, dwave[:NAME], pennylane:NAME"""
    budget: dict[Literal["shots", "seconds", "dollars"], Annotated[float, Field(ge=0)]] | None = None
    """the most that quantum jobs of this run may cost, such as 'budget={shots:1e6,seconds:60,dollars:5}'"""
    prefill: Positive = 500
    """steps collected before training begins"""
    batch_size: Positive = 16
    """windows in a batch"""
    batch_length: Annotated[int, Field(ge=2)] = 16
    """steps in a window"""
    train_ratio: Annotated[float, Field(gt=0)] = 64
    """replayed steps per collected step"""
    env: EnvConfig
    replay: ReplayConfig
    loss: LossConfig
    behavior: BehaviorConfig
    eval: EvalConfig
    log: LogConfig
    checkpoint: CheckpointConfig
    size: ModelSize
    model: ModelConfig = field(default_factory=ModelConfig)  # earlier runs have no such section
    circuit: CircuitConfig = field(default_factory=CircuitConfig)  # nor these
    noise: dict[str, Any] = field(default_factory=lambda: {"name": "none"})
    """errors of all simulated quantum parts; circuit.noise is for the model alone"""
    control: ControlConfig = field(default_factory=ControlConfig)
    solver: dict[str, Any]
    optimizer: Annotated[LaPropConfig | HybridConfig, Field(discriminator="name")]

    @property
    def parts(self) -> Factory:
        """What makes the parts of the model."""
        return Factory(self.model, self.circuit.within(self.noise))

    @property
    def stride(self) -> int:
        """Steps of a replay item: the length of a window for selectors with priorities, so that all get visited."""
        if self.replay.stride != "auto":
            return self.replay.stride
        return 1 if self.replay.selector == "uniform" else self.batch_length

    @property
    def selector_options(self) -> dict[str, Any]:
        """The options of the chosen selector: what the replay section has beside its own keys."""
        own = {field.name for field in fields(ReplayConfig)}
        return {key: value for key, value in vars(self.replay).items() if key not in own}

    def as_dict(self) -> dict[str, Any]:
        """All values, the selector's options included: what config.yaml says and continuing compares."""
        return {**asdict(self), "replay": dict(vars(self.replay))}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for key, value in numbers(self.as_dict()):
            if key.startswith("env.kwargs."):
                continue
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{key}={value}: must be a finite number")
            if isinstance(value, float) and abs(value) > LARGEST:
                raise ValueError(f"{key}={value}: must be within {LARGEST:g}, as numbers of 32 bits are")
        for key, part in selector_parts(self.replay.selector, **self.selector_options):
            if self.deterministic and not getattr(part, "inline", True):
                raise ValueError(f"{key}.inline=false: true is accepted with deterministic=true")
        try:
            check_name(self.backend)
            model = noise_of(self.noise)
            check_one(model, self.backend)
            check_one(model if self.circuit.noise is None else None, self.circuit.backend, "circuit.backend")
            check_solver(self.solver, "solver")
            self.parts.check()
            self.optimizer.check(self.batch_size)
        except ProblemError as error:
            raise ValueError(str(error)) from error
        for key, value in numbers(vars(self.size)):
            if value > WIDEST:
                raise ValueError(f"size.{key}={value}: at most {WIDEST} is accepted")
        if self.size.deter % self.size.blocks:
            raise ValueError(f"size.deter={self.size.deter}: a multiple of size.blocks={self.size.blocks} is accepted")
        if self.replay.fresh >= self.batch_size:
            raise ValueError(f"replay.fresh={self.replay.fresh}: less than batch_size={self.batch_size} is accepted")
        if self.model.agent == "control" and self.control.returns >= self.batch_length:
            raise ValueError(
                f"control.returns={self.control.returns}: less than batch_length={self.batch_length} is accepted"
            )
        least = (self.batch_length + self.stride) * self.env.num
        if self.prefill < least:
            raise ValueError(
                f"prefill={self.prefill}: at least {least} is accepted, for windows of batch_length={self.batch_length}"
                f" in env.num={self.env.num} streams"
            )
        if self.replay.capacity < 2 * least:
            raise ValueError(f"replay.capacity={self.replay.capacity}: at least {2 * least} is accepted")
        return self


def run_config(path: Path) -> TrainConfig:
    """The configuration of the run in a folder. Raises RunFolderError."""
    values = read_config(path)
    written = [f"{key}." for key in leaves(values)]
    try:
        for key, option in options(TrainConfig).items():
            if not (option.section or key.startswith(_LATER) or any(each.startswith(f"{key}.") for each in written)):
                raise UsageError(f"{key}: must be given")
        return validated(TrainConfig, values, {})
    except UsageError as error:
        raise RunFolderError(f"logdir={path}: its config.yaml is not one of this version ({error})") from error
