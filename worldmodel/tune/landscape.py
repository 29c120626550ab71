"""The landscape of a policy: energies around its first guesses, over the problems of its training."""

from dataclasses import replace
from math import comb

import numpy as np

from hybrid_opt.circuits.schedules.features import WIDTHS
from hybrid_opt.circuits.schedules.landscape import DEGREE, fitted, offsets
from hybrid_opt.circuits.schedules.learned import TuningPolicy
from worldmodel.envs.circuits.qaoa_angles import TuningBatch, TuningConfig

SEED = 8_128  # the problems are none of the training's or the evaluation's
TOGETHER = 250  # problems that are simulated side by side
RADIUS = 0.12  # typical offset of a parameter
SPARE = 2.5  # evaluations of a problem for each coefficient


def with_landscape(policy: TuningPolicy, config: TuningConfig, problems: int) -> TuningPolicy:
    """The policy with its landscape, measured exactly around its first guesses for so many problems of its
    environment. Its cost is told under about["landscape"], in evaluations.
    """
    rng, width = np.random.default_rng(SEED), WIDTHS[config.shape]
    around = offsets(width, int(SPARE * comb(width + DEGREE, DEGREE)), RADIUS, rng)
    exact = replace(config, shots=None, noise=0.0, choose_shots=False, stop=False, backend="statevector")
    about, energies = [], []
    for first in range(0, problems, TOGETHER):
        rows = min(TOGETHER, problems - first)
        batch = TuningBatch(exact, rows)
        batch.begin(np.arange(rows), rng)
        progress = batch.progress
        progress.propose(policy.act(progress.observe())[:, :width])
        guess = progress.candidate
        energies.append(np.stack([batch.simulator.values(*progress.angles(guess + offset)) for offset in around], 1))
        about.append(progress.about)
    landscape = fitted(np.concatenate(about), around, np.concatenate(energies))
    return replace(policy, landscape=landscape, about={**policy.about, "landscape": problems * len(around)})
