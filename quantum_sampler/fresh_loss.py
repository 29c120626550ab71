"""The mean fresh loss of a replay, estimated now and then: a diagnostic that any selector with a probe can log."""

from typing import Any

import numpy as np

from quantum_sampler.amplitude import Estimate, Method, mean_fresh_loss
from quantum_sampler.selector import Floats, Ids, Probe


class FreshLoss:
    """Estimates the mean loss that the model has now on the items, every so many calls of `observe`.

    It runs the model, so it belongs in the thread of the trainer: a selector's `prepare`. every: calls from one
    estimate to the next; 0 for none. method "amplitude" probes all items, the others at most `queries`.
    """

    def __init__(self, every: int, queries: int, method: Method) -> None:
        self._every, self._queries, self._method = every, queries, method
        self._calls = 0
        self.latest: Estimate | None = None

    def due(self) -> bool:
        """Count a call: whether an estimate is due now. The first is due at call number `every`."""
        self._calls += 1
        return self._every > 0 and self._calls % self._every == 0

    def observe(self, probe: Probe, ids: Ids, rng: np.random.Generator, stored: Floats | None = None) -> Estimate:
        """Estimate now. ids [N], N >= 1. stored: their last known losses, or a rising function of them, for strata."""
        self.latest = mean_fresh_loss(probe, ids, rng, self._queries, self._method, stored=stored)
        return self.latest

    def metrics(self) -> dict[str, float]:
        """fresh_loss, its standard error, the queries and the probes of the latest estimate; empty before it."""
        if self.latest is None:
            return {}
        value, error, queries, probes = self.latest
        return {
            "fresh_loss": value,
            "fresh_loss_error": error,
            "fresh_loss_queries": queries,
            "fresh_loss_probes": probes,
        }

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self._calls, "latest": None if self.latest is None else list(self.latest)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._calls = state["calls"]
        self.latest = None if state["latest"] is None else Estimate(*state["latest"])
