"""What the losses of a replay would be now, estimated now and then: a diagnostic for selectors with a probe."""

from collections.abc import Callable
from math import isfinite
from typing import Annotated, Any, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.effect import refuse_idle
from quantum_sampler.amplitude.estimation import (
    Estimate,
    Method,
    effective_sample_size,
    estimate_mean,
    partition_ratio,
    probed,
)
from quantum_sampler.selector import Floats, Ids, Probe

Score = Callable[[Ids, Floats], Floats]
"""Scores [n] > 0 that a selector gives to the items with indices int64 [n] for losses [n]."""


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True))
class FreshLossConfig:
    """How often fresh losses are looked at, and how."""

    fresh_every: Annotated[int, Field(ge=0)] = 0
    """updates between looks at what the losses would be now (replay/.../fresh_*), 0 for none"""
    fresh_queries: Annotated[int, Field(ge=2)] = 128
    """model passes of each of the three estimates then"""
    fresh_method: Method = "monte_carlo"
    """of the estimates: amplitude, monte_carlo or stratified"""

    @model_validator(mode="after")
    def _looks(self) -> Self:
        refuse_idle(self, "fresh_queries fresh_method", not self.fresh_every, "fresh_every from 1")
        return self


class FreshLoss:
    """Estimates the mean loss that the model has now on the items, every so many calls of `observe`, and how far the
    scores have moved on: the effective sample size of those that the items would have now, and their sum over that of
    the stored ones (1: the priorities are up to date).

    It runs the model, so it belongs in the thread of the trainer: a selector's `prepare`. every: calls from one
    estimate to the next; 0 for none. queries: of each estimate. An item is probed once at most; method "amplitude"
    probes all of them.
    """

    def __init__(self, every: int, queries: int, method: Method) -> None:
        self._every, self._queries, self._method = every, queries, method
        self._calls = 0
        self._latest: dict[str, Estimate] = {}

    def due(self) -> bool:
        """Count a call: whether an estimate is due now. The first is due at call number `every`."""
        self._calls += 1
        return self._every > 0 and self._calls % self._every == 0

    def observe(
        self,
        probe: Probe,
        ids: Ids,
        rng: np.random.Generator,
        stored: Floats | None = None,
        score: Score | None = None,
    ) -> None:
        """Estimate now. ids [N], N >= 1. stored: their scores [N], > 0, by which strata are made and items drawn, or a
        rising function of them where `score` is not given; with it, the scores are estimated, too.
        """
        losses, how = _Once(probe, ids), (self._queries, self._method)
        self._latest = {"fresh_loss": estimate_mean(losses, ids.size, rng, *how, order=stored)}
        if score is not None and stored is not None:
            scorer = score

            def scores(indices: Ids) -> Floats:
                return scorer(indices, losses(indices))

            self._latest["fresh_sample_size"] = effective_sample_size(scores, ids.size, rng, *how, weights=stored)
            self._latest["fresh_ratio"] = partition_ratio(scores, stored, rng, *how)

    def metrics(self) -> dict[str, float]:
        """Of the latest estimates, none before them: fresh_loss, fresh_sample_size and fresh_ratio, and of each
        `_error` (standard error, left out where it is not known), `_queries`, and `_probes`: items that it looked at.
        """
        figures: dict[str, float] = {}
        for name, (value, error, queries, probes) in self._latest.items():
            figures |= {name: value, f"{name}_queries": queries, f"{name}_probes": probes}
            figures |= {f"{name}_error": error} if isfinite(error) else {}
        return figures

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self._calls, "latest": {name: list(estimate) for name, estimate in self._latest.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._calls = state["calls"]
        self._latest = {name: Estimate(*figures) for name, figures in state["latest"].items()}


class _Once:
    """Fresh losses of items by their indices; those that were asked for before are remembered."""

    def __init__(self, probe: Probe, ids: Ids) -> None:
        self._values, self._known = probed(probe, ids), np.full(ids.size, np.nan)

    def __call__(self, indices: Ids) -> Floats:
        unknown = np.unique(indices[np.isnan(self._known[indices])])
        if unknown.size:
            self._known[unknown] = self._values(unknown)
        return self._known[indices]
