"""Replay of what a Boltzmann machine over latent codes finds unlikely."""

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass as record
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.effect import refuse_idle
from hybrid_opt.errors import BackendError, ProblemError
from quantum_sampler.codes.learned import LearnedCodes
from quantum_sampler.codes.projection import RandomProjection
from quantum_sampler.machines import MACHINES
from quantum_sampler.machines.independent import IndependentBits
from quantum_sampler.machines.machine import Machine
from quantum_sampler.machines.reader import AnnealerReader, PathIntegralReader
from quantum_sampler.machines.transverse import EXACT_UNITS, TransverseMachine
from quantum_sampler.selector import Array, Floats, Ids, Mask, OptionError
from quantum_sampler.selectors.base.planned import PlanningConfig
from quantum_sampler.selectors.base.planner import Plan, Planner, Plans, View

FEWEST = 32  # items with features, below which no machine is trained
SCALARS = ("trained_at", "mean", "deviation", "largest", "weight")  # of a model's state
Encoder = RandomProjection | LearnedCodes


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class BoltzmannConfig(PlanningConfig):
    """Items that a Boltzmann machine over latent codes finds unlikely.

    `overhead` does not hold where planning is inline, which has to be repeatable, nor for a remote backend, whose work
    is done elsewhere.
    """

    machine: str = "auto"
    """semi_quantum, rbm or transverse; auto: semi_quantum here, transverse on a backend that anneals"""
    hidden: Annotated[int, Field(ge=0, le=512)] = 16
    """hidden units"""
    bits: Annotated[int, Field(ge=1, le=64)] = 32
    """of a code"""
    binarisation: Literal["projection", "learned"] = "projection"
    """projection: signs of random projections; learned: rotated principal components"""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.02
    """of the machine"""
    steps: Annotated[int, Field(ge=0)] = 50
    """gradient steps of each training; on an annealer each is one call, so take few; 0: the control whose parameters
    stay random"""
    chains: Annotated[int, Field(ge=1)] = 64
    """Markov chains that are kept between trainings"""
    gamma: Annotated[float, Field(ge=0)] = 0.7
    """transverse field; 0: the control without one"""
    novelty: float = 1.0
    """how far the free energy decides, in its standard deviations"""
    clip: Annotated[float, Field(gt=0, le=20)] = 3.0
    """standard deviations beyond which it decides no further"""
    tilt: Annotated[float, Field(ge=0)] = 1.0
    """exponent of the priority"""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.1
    """share of draws that are uniform"""
    every: Annotated[int, Field(ge=1)] = 64
    """updates of the agent between trainings of the machine"""
    overhead: Annotated[float, Field(gt=0)] | None = 0.05
    """most wall-clock that trainings may take, as a share of all other, where they run here in a thread; null: no
    limit"""
    pool: Annotated[int, Field(ge=FEWEST)] = 16384
    """most items that a planning looks at, drawn uniformly where there are more"""
    backend: Any = "statevector"
    """where a transverse machine is sampled"""

    @model_validator(mode="after")
    def _runs_there(self) -> Self:
        if self.machine != "auto":
            MACHINES.find(self.machine, "machine", beside=["auto"])
        if self.backend != "statevector" and self.machine not in ("auto", "transverse"):
            raise ValueError(f"machine={self.machine}: runs on no backend; transverse is accepted with backend=NAME")
        field = self.machine == "transverse" and self.backend == "statevector"
        refuse_idle(self, "gamma", not field, "machine=transverse and backend=statevector")
        refuse_idle(self, "learning_rate", not self.steps, "steps from 1")
        return self


@record(frozen=True)
class _Model:
    """A trained machine, and what makes a replay law of its free energies; never changed, only replaced."""

    encoder: Encoder
    machine: Machine
    trained_at: int  # prepares
    figures: dict[str, float]
    seconds: float = 0.0  # that trainings took
    mean: float = 0.0  # of the free energies of the last pool
    deviation: float = 1.0
    largest: float = 0.0  # standardised and clipped free energy there
    weight: float = 1.0  # mean of the replay weights there

    def energies(self, features: Array) -> Floats:
        """Free energies [N]; each code that occurs is looked at once."""
        codes, inverse = np.unique(self.encoder.encode(features), return_inverse=True)
        return self.machine.free_energy(codes)[inverse]


class Boltzmann(Planner):
    """Draws items by P(i) ~ exp(novelty z_i) score_i^tilt, z the standardised free energy of their codes.

    Features become codes of a few bits, and a machine is trained on those of the buffer: what it finds unlikely has a
    high free energy and is replayed more. z has mean 0 and deviation 1 over the pool and is clipped; an item that was
    never visited counts as the most novel. score = (loss + epsilon)^alpha. A share `floor` is uniform. Draws are
    independent: their inclusion is B p_i, and with more items than `pool`, from a pool drawn uniformly first, pool / N
    times that, given the pool.

    The machine is trained in the planning, every so many prepares, from where it was, as far as `overhead` allows. A
    step that fails on the backend is left out and counted; if all do, the machine stays as it is, and where there is
    none the planning fails. A tenth of the items, by a hash of their ids, is held out from training: `log_likelihood`
    is that of their codes, in nats, beside that of independent bits. The binarisation is fitted before the trainings 0,
    1, 2, 4, 8, ..., for latents that settle.
    """

    def __init__(self, config: BoltzmannConfig, seed: int | Sequence[int], feature_dim: int) -> None:
        self._config, self.most, self._feature_dim = config, config.pool, feature_dim
        self._entropy = [*seed] if isinstance(seed, Sequence) else [seed]
        self._born = time.monotonic()
        if config.binarisation == "learned" and config.bits > feature_dim:
            raise OptionError(f"replay.bits={config.bits}: learned codes have at most {feature_dim}, one for a feature")
        anneals = config.backend != "statevector"
        self._kind = config.machine if config.machine != "auto" else "transverse" if anneals else "semi_quantum"
        self._reader = self._make_reader()
        if self._kind == "rbm" and not config.hidden:
            raise OptionError(
                "replay.hidden=0: an rbm without hidden units knows no correlation; at least 1 is accepted"
            )

    def plan(self, view: View, batch: int, count: int, rng: np.random.Generator) -> list[Plan]:
        model, features = view.learned, view.features[view.seen]
        if len(features) < FEWEST:
            return []
        if self._due(view):
            model = self._trained(view, features, rng)
            if model is None:
                return []
        model, law = self._law_of(model, view, features)
        edges = np.cumsum(law)
        edges /= edges[-1]
        points = rng.random((count, batch))
        if self._config.stratified:
            points = (points + np.arange(batch)) / batch
        places = np.minimum(edges.searchsorted(points, side="right"), law.size - 1)
        stage = view.stage * batch
        return Plans((Plan(view.ids[drawn], stage * law[drawn]) for drawn in places), model)

    def _due(self, view: View) -> bool:
        """Whether a planning trains the machine."""
        model, limit = view.learned, self._config.overhead
        if model is None:
            return True
        if view.prepares - model.trained_at < self._config.every:
            return False
        if limit is None or self._config.inline or (self._reader is not None and self._reader.remote):
            return True
        return bool(model.seconds <= limit * (time.monotonic() - self._born - model.seconds))

    def _trained(self, view: View, features: Array, rng: np.random.Generator) -> _Model | None:
        """The next model, None where it was stopped. features: those that were seen."""
        config, begin = self._config, time.monotonic()
        model: _Model | None = view.learned
        held = held_out(view.ids[view.seen])
        trainings = int(model.figures["trainings"]) if model is not None else 0
        encoder = deepcopy(model.encoder) if model is not None else self._make_encoder()
        if trainings & (trainings - 1) == 0:
            encoder.fit(features)
        machine = model.machine.copy() if model is not None else self._make_machine()
        codes = encoder.encode(features)
        failed, error = 0, BackendError("no step")
        for _ in range(config.steps):
            if view.stop.is_set():
                return None
            try:
                machine.train(codes[~held], 1, config.learning_rate, rng)
            except BackendError as raised:
                failed, error = failed + 1, raised
        trained = failed < config.steps or not config.steps
        if not trained and model is None:
            raise error
        failed += int(model.figures["failed_steps"]) if model is not None else 0
        figures = {"trainings": float(trainings + trained), "failed_steps": float(failed)}
        if held.any() and not held.all():
            independent = IndependentBits(config.bits)
            independent.fit(codes[~held])
            figures["log_likelihood"] = machine.log_likelihood(codes[held], rng)
            figures["log_likelihood_independent"] = independent.log_likelihood(codes[held], rng)
        if isinstance(machine, TransverseMachine):
            figures["beta"] = machine.beta
        seconds = time.monotonic() - begin + (model.seconds if model is not None else 0.0)
        return _Model(encoder, machine, view.prepares, figures, seconds)

    def _law_of(self, model: _Model, view: View, features: Array) -> tuple[_Model, Floats]:
        """The probabilities of a pool's items [P], and the model with what standardises its free energies."""
        energies = model.energies(features)
        model = replace(model, mean=float(energies.mean()), deviation=float(energies.std()))
        z = self._standardised(model, energies)
        model = replace(model, largest=float(z.max()))
        weights = self._weights(model, view, z)
        model = replace(model, weight=float(weights.mean()))
        return model, ((1.0 - self._config.floor) * weights / model.weight + self._config.floor) / weights.size

    def _standardised(self, model: _Model, energies: Floats) -> Floats:
        clip = self._config.clip
        if model.deviation < 1e-9:
            return np.zeros(energies.size)
        z: Floats = np.clip((energies - model.mean) / model.deviation, -clip, clip)
        return z

    def _weights(self, model: _Model, view: View, z: Floats) -> Floats:
        """exp(novelty z) score^tilt [N]; z: of the items that were seen, the others are as novel as any."""
        novelty = np.full(view.seen.size, model.largest)
        novelty[view.seen] = z
        weights: Floats = np.exp(self._config.novelty * novelty) * view.scores**self._config.tilt
        return weights

    def reference(self, view: View, batch: int) -> Floats:
        """The replay law with the normaliser of the last pool."""
        model, floor = view.learned, self._config.floor
        if model is None:
            return super().reference(view, batch)
        z = self._standardised(model, model.energies(view.features[view.seen])) if view.seen.any() else np.empty(0)
        relative = self._weights(model, view, z) / model.weight
        return np.asarray(((1.0 - floor) * relative + floor) * (batch / view.population))

    def metrics(self, learned: Any) -> dict[str, float]:
        """trainings, failed_steps, log_likelihood and log_likelihood_independent of codes held out, and beta of an
        annealer, from the first training on."""
        return {} if learned is None else dict(learned.figures)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _make_encoder(self) -> Encoder:
        kind = LearnedCodes if self._config.binarisation == "learned" else RandomProjection
        return kind(self._feature_dim, self._config.bits, [*self._entropy, 1])

    def _make_reader(self) -> AnnealerReader | PathIntegralReader | None:
        config = self._config
        if self._kind != "transverse":
            return None
        if config.backend != "statevector":
            try:
                return AnnealerReader(config.backend, config.chains)
            except ProblemError as error:
                raise OptionError(f"replay.{error}") from None
        if config.bits + config.hidden <= EXACT_UNITS:
            return None
        return PathIntegralReader(config.gamma, config.chains)

    def _make_machine(self) -> Machine:
        config, rng = self._config, np.random.default_rng([*self._entropy, 2])
        if self._kind == "transverse":
            bits, hidden, chains = config.bits, config.hidden, config.chains
            return TransverseMachine(bits, hidden, rng, gamma=config.gamma, chains=chains, reader=self._reader)
        machine: Machine = MACHINES.find(self._kind, "replay.machine")(
            config.bits, config.hidden, rng, chains=config.chains
        )
        return machine

    def state(self, learned: Any) -> dict[str, Any]:
        if learned is None:
            return {"model": None}
        model = {
            "encoder": learned.encoder.state_dict(),
            "machine": learned.machine.state_dict(),
            "figures": dict(learned.figures),
            **{name: getattr(learned, name) for name in SCALARS},
        }
        return {"model": model}

    def restored(self, state: dict[str, Any]) -> _Model | None:
        saved = state["model"]
        if saved is None:
            return None
        encoder, machine = self._make_encoder(), self._make_machine()
        encoder.load_state_dict(saved["encoder"])
        machine.load_state_dict(saved["machine"])
        scalars = {name: saved[name] for name in SCALARS}
        return _Model(encoder, machine, figures=dict(saved["figures"]), **scalars)


def held_out(ids: Ids) -> Mask:
    """Which items never train a machine: a tenth, by a hash of the id (Fibonacci hashing)."""
    hashed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    held: Mask = (hashed >> np.uint64(32)) % np.uint64(10) == 0
    return held
