"""Replay by quantum-enhanced Markov chains over latent codes (Layden et al. 2023, arXiv 2203.12497)."""

from collections.abc import Sequence
from copy import deepcopy
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
from quantum_sampler.selector import Array, Floats, Ids, OptionError
from quantum_sampler.selectors.base.planned import PlanningConfig
from quantum_sampler.selectors.base.planner import Plan, Planner, Plans, View


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
    """What one planning leaves to the next, and to `reference`."""

    number: int  # plannings so far
    projection: RandomProjection
    machine: Ising
    states: Ids  # [R, C], where the chains are
    bonus: Floats  # log of what a code adds to an item's score, [2^bits]
    mass: float  # what the scores of all items, so raised, add up to
    metrics: dict[str, float]


class Markov(Planner):
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

    def __init__(self, config: MarkovConfig, seed: int | Sequence[int], feature_dim: int) -> None:
        if feature_dim < 1:
            raise OptionError(f"feature_dim={feature_dim}: markov needs features; at least 1 is accepted")
        self._options, self.most, self._feature_dim = config, config.pool, feature_dim
        self._projection_seed = (*(seed if isinstance(seed, Sequence) else (seed,)), 0x636F6465)

    def plan(self, view: View, batch: int, count: int, rng: np.random.Generator) -> list[Plan]:
        if not view.seen.any():
            return []
        options, known = self._options, view.learned
        order = np.concatenate([np.flatnonzero(view.seen), np.flatnonzero(~view.seen)])  # those with features first
        ids, features = view.ids[order], view.features[view.seen]
        projection, machine = self._fitted(features, known)
        law = CodeLaw(projection.encode(features).astype(np.int64), view.scores[order], machine.energies(), options)
        states = self._started(law, known, rng)
        chains = self._chains(machine, law)
        states = chains.run(states, options.burn_in, rng).last if options.burn_in else states
        made: list[Plan] = []
        energies, accepted = [], []
        rounds = -(-batch // options.chains)
        while len(made) < count and not view.stop.is_set():
            trace = chains.run(states, rounds * options.thin, rng)
            states = trace.last
            stops = trace.visited[options.thin - 1 :: options.thin].reshape(-1)[:batch]
            drawn = law.items(stops, rng)
            made.append(Plan(ids[drawn], law.inclusion(drawn, batch) * view.stage))
            energies.append(law.energies[trace.visited])
            accepted.append(trace.acceptance)
        if not made:
            return []
        metrics = {
            "acceptance": float(np.mean(accepted)),
            "autocorrelation": integrated_time(np.concatenate(energies)),
            "codes": law.codes,
            "code_log_likelihood": law.log_likelihood,
        }
        number, mass = 1 if known is None else known.number + 1, law.mass / float(view.stage)
        return Plans(made, _Fit(number, projection, machine, states, law.bonus, mass, metrics))

    def _fitted(self, features: Array, known: _Fit | None) -> tuple[RandomProjection, Ising]:
        """Thresholds and machine: those of the planning before, or fitted anew every so many plannings."""
        options = self._options
        if known is None:
            projection = RandomProjection(self._feature_dim, options.bits, self._projection_seed)
        elif known.number % options.every:
            return known.projection, known.machine
        else:
            projection = deepcopy(known.projection)
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

    def reference(self, view: View, batch: int) -> Floats:
        drawn, fit = view.scores / view.total, view.learned
        if fit is not None:
            codes = fit.projection.encode(view.features).astype(np.int64)
            raised = np.where(view.seen, np.exp(fit.bonus[codes]) * view.scores**self._options.tilt, 0.0)
            drawn = self._options.floor * drawn + (1 - self._options.floor) * raised / fit.mass
        return np.asarray(batch * drawn)

    def metrics(self, learned: Any) -> dict[str, float]:
        """acceptance, autocorrelation (of the energy, in steps of a chain), codes that items have, code_log_likelihood
        (mean, by the machine)."""
        return {} if learned is None else dict(learned.metrics)

    def state(self, learned: Any) -> dict[str, Any]:
        import torch

        if learned is None:
            return {"fit": None}
        fit = learned._asdict()
        fit["centre"] = fit.pop("projection").state_dict()
        fit["machine"] = {key: torch.from_numpy(value.copy()) for key, value in learned.machine._asdict().items()}
        fit |= {key: torch.from_numpy(fit[key].copy()) for key in ("states", "bonus")}
        return {"fit": fit}

    def restored(self, state: dict[str, Any]) -> _Fit | None:
        if state["fit"] is None:
            return None
        fit = dict(state["fit"])
        projection = RandomProjection(self._feature_dim, self._options.bits, self._projection_seed)
        projection.load_state_dict(fit.pop("centre"))
        machine = Ising(**{key: value.numpy().copy() for key, value in fit["machine"].items()})
        arrays = {key: fit[key].numpy().copy() for key in ("states", "bonus")}
        return _Fit(**{**fit, **arrays, "machine": machine, "projection": projection})
