"""The sum of a law's weights over a whole buffer, where planning saw only a pool of it."""

from collections.abc import Callable
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from hybrid_opt.effect import refuse_idle
from quantum_sampler.amplitude.estimation import partition_ratio
from quantum_sampler.selector import Floats, Ids
from quantum_sampler.selectors.base.planned import PlanningConfig


@dataclass(config=ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False))
class NormaliserConfig(PlanningConfig):
    """How the law of a pool is normalised over a buffer that is larger.

    pool: the pool's sum times N / pool. The others estimate the ratio of the sum to that of the scores in the tree.
    """

    normaliser: Literal["pool", "monte_carlo", "stratified", "amplitude"] = "pool"
    """of the law in mixtures, where there are more items: pool, or an estimate over all by amplitude, monte_carlo or
    stratified"""
    normaliser_queries: Annotated[int, Field(ge=1)] = 1024
    """items that an estimate looks at; amplitude simulates so many queries and looks at all"""

    @model_validator(mode="after")
    def _estimates(self) -> Self:
        estimate = "normaliser=monte_carlo, stratified or amplitude"
        refuse_idle(self, "normaliser_queries", self.normaliser == "pool", estimate)
        return self


def buffer_sum(
    weights: Callable[[Ids], Floats],
    slots: Ids,
    scores: Floats,
    rng: np.random.Generator,
    config: NormaliserConfig,
    pooled: float,
) -> float:
    """The sum of weights >= 0, functions of slots, over the items of slots [N] with scores [N].

    pooled: what the pool says of it, which stands where that is wanted, or where an estimate found nothing. A query is
    one weight: the features of one item are encoded.
    """
    if config.normaliser == "pool":
        return pooled
    queries, method = config.normaliser_queries, config.normaliser
    ratio = partition_ratio(lambda indices: weights(slots[indices]), scores, rng, queries, method).value
    return ratio * float(scores.sum()) or pooled
