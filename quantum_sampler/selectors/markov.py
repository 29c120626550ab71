"""Replay by quantum-enhanced Markov chains over latent codes (Layden et al. 2023, arXiv 2203.12497)."""

import threading
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from hybrid_opt.effect import refuse_idle
from quantum_sampler.chains.autocorrelation import integrated_time
from quantum_sampler.chains.flip_proposals import LocalProposal, UniformProposal
from quantum_sampler.chains.ising_fit import LARGEST, Ising, fit_ising
from quantum_sampler.chains.metropolis import Direct, Metropolis
from quantum_sampler.chains.tempering import Tempering
from quantum_sampler.codes.distribution import CodeLaw
from quantum_sampler.codes.projection import RandomProjection
from quantum_sampler.selector import Floats, Ids, OptionError, Probe
from quantum_sampler.selectors.base.planned import Plan, PlannedSelector, Planning, PlanningConfig


def _rising(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise PydanticCustomError("range", "a range [low, high] with low <= high is accepted")
    return interval


Range = Annotated[
    tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]],
    AfterValidator(_rising),
]


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class MarkovConfig(PlanningConfig):
    """Items where quantum-enhanced Markov chains over latent codes stop.

    The law is the same with every proposal and hamiltonian.
    """

    proposal: Literal["quantum", "local", "uniform", "tempering", "direct"] = "quantum"
    """quantum, or the controls local, uniform, tempering, and direct, which needs no chain"""
    hamiltonian: Literal["machine", "product", "shuffled"] = "machine"
    """of the quantum proposal: machine, or the controls product (its fields alone, nothing entangles) and shuffled (its
    energies over permuted codes)"""
    bits: Annotated[int, Field(ge=1, le=LARGEST)] = 8
    """of a code, at most 12"""
    gammas: Range = (0.25, 0.6)
    """range of the share of the mixing term in the proposal's Hamiltonian"""
    times: Range = (2.0, 20.0)
    """range of the evolution's time"""
    trotter_step: Annotated[float, Field(gt=0)] = 0.8
    """time of a Trotter step"""
    replicas: Annotated[int, Field(ge=2)] = 8
    """temperatures, for tempering"""
    chains: Annotated[int, Field(ge=1)] = 16
    """chains side by side"""
    burn_in: Annotated[int, Field(ge=0)] = 32
    """steps that lead to the law as it has become"""
    thin: Annotated[int, Field(ge=1)] = 8
    """steps between draws"""
    novelty: float = 0.5
    """how far the machine's energy decides, in its standard deviations"""
    tilt: Annotated[float, Field(ge=0)] = 1.0
    """exponent of the priority"""
    floor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """share of draws by priority alone"""
    l2: Annotated[float, Field(gt=0)] = 0.01
    """regularisation of the machine's couplings"""
    every: Annotated[int, Field(ge=1)] = 1
    """plannings between fits of the machine"""
    pool: Annotated[int, Field(ge=1)] = 16384
    """items that the machine is fitted to"""

    @model_validator(mode="after")
    def _proposes(self) -> Self:
        quantum = self.proposal == "quantum"
        refuse_idle(self, "hamiltonian gammas times trotter_step", not quantum, "proposal=quantum")
        refuse_idle(self, "replicas", self.proposal != "tempering", "proposal=tempering")
        return self


class _Fit(NamedTuple):
    """What one planning leaves to the next, and to `_reference`."""

    number: int  # plannings so far
    centre: dict[str, Any]  # state of the projection
    machine: Ising
    states: Ids  # [R, C], where the chains are
    bonus: Floats  # log of what a code adds to an item's score, [2^bits]
    mass: float  # what the scores of all items, so raised, add up to
    metrics: dict[str, float]


class Markov(PlannedSelector):
    """Draws items where chains over the codes of their features stop; the codes that a Boltzmann machine finds unlikely
    come more often.

    Features are binarised by random projections about their medians; an Ising model is fitted to the codes. The law of
    an item of code v is p ~ exp(novelty z(v)) score^tilt, z the machine's energy in standard deviations over the items,
    within 3. So the law of a code is the sum over its items, and a chain that keeps it, with an item drawn from the
    code by score^tilt, draws items by theirs. The quantum proposal evolves under the machine's Hamiltonian, which has
    few-body terms whatever the scores are; any Hamiltonian of real symmetric form leaves the law exact.

    A share `floor` of the draws is from the scores of all items, among them those without features. Codes that no item
    has share it as their probability, so the chain can cross them, and a chain that stands on one makes such a draw.
    Inclusion is B p, exact for chains in equilibrium: they go on from where they were, and `burn_in` steps lead to the
    law as it has become. At most 12 bits, the law is known in full and `direct` draws from it without any chain: the
    control that wins as long as the table of 2^bits codes fits. Shapes: N items, C chains, R replicas of each.
    """

    def __init__(
        self,
        config: MarkovConfig,
        capacity: int,
        seed: int | Sequence[int],
        feature_dim: int,
        probe: Probe | None = None,
    ) -> None:
        if feature_dim < 1:
            raise OptionError(f"feature_dim={feature_dim}: markov needs features; at least 1 is accepted")
        super().__init__(config, capacity, seed, feature_dim, probe)
        self._options = config
        self._projection_seed = (*(seed if isinstance(seed, Sequence) else (seed,)), 0x636F6465)
        self._projection = RandomProjection(feature_dim, config.bits, self._projection_seed)
        self._fit: _Fit | None = None
        self._finished: list[_Fit] = []  # by plannings, the latest last

    def prepare(self, step: int) -> None:
        super().prepare(step)
        self._adopt()

    def _request(self, batch_size: int, plans: int, rng: np.random.Generator) -> Planning | None:
        self._adopt()
        ids, population = self._items.ids, len(self)
        if ids.size > self._options.pool:
            ids = rng.choice(ids, self._options.pool, replace=False, shuffle=False)
        slots = ids % self._items.capacity
        seen = self._seen[slots]
        if not seen.any():
            return None
        ids = np.concatenate([ids[seen], ids[~seen]])  # those with features first
        slots = ids % self._items.capacity
        features, scores = self._shown(slots[: np.count_nonzero(seen)]), self._tree.values[slots]
        stage, finished, known = ids.size / population, self._finished, self._fit

        def work(stop: threading.Event) -> list[Plan]:
            projection, machine = self._learned(features, known)
            law = CodeLaw(projection.encode(features).astype(np.int64), scores, machine.energies(), self._options)
            states = self._started(law, known, rng)
            chains = self._chains(machine, law)
            states = chains.run(states, self._options.burn_in, rng).last if self._options.burn_in else states
            made: list[Plan] = []
            energies, accepted = [], []
            rounds = -(-batch_size // self._options.chains)
            while len(made) < plans and not stop.is_set():
                trace = chains.run(states, rounds * self._options.thin, rng)
                states = trace.last
                stops = trace.visited[self._options.thin - 1 :: self._options.thin].reshape(-1)[:batch_size]
                drawn = law.items(stops, rng)
                made.append(Plan(ids[drawn], law.inclusion(drawn, batch_size) * stage))
                energies.append(law.energies[trace.visited])
                accepted.append(trace.acceptance)
            if made:
                metrics = {
                    "acceptance": float(np.mean(accepted)),
                    "autocorrelation": integrated_time(np.concatenate(energies)),
                    "codes": law.codes,
                    "code_log_likelihood": law.log_likelihood,
                }
                number = 1 if known is None else known.number + 1
                centre, mass = projection.state_dict(), law.mass / stage
                finished.append(_Fit(number, centre, machine, states, law.bonus, mass, metrics))
            return made

        return work

    def _learned(self, features: Any, known: _Fit | None) -> tuple[RandomProjection, Ising]:
        """Thresholds and machine: those of the planning before, or fitted anew every so many plannings."""
        options = self._options
        projection = RandomProjection(self._feature_dim, options.bits, self._projection_seed)
        if known is not None:
            projection.load_state_dict(known.centre)
            if known.number % options.every:
                return projection, known.machine
        projection.fit(features)
        counts = np.bincount(projection.encode(features).astype(np.int64), minlength=1 << options.bits)
        return projection, fit_ising(counts.astype(np.float64), options.l2, None if known is None else known.machine)

    def _started(self, law: CodeLaw, known: _Fit | None, rng: np.random.Generator) -> Ids:
        """Where the chains are [R, C]: at first, on codes of items."""
        replicas = self._options.replicas if self._options.proposal == "tempering" else 1
        return law.start(replicas, self._options.chains, rng) if known is None else known.states

    def _chains(self, machine: Ising, law: CodeLaw) -> Metropolis | Tempering | Direct:
        options = self._options
        match options.proposal:
            case "quantum":
                from quantum_sampler.chains.quantum_proposal import QuantumProposal  # Numba is slow to import

                energies = self._evolved(machine)
                quantum = QuantumProposal(energies, options.gammas, options.times, options.trotter_step)
                return Metropolis(quantum, law.log_law)
            case "local":
                return Metropolis(LocalProposal(options.bits), law.log_law)
            case "uniform":
                return Metropolis(UniformProposal(options.bits), law.log_law)
            case "tempering":
                return Tempering(law.log_law, options.replicas)
            case "direct":
                return Direct(law.log_law)

    def _evolved(self, machine: Ising) -> Floats:
        """The energies [2^n] under which the quantum proposal evolves."""
        match self._options.hamiltonian:
            case "machine":
                return machine.energies()
            case "product":
                return machine._replace(couplings=np.zeros_like(machine.couplings)).energies()
            case "shuffled":
                return np.random.default_rng((*self._projection_seed, 1)).permutation(machine.energies())

    def _adopt(self) -> None:
        """Take over what plannings have left."""
        if self._finished:
            self._fit = self._finished[-1]
            self._finished.clear()
            self._projection.load_state_dict(self._fit.centre)

    def _raised(self, slots: Ids) -> Floats:
        """exp(novelty z) score^tilt of the items of slots, 0 without features."""
        assert self._fit is not None
        codes = self._projection.encode(self._shown(slots)).astype(np.int64)
        raised = np.exp(self._fit.bonus[codes]) * self._tree.values[slots] ** self._options.tilt
        return np.where(self._seen[slots], raised, 0.0)

    def _reference(self, ids: Ids, batch_size: int) -> Floats:
        slots = ids % self._items.capacity
        drawn = self._tree.values[slots] / self._tree.total
        if self._fit is not None:
            floor = self._options.floor
            drawn = floor * drawn + (1 - floor) * self._raised(slots) / self._fit.mass
        return np.asarray(batch_size * drawn)

    def _planning_metrics(self) -> dict[str, float]:
        """acceptance, autocorrelation (of the energy, in steps of a chain), codes that items have, code_log_likelihood
        (mean, by the machine)."""
        return {} if self._fit is None else dict(self._fit.metrics)

    def _state(self) -> dict[str, Any]:
        import torch

        self._adopt()
        fit = None
        if self._fit is not None:
            fit = {
                **self._fit._asdict(),
                "machine": {key: torch.from_numpy(value.copy()) for key, value in self._fit.machine._asdict().items()},
                "states": torch.from_numpy(self._fit.states.copy()),
                "bonus": torch.from_numpy(self._fit.bonus.copy()),
            }
        return {**super()._state(), "fit": fit}

    def _load(self, state: dict[str, Any], slots: Ids) -> None:
        super()._load(state, slots)
        self._finished = []  # what is still being planned is of another past
        self._fit = None
        if (fit := state["fit"]) is not None:
            machine = Ising(**{key: value.numpy().copy() for key, value in fit["machine"].items()})
            arrays = {key: fit[key].numpy().copy() for key in ("states", "bonus")}
            self._fit = _Fit(**{**fit, **arrays, "machine": machine})
            self._projection.load_state_dict(self._fit.centre)
