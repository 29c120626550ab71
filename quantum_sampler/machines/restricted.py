"""What machines with visible spins and hidden units that do not couple to one another share."""

from itertools import pairwise
from typing import Any

import numpy as np

from quantum_sampler.codes.projection import Codes
from quantum_sampler.machines.machine import ENUMERABLE, Machine, all_spins, codes_of, spins_of
from quantum_sampler.selector import Floats

Gradient = dict[str, Floats]
TEMPERATURES = 200  # of annealed importance sampling


class Restricted(Machine):
    """F(s) = a.s + s'Js / 2 - sum_j log cosh sqrt(|Phi_j(s)|^2 + g^2), with Phi_j = b_j + sum_i s_i w_ij.

    Hidden unit j is a qubit with the Hamiltonian Phi_j.(Z, X, Y) - g X, traced out: the trace of its exp(-H) is 2 cosh
    of the length of its field. Phi_j has d components: 1 for a classical unit (or one in a fixed transverse field g),
    3 for a qubit with terms that do not commute. `parameters`: fields a [n], hidden_fields b [m, d], weights w
    [n, m, d], and couplings J [n, n], symmetric with zeros on the diagonal, where visible spins couple. They count beta
    times, which is 1 but for an annealer.

    The gradient of the log-likelihood is that of F under the law minus that under the data. Up to `exact_bits` bits the
    law is enumerated; beyond, persistent chains [C, n] stand for it (Tieleman 2008), one sweep a step.
    """

    def __init__(
        self,
        bits: int,
        hidden: int,
        rng: np.random.Generator,
        *,
        components: int,
        coupled: bool = False,
        field: float = 0.0,
        chains: int = 64,
        exact_bits: int = 10,
    ) -> None:
        super().__init__(bits)
        self.hidden = hidden
        self.exact_bits = exact_bits
        self.beta = 1.0
        self._square = field**2
        scale = 0.1 / np.sqrt(components * (bits + 1))
        self.parameters["fields"] = np.zeros(bits)
        self.parameters["hidden_fields"] = scale * rng.standard_normal((hidden, components))
        self.parameters["weights"] = scale * rng.standard_normal((bits, hidden, components))
        if coupled:
            self.parameters["couplings"] = np.zeros((bits, bits))
        self._chains = rng.choice([-1.0, 1.0], (chains, bits))

    def free_energy(self, codes: Codes) -> Floats:
        return self._free_energy(spins_of(codes, self.bits))

    def step(self, codes: Codes, rate: float, rng: np.random.Generator) -> None:
        data = self.mean_gradient(spins_of(codes, self.bits))
        model = self.model_gradient(rng)
        for name, values in self.parameters.items():
            values += rate * (model[name] - data[name])

    def sample(self, count: int, rng: np.random.Generator, sweeps: int = 100) -> Codes:
        """Codes [count]: exactly drawn up to `exact_bits` bits, else ends of chains of so many sweeps."""
        if self.bits <= self.exact_bits:
            return rng.choice(1 << self.bits, count, p=self.law()).astype(np.uint64)
        spins = self._chains[rng.integers(len(self._chains), size=count)]
        self._sweep(spins, sweeps, rng)
        return codes_of(spins)

    def law(self) -> Floats:
        """The probabilities of all codes [2^n]."""
        energies = self._free_energy(all_spins(self.bits))
        law: Floats = np.exp(energies.min() - energies)
        law /= law.sum()
        return law

    def mean_gradient(self, spins: Floats, weights: Floats | None = None) -> Gradient:
        """Mean of dF/d(parameter) over spins [N, n], in the proportions of weights [N] that sum to 1."""
        weights = np.full(len(spins), 1.0 / len(spins)) if weights is None else weights
        phi, norms = self._phi(spins)
        slopes = phi * (-np.tanh(norms) / np.maximum(norms, 1e-300))[..., None]  # dF/dPhi [N, m, d]
        weighted = spins * weights[:, None]
        flat = slopes.reshape(len(spins), phi[0].size)
        gradient: Gradient = {
            "fields": weighted.sum(0),
            "hidden_fields": (weights @ flat).reshape(phi.shape[1:]),
            "weights": (weighted.T @ flat).reshape(self.bits, *phi.shape[1:]),
        }
        if "couplings" in self.parameters:
            gradient["couplings"] = without_diagonal(weighted.T @ spins)
        return gradient

    def model_gradient(self, rng: np.random.Generator) -> Gradient:
        """Mean of dF/d(parameter) under the law: exact, or over the persistent chains after one more sweep."""
        if self.bits <= self.exact_bits:
            return self.mean_gradient(all_spins(self.bits), self.law())
        self._sweep(self._chains, 1, rng)
        return self.mean_gradient(self._chains)

    def log_partition(self, rng: np.random.Generator) -> float:
        """Log of the sum of exp(-F): exact up to 16 bits; beyond, by annealed importance sampling (Neal 2001).

        The annealing starts from independent bits with the means of the chains. Its estimate of the sum is unbiased,
        so that of the logarithm is low on average, and a log-likelihood made of it high.
        """
        if self.bits <= ENUMERABLE:
            return _log_sum(-self._free_energy(all_spins(self.bits)))
        base = -np.arctanh(np.clip(self._chains.mean(0), -0.95, 0.95))
        spins = np.where(rng.random((64, self.bits)) < 1.0 / (1.0 + np.exp(-2.0 * base)), -1.0, 1.0)
        betas = np.linspace(0.0, 1.0, TEMPERATURES)
        log_weights = np.zeros(len(spins))
        for last, beta in pairwise(betas):
            log_weights -= (beta - last) * (self._restricted_energy(spins) - spins @ base)
            self._metropolis(spins, 1, rng, base, beta)
        log_weights += self._restricted_energy(spins) - self._free_energy(spins)
        return float(np.logaddexp(base, -base).sum() + _log_sum(log_weights) - np.log(len(spins)))

    def _scaled(self, name: str) -> Floats:
        """A parameter, beta times; the gradients are those by this product."""
        return self.parameters[name] * self.beta

    def _phi(self, spins: Floats) -> tuple[Floats, Floats]:
        """Phi [N, m, d], and sqrt(|Phi|^2 + g^2) [N, m]."""
        weights, fields = self._scaled("weights"), self._scaled("hidden_fields")
        phi = (spins @ weights.reshape(self.bits, fields.size)).reshape(len(spins), *fields.shape) + fields
        return phi, np.sqrt(np.einsum("njd,njd->nj", phi, phi) + self._square)

    def _restricted_energy(self, spins: Floats) -> Floats:
        """The F of the class docstring [N]."""
        norms = self._phi(spins)[1]
        energy: Floats = spins @ self._scaled("fields") - (norms + np.log1p(np.exp(-2.0 * norms)) - np.log(2.0)).sum(1)
        if "couplings" in self.parameters:
            energy += 0.5 * np.einsum("ni,ni->n", spins @ self._scaled("couplings"), spins)
        return energy

    def _free_energy(self, spins: Floats) -> Floats:
        """-log p [N] up to a constant; a machine of which F is only a bound has something better."""
        return self._restricted_energy(spins)

    def _sweep(self, spins: Floats, sweeps: int, rng: np.random.Generator) -> None:
        """Sweeps over chains [C, n], in place, that leave the law exp(-F) as it is."""
        self._metropolis(spins, sweeps, rng, np.zeros(self.bits), 1.0)

    def _metropolis(self, spins: Floats, sweeps: int, rng: np.random.Generator, base: Floats, beta: float) -> None:
        from quantum_sampler.machines.metropolis import sweep  # it is compiled

        couplings = self._scaled("couplings") if "couplings" in self.parameters else np.zeros((0, 0))
        fields, hidden_fields, weights = (self._scaled(name) for name in ("fields", "hidden_fields", "weights"))
        sweep(spins, fields, couplings, hidden_fields, weights, self._square, base, float(beta), sweeps, rng)

    def state_dict(self) -> dict[str, Any]:
        import torch

        return {**super().state_dict(), "chains": torch.from_numpy(self._chains.copy()), "beta": self.beta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._chains, self.beta = state["chains"].numpy().copy(), state["beta"]


def without_diagonal(matrix: Floats) -> Floats:
    """The matrix itself, its diagonal set to 0."""
    np.fill_diagonal(matrix, 0.0)
    return matrix


def _log_sum(values: Floats) -> float:
    largest = values.max()
    return float(largest + np.log(np.exp(values - largest).sum()))
