"""The quantum Boltzmann machine in a transverse field (Amin et al., arXiv 1601.02036)."""

from typing import Any, Protocol

import numpy as np

from hybrid_opt.problem.quadratic import Bits
from hybrid_opt.problem.qubo import Qubo
from quantum_sampler.codes.projection import Codes
from quantum_sampler.machines.machine import all_spins, codes_of
from quantum_sampler.machines.restricted import Gradient, Restricted, without_diagonal
from quantum_sampler.selector import Floats

EXACT_UNITS = 10  # up to which the Hamiltonian is diagonalised


class Reader(Protocol):
    """Where samples of all units come from."""

    annealer: bool

    def read(self, qubo: Qubo, seed: int, start: Bits | None = None) -> Bits:
        """Samples uint8 [reads, units] of the problem; start: the last ones, of a problem much like it."""
        ...


class TransverseMachine(Restricted):
    """p(s) = <s|tr exp(-H)|s> / Z, H = a.Z + Z'JZ / 2 + sum_j Z_j (b_j + Z.w_j) - gamma sum X over all its units.

    All pairs of visible units couple, and all of a visible and a hidden one. Training climbs the bound that clamps the
    visible units (equation 25 there, by Golden and Thompson): log p(s) >= -F(s) - log Z with the F of `Restricted`. The
    clamped means have a closed form, those under exp(-H) / Z come

    - up to 10 units without a reader: from all eigenvalues. Then free energies are exactly -log p;
    - from a reader of that law (path integral): the diagonal of exp(-H) / Z. Free energies are estimated, by letting
      every visible unit flip on its own in imaginary time: right to the second order of gamma, off where two flips
      interact. Log-likelihoods are then those of the law exp(-F) of this estimate;
    - from an annealer. Its reads are taken for samples of the classical law exp(-beta H) without a transverse field,
      and beta, which nobody knows, is fitted to them by pseudo-likelihood. Both are assumptions: reads may be frozen
      out earlier, or colder than any training of the parameters can make up for.
    """

    def __init__(
        self,
        bits: int,
        hidden: int,
        rng: np.random.Generator,
        *,
        gamma: float = 0.7,
        chains: int = 64,
        reader: Reader | None = None,
    ) -> None:
        self._reader, self._gamma = reader, gamma
        self._annealed = reader is not None and reader.annealer
        field = 0.0 if self._annealed else gamma
        super().__init__(bits, hidden, rng, components=1, coupled=True, field=field, chains=chains)
        self._table: Floats | None = None  # -log p of all codes
        self._reads: Bits | None = None  # the last ones
        self.units = bits + hidden
        if reader is None and self.units > EXACT_UNITS:
            raise ValueError(f"{self.units} units: at most {EXACT_UNITS} are accepted without a reader")

    def step(self, codes: Codes, rate: float, rng: np.random.Generator) -> None:
        super().step(codes, rate, rng)
        self._table = None

    def sample(self, count: int, rng: np.random.Generator, sweeps: int = 100) -> Codes:
        """Codes [count] from the eigenvalues or the reader."""
        if self._reader is None:
            return super().sample(count, rng)
        reads = [self._read(rng)]
        while sum(map(len, reads)) < count:
            reads.append(self._read(rng))
        return codes_of(np.concatenate(reads)[:count, : self.bits])

    def model_gradient(self, rng: np.random.Generator) -> Gradient:
        if self._reader is None:
            return self._moments(all_spins(self.units), self.joint_law())
        spins = self._read(rng)
        self._chains = spins[:, : self.bits].copy()
        if self._annealed:
            self.beta = inverse_temperature(spins, *self.ising())
        return self._moments(spins, np.full(len(spins), 1.0 / len(spins)))

    def ising(self) -> tuple[Floats, Floats]:
        """Fields [units] and couplings [units, units], upper triangular; visible units first."""
        couplings = np.zeros((self.units, self.units))
        couplings[: self.bits, : self.bits] = np.triu(self.parameters["couplings"])
        couplings[: self.bits, self.bits :] = self.parameters["weights"][..., 0]
        fields = np.concatenate([self.parameters["fields"], self.parameters["hidden_fields"][:, 0]])
        return fields, couplings

    def joint_law(self) -> Floats:
        """Diagonal of exp(-H) / Z over the states of all units [2^units], from the eigenvalues."""
        fields, couplings = self.ising()
        spins = all_spins(self.units)
        states = np.arange(len(spins))
        hamiltonian = np.diag(spins @ fields + np.einsum("ki,ki->k", spins @ couplings, spins))
        for unit in range(self.units):
            hamiltonian[states, states ^ (1 << unit)] = -self._gamma
        values, vectors = np.linalg.eigh(hamiltonian)
        law: Floats = np.square(vectors) @ np.exp(values[0] - values)
        law /= law.sum()
        return law

    def state_dict(self) -> dict[str, Any]:
        import torch

        reads = None if self._reads is None else torch.from_numpy(self._reads.copy())
        return {**super().state_dict(), "reads": reads}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._table = None
        self._reads = None if state["reads"] is None else state["reads"].numpy().copy()

    def _read(self, rng: np.random.Generator) -> Floats:
        """Spins [reads, units]."""
        assert self._reader is not None
        self._reads = self._reader.read(Qubo.from_ising(*self.ising()), int(rng.integers(1 << 31)), self._reads)
        return 1.0 - 2.0 * self._reads.astype(np.float64)

    def _moments(self, spins: Floats, weights: Floats) -> Gradient:
        """Mean of dH/d(parameter) over spins [S, units] of all units."""
        weighted = spins[:, : self.bits] * weights[:, None]
        hidden = spins[:, self.bits :]
        return {
            "fields": weighted.sum(0),
            "hidden_fields": (weights @ hidden)[:, None],
            "weights": (weighted.T @ hidden)[..., None],
            "couplings": without_diagonal(weighted.T @ spins[:, : self.bits]),
        }

    def _free_energy(self, spins: Floats) -> Floats:
        if self._reader is None:
            if self._table is None:
                self._table = -np.log(self.joint_law().reshape(-1, 1 << self.bits).sum(0))
            return self._table[codes_of(spins)]
        energy = self._restricted_energy(spins)
        if self._annealed or not self._gamma:
            return energy
        correction = np.zeros(len(spins))
        for i in range(self.bits):
            other = spins.copy()
            other[:, i] *= -1.0
            cost = 0.5 * (energy - self._restricted_energy(other))
            correction += _excursion(cost, self._gamma)
        return energy - correction


def _excursion(cost: Floats, gamma: float) -> Floats:
    """log(exp(c) (cosh r - c / r sinh r)) with r^2 = c^2 + gamma^2, gamma > 0, where c is the cost of a spin as it is.

    It is the weight of all paths of one spin that return, <s|exp(-fZ + gamma X)|s> / exp(-fs) with c = fs.
    """
    r = np.sqrt(cost**2 + gamma**2)
    gap = np.where(cost > 0.0, gamma**2 / (r * (r + np.abs(cost))), 1.0 - cost / r)  # 1 - c / r without cancellation
    paths: Floats = cost + r - np.log(2.0) + np.log(gap + np.exp(-2.0 * r) * (1.0 + cost / r))
    return paths


def inverse_temperature(spins: Floats, fields: Floats, couplings: Floats) -> float:
    """The beta at which spins [S, units] are most likely given their neighbours under exp(-beta H), 0.01..100.

    Maximum pseudo-likelihood (Besag 1975); one sample is counted in addition with every spin against its field, which
    keeps beta finite where all reads are local minima.
    """
    local = spins * (fields + spins @ (couplings + couplings.T))  # energy of each spin in its field
    low, high = np.log(0.01), np.log(100.0)
    for _ in range(30):
        middle = 0.5 * (low + high)
        up = 1.0 / (1.0 + np.exp(np.clip(-2.0 * np.exp(middle) * local, -700.0, 700.0)))
        slope = -(local * up).mean() + (local * (1.0 - up)).mean() / len(spins)
        low, high = (middle, high) if slope > 0.0 else (low, middle)
    return float(np.exp(0.5 * (low + high)))
