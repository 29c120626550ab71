"""The sections `model`, `loss` and `behavior`: which parts a model is made of, and how it learns."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hybrid_opt.errors import ProblemError

Share = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, le=1)]
_strict = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(config=_strict)
class HeadsConfig:
    """The kind of each head."""

    actor: str = "mlp"
    """kind of the actor: a file of worldmodel/model/heads, or module:Class"""
    critic: str = "mlp"
    """of the critic and its slow copy"""
    reward: str = "mlp"
    """of the reward prediction"""
    continuation: str = "mlp"
    """of the prediction whether the episode continues"""
    prior: str = "mlp"
    """of the latents' prior"""


@dataclass(config=_strict)
class FrontOptions:
    """Options of the fronts."""

    every: Annotated[int, Field(ge=1)] = 500
    """of pca: updates between refits"""
    rows: Annotated[int, Field(ge=2)] = 1024
    """of pca: replayed features that a refit sees, the last ones"""
    units: Annotated[int, Field(ge=1)] = 64
    """of autoencoder: width of its hidden layers"""
    weight: Scale = 1.0
    """of autoencoder: weight of its squared error in the loss"""


@dataclass(config=_strict)
class RouterOptions:
    """Options of the routers."""

    readout: Literal["softmax", "probabilities"] = "softmax"
    """of circuits: softmax of a linear map of expectations, or probabilities of the states of the first qubits"""
    balance: Scale = 0.01
    """weight of the loss that balances the experts' load"""


@dataclass(config=_strict)
class CellConfig:
    """Options of the recurrent cell."""

    base: Literal["lstm", "gru"] = "lstm"
    """recurrence of cells whose gates an approximator computes: an LSTM, or the block GRU"""


@dataclass(config=_strict)
class MemoryOptions:
    """Options of the episodic memories."""

    slots: Annotated[int, Field(ge=1, le=4096)] = 64
    """slots of each stream"""
    amplitudes: Annotated[int, Field(ge=4, le=1024)] = 16
    """of a key: a power of two"""
    values: Annotated[int, Field(ge=1, le=1024)] = 32
    """numbers of a value, which the heads see"""
    beta: Annotated[int, Field(ge=1, le=64)] = 2
    """how sharply the best match stands out: copies of the key that are post-selected together"""
    merge: Annotated[float, Field(gt=0, le=1)] = 0.95
    """fidelity from which an observation joins a slot instead of taking one"""

    def check(self) -> None:
        """Raise ProblemError where no qubits have so many amplitudes."""
        if self.amplitudes & (self.amplitudes - 1):
            raise ProblemError(
                f"model.memory_options.amplitudes={self.amplitudes}: a power of two from 4 to 1024 is accepted"
            )


@dataclass(config=_strict)
class ModelConfig:
    """The parts of the model, each by its name or as `module:Class`."""

    agent: Literal["dreamer", "control"] = "dreamer"
    """dreamer: a recurrent model with a decoder, and learning in imagination; control: a latent model without one, and
    Q-learning on replayed data"""
    cell: str = "gru"
    """recurrent cell: a file of worldmodel/model/cells, or module:Class for one of your own"""
    cell_options: CellConfig = field(default_factory=CellConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    front: str = "linear"
    """what stands between a feature and the encoding of a head with a circuit: a file of worldmodel/model/fronts, or
    module:Class"""
    front_options: FrontOptions = field(default_factory=FrontOptions)
    router: str = "none"
    """what weighs the experts that make the latents' prior: none (no experts, heads.prior alone), a file of
    worldmodel/model/routers, any kind of head, or module:Class"""
    router_options: RouterOptions = field(default_factory=RouterOptions)
    experts: Annotated[int, Field(ge=1, le=64)] = 4
    """experts that a router weighs"""
    expert: str = "mlp"
    """kind of the experts, a kind of head, of half the width"""
    memory: str = "none"
    """what of an episode is kept beside the recurrent state, for the heads to see: a file of
    worldmodel/model/memories, or module:Class"""
    memory_options: MemoryOptions = field(default_factory=MemoryOptions)


@dataclass(config=_strict)
class LossConfig:
    """Weights of the world model's losses."""

    reconstruction: Scale = 1.0
    """weight of the reconstruction of observations"""
    vectors: Scale = 1.0
    """weight of vectors among the observations; larger resolves small differences"""
    reward: Scale = 1.0
    """weight of the reward prediction"""
    continuation: Scale = 1.0
    """weight of the prediction whether the episode continues"""
    dynamics: Scale = 1.0
    """weight of the KL that moves the prior"""
    representation: Scale = 0.1
    """weight of the KL that moves the posterior"""
    free_nats: Scale = 1.0
    """each KL is not reduced below this"""


@dataclass(config=_strict)
class BehaviorConfig:
    """How actor and critic learn."""

    horizon: Annotated[int, Field(ge=1)] = 15
    """imagined steps from every replayed state"""
    discount_horizon: Annotated[float, Field(gt=1)] = 333
    """steps over which rewards are discounted: discount 1 - 1/this"""
    return_lambda: Share = 0.95
    """mixing of multi-step returns"""
    entropy: Scale = 3e-4
    """weight of the policy's entropy at first"""
    final_entropy: Scale = 3e-4
    """its weight at the end of the run, to which it changes linearly"""
    center_advantages: bool = False
    """subtract the mean advantage of a batch, which is noise while the critic lags behind"""
    replay_value: Scale = 0.3
    """weight of the critic's loss on replayed states"""
    slow_rate: Rate = 0.02
    """how far the slow critic moves at each update"""
    slow_regularizer: Scale = 1.0
    """weight of the slow critic in the critic's loss"""
    return_rate: Rate = 0.01
    """how far the range of returns moves at each update"""

    @property
    def discount(self) -> float:
        return 1 - 1 / self.discount_horizon
