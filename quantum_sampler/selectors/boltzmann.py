"""Replay of what a Boltzmann machine over latent codes finds unlikely."""

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass as record
from dataclasses import replace
from threading import Event
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
from quantum_sampler.selector import Array, Floats, Ids, Mask, OptionError, Probe
from quantum_sampler.selectors.base.planned import Plan, PlannedSelector, Planning, PlanningConfig

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
    mean: float = 0.0  # of the free energies of the last pool
    deviation: float = 1.0
    largest: float = 0.0  # standardised and clipped free energy there
    weight: float = 1.0  # mean of the replay weights there

    def energies(self, features: Array) -> Floats:
        """Free energies [N]; each code that occurs is looked at once."""
        codes, inverse = np.unique(self.encoder.encode(features), return_inverse=True)
        return self.machine.free_energy(codes)[inverse]


class _Plans(list[Plan]):
    """Plans, the model that they were made with, and the seconds that its training took."""

    model: _Model
    seconds: float


class Boltzmann(PlannedSelector):
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

    def __init__(
        self,
        config: BoltzmannConfig,
        capacity: int,
        seed: int | Sequence[int],
        feature_dim: int,
        probe: Probe | None = None,
    ) -> None:
        super().__init__(config, capacity, seed, feature_dim, probe)
        self._settings = config
        self._entropy = [*seed] if isinstance(seed, Sequence) else [seed]
        self._prepares = 0
        self._training = 0.0  # seconds
        self._model: _Model | None = None
        if config.binarisation == "learned" and config.bits > feature_dim:
            raise OptionError(f"replay.bits={config.bits}: learned codes have at most {feature_dim}, one for a feature")
        anneals = config.backend != "statevector"
        self._kind = config.machine if config.machine != "auto" else "transverse" if anneals else "semi_quantum"
        self._reader = self._make_reader()
        if self._kind == "rbm" and not config.hidden:
            raise OptionError(
                "replay.hidden=0: an rbm without hidden units knows no correlation; at least 1 is accepted"
            )

    def prepare(self, step: int) -> None:
        self._prepares += 1
        super().prepare(step)

    def close(self) -> None:
        super().close()
        if self._reader is not None:
            self._reader.close()

    def _request(self, batch_size: int, plans: int, rng: np.random.Generator) -> Planning | None:
        config, count, model, prepares = self._settings, len(self), self._model, self._prepares
        if count > config.pool:
            ids = self._items.at(rng.choice(count, config.pool, replace=False, shuffle=False))
        else:
            ids = self._items.ids
        slots = ids % self._items.capacity
        seen = self._seen[slots]
        if np.count_nonzero(seen) < FEWEST:
            return None
        features, scores = self._shown(slots[seen]), self._tree.values[slots]
        due = self._due()
        stage = ids.size / count * batch_size

        def work(stop: Event) -> Sequence[Plan]:
            current, begin = model, time.monotonic()
            if current is None or due:
                current = self._trained(model, features, held_out(ids[seen]), prepares, rng, stop)
                if current is None:
                    return []
            made = _Plans()
            made.seconds = time.monotonic() - begin
            current, law = self._law_of(current, features, seen, scores)
            made.model = current
            edges = np.cumsum(law)
            edges /= edges[-1]
            points = rng.random((plans, batch_size))
            if config.stratified:
                points = (points + np.arange(batch_size)) / batch_size
            for drawn in np.minimum(edges.searchsorted(points, side="right"), law.size - 1):
                made.append(Plan(ids[drawn], stage * law[drawn]))
            return made

        return work

    def _due(self) -> bool:
        """Whether the next planning trains the machine."""
        model, limit = self._model, self._settings.overhead
        if model is None:
            return True
        if self._prepares - model.trained_at < self._settings.every:
            return False
        if limit is None or self._settings.inline or (self._reader is not None and self._reader.remote):
            return True
        return self._training <= limit * (time.monotonic() - self._born - self._training)

    def _trained(
        self,
        model: _Model | None,
        features: Array,
        held: Mask,
        prepares: int,
        rng: np.random.Generator,
        stop: Event,
    ) -> _Model | None:
        """The next model, None where it was stopped; nothing of this selector is read but its settings."""
        config = self._settings
        trainings = int(model.figures["trainings"]) if model is not None else 0
        encoder = deepcopy(model.encoder) if model is not None else self._make_encoder()
        if trainings & (trainings - 1) == 0:
            encoder.fit(features)
        machine = model.machine.copy() if model is not None else self._make_machine()
        codes = encoder.encode(features)
        failed, error = 0, BackendError("no step")
        for _ in range(config.steps):
            if stop.is_set():
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
        return _Model(encoder, machine, prepares, figures)

    def _law_of(self, model: _Model, features: Array, seen: Mask, scores: Floats) -> tuple[_Model, Floats]:
        """The probabilities of a pool's items [P], and the model with what standardises its free energies."""
        energies = model.energies(features)
        model = replace(model, mean=float(energies.mean()), deviation=float(energies.std()))
        z = self._standardised(model, energies)
        model = replace(model, largest=float(z.max()))
        novelty = np.full(seen.size, model.largest)
        novelty[seen] = z
        weights = self._weights(novelty, scores)
        model = replace(model, weight=float(weights.mean()))
        return model, ((1.0 - self._settings.floor) * weights / model.weight + self._settings.floor) / weights.size

    def _standardised(self, model: _Model, energies: Floats) -> Floats:
        clip = self._settings.clip
        if model.deviation < 1e-9:
            return np.zeros(energies.size)
        z: Floats = np.clip((energies - model.mean) / model.deviation, -clip, clip)
        return z

    def _weights(self, novelty: Floats, scores: Floats) -> Floats:
        """exp(novelty z) score^tilt [N]."""
        weights: Floats = np.exp(self._settings.novelty * novelty) * scores**self._settings.tilt
        return weights

    def _reference(self, ids: Ids, batch_size: int) -> Floats:
        """The replay law with the normaliser of the last pool."""
        model, floor = self._model, self._settings.floor
        if model is None:
            return self._law(ids, batch_size)
        relative = self._weights_of(model, ids % self._items.capacity) / model.weight
        return ((1.0 - floor) * relative + floor) * (batch_size / len(self))

    def _weights_of(self, model: _Model, slots: Ids) -> Floats:
        """Replay weights [n] of the items of slots, as they are now."""
        seen = self._seen[slots]
        novelty = np.full(slots.size, model.largest)
        if seen.any():
            novelty[seen] = self._standardised(model, model.energies(self._shown(slots[seen])))
        return self._weights(novelty, self._tree.values[slots])

    def _planning_metrics(self) -> dict[str, float]:
        """trainings, failed_steps, log_likelihood and log_likelihood_independent of codes held out, and beta of an
        annealer, from the first training on."""
        return {} if self._model is None else dict(self._model.figures)

    def _take(self, result: Callable[[], tuple[float, Sequence[Plan]]]) -> None:
        def adopted() -> tuple[float, Sequence[Plan]]:
            seconds, plans = result()
            if isinstance(plans, _Plans):
                self._training += plans.seconds
                self._model = plans.model
            return seconds, plans

        super()._take(adopted)

    def _make_encoder(self) -> Encoder:
        kind = LearnedCodes if self._settings.binarisation == "learned" else RandomProjection
        return kind(self._feature_dim, self._settings.bits, [*self._entropy, 1])

    def _make_reader(self) -> AnnealerReader | PathIntegralReader | None:
        config = self._settings
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
        config, rng = self._settings, np.random.default_rng([*self._entropy, 2])
        if self._kind == "transverse":
            bits, hidden, chains = config.bits, config.hidden, config.chains
            return TransverseMachine(bits, hidden, rng, gamma=config.gamma, chains=chains, reader=self._reader)
        machine: Machine = MACHINES.find(self._kind, "replay.machine")(
            config.bits, config.hidden, rng, chains=config.chains
        )
        return machine

    def _state(self) -> dict[str, Any]:
        state = {**super()._state(), "prepares": self._prepares, "model": None}
        if self._model is not None:
            model = self._model
            state["model"] = {
                "encoder": model.encoder.state_dict(),
                "machine": model.machine.state_dict(),
                "figures": dict(model.figures),
                **{name: getattr(model, name) for name in SCALARS},
            }
        return state

    def _load(self, state: dict[str, Any], slots: Ids) -> None:
        super()._load(state, slots)
        self._prepares, self._model = state["prepares"], None
        saved = state["model"]
        if saved is not None:
            encoder, machine = self._make_encoder(), self._make_machine()
            encoder.load_state_dict(saved["encoder"])
            machine.load_state_dict(saved["machine"])
            scalars = {name: saved[name] for name in SCALARS}
            self._model = _Model(encoder, machine, figures=dict(saved["figures"]), **scalars)


def held_out(ids: Ids) -> Mask:
    """Which items never train a machine: a tenth, by a hash of the id (Fibonacci hashing)."""
    hashed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    held: Mask = (hashed >> np.uint64(32)) % np.uint64(10) == 0
    return held
