"""Leaving flat or trapped places: a jump over a coarse grid of directions that training went."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass as plain
from dataclasses import field
from typing import Any

import numpy as np
import torch

from hybrid_opt.direction.config import EscapeConfig
from hybrid_opt.direction.loss_model import NoReference, Trials, subsets, sums
from hybrid_opt.direction.moves import Blocks, Span, Tensors
from hybrid_opt.errors import BackendError
from hybrid_opt.job import Job
from hybrid_opt.notices import notice
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers.solver import Solution, Solver

LONGEST = 8  # patiences between two attempts, after many in vain


@plain
class EscapeCounts:
    """attempts: problems that were solved. found: those with a lower loss on their own batch. taken: those that fresh
    data agreed with. failures: of a backend. gain: of the last jump that was taken, on fresh data.
    """

    attempts: int = 0
    found: int = 0
    taken: int = 0
    failures: int = 0
    gain: float = 0.0


@plain
class _Watch:
    """The smoothed loss, its best value, how long ago that was, and what is waited for in patiences."""

    mean: float = float("nan")
    best: float = float("inf")
    since: int = 0
    waits: int = 1
    snapshot: int = 0


@plain
class _Asked:
    job: Job[Any]
    span: Span
    places: list[tuple[int, int, float]] = field(default_factory=list)


class Escape:
    """Looks for a lower basin once the loss has not improved for `patience` steps.

    Every subset of n = blocks x directions x multiples displacements is a point of a coarse grid; the pairwise model of
    their losses goes to the solver. The best jump by true loss is taken at the next step, if the loss on that step's
    batch, with fresh random numbers, is lower with it than without. A remote backend is not waited for.

    The directions lead here from where training was while it last improved, made orthogonal block by block; a block
    that stood still since then, such as one of dead units, gets random ones.
    """

    def __init__(self, config: EscapeConfig, solver: Solver, waits: bool, record: Callable[[Solution], None]) -> None:
        """record: told of every solution, for its cost."""
        self.config, self.solver, self.waits, self.record = config, solver, waits, record
        self.patience = config.patience or 0
        self.counts, self._watch = EscapeCounts(), _Watch()
        self._trail: list[Tensors] = []
        self._jump: Tensors = []
        self._asked: _Asked | None = None
        self.blocks: Blocks | None = None

    def bind(self, blocks: Blocks) -> None:
        """Say what moves. Raises ProblemError where the solver cannot take problems of this size."""
        self.blocks = blocks
        bits = blocks.count * self.config.directions * len(self.config.multiples)
        self.solver.check(Qubo(np.zeros((bits, bits))))

    def after(self, loss: float, trials: Callable[[Blocks], Trials], seed: int) -> Trials | None:
        """After a step whose loss was this: confirm, take over or ask, one of them at a step.

        Returns the trials that were made.
        """
        assert self.blocks is not None
        self._note(loss)
        if self._jump:
            return self._confirm(trials(self.blocks))
        if self._asked is not None:
            return self._take(trials(self.blocks)) if self._asked.job.done() else None
        if self._watch.since < self._watch.waits * self.patience:
            return None
        self._watch.since = 0
        self._watch.waits = min(LONGEST, 2 * self._watch.waits)
        made = trials(self.blocks)
        if self._ask(made, seed) and self.waits:
            self._take(made)
        return made

    def _note(self, loss: float) -> None:
        watch, patience = self._watch, self.patience
        rate = min(1.0, 10 / patience)
        if np.isfinite(loss):
            watch.mean = loss if np.isnan(watch.mean) else watch.mean + rate * (loss - watch.mean)
        better = watch.mean < watch.best - self.config.tolerance * abs(watch.best if np.isfinite(watch.best) else 0.0)
        watch.since = 0 if better else watch.since + 1
        if better:
            watch.best, watch.waits = watch.mean, 1
        watch.snapshot -= 1
        if (better or not self._trail) and watch.snapshot <= 0:
            assert self.blocks is not None
            self._trail = [*self._trail[1 - self.config.directions :], [v.clone() for v in self.blocks.values]]
            if self.config.directions == 1:
                self._trail = self._trail[-1:]
            watch.snapshot = max(1, patience // self.config.directions)

    def _span(self, blocks: Blocks, seed: int) -> Span:
        """The ways from the trail to here, orthogonal in every block, and how long they are to count."""
        now, random = blocks.values, torch.Generator().manual_seed(seed)
        ways: list[Tensors] = []
        for then in self._trail:
            way = _orthogonal(list(torch._foreach_sub(now, then)), ways, blocks)
            still = blocks.dots(way, way) == 0
            if still.any():
                drawn = [torch.randn(value.shape, generator=random).to(value) for value in now]
                choices = zip(drawn, way, blocks.of, strict=True)
                way = _orthogonal([new if still[block] else old for new, old, block in choices], ways, blocks)
            ways.append(way)
        units = {"norm": now, "travel": ways[0]}
        length = np.ones((blocks.count, 1))
        if self.config.unit in units:
            length[:, 0] = blocks.norms(units[self.config.unit])
        return Span(blocks, ways, np.repeat(self.config.length * length, len(ways), axis=1))

    def _ask(self, trials: Trials, seed: int) -> bool:
        """Model the grid and submit it; whether there was anything to ask."""
        blocks = trials.blocks
        span = self._span(blocks, seed)
        spots = [(b, d) for b in range(blocks.count) for d in range(len(span.directions)) if span.scale[b, d]]
        places = [(b, d, multiple) for b, d in spots for multiple in self.config.multiples]
        if not places:
            return False
        try:
            qubo, _ = subsets(trials, span, places)
        except NoReference:
            return False
        self.counts.attempts += 1
        self._asked = _Asked(self.solver.submit(qubo, seed), span, places)
        return True

    def _take(self, trials: Trials) -> Trials:
        """The best jump among the best samples, by true loss."""
        asked, self._asked = self._asked, None
        assert asked is not None
        try:
            solution = asked.job.result()
        except BackendError as error:
            self.counts.failures += 1
            notice(f"no escape: {error}", stacklevel=2)
            return trials
        self.record(solution)
        drawn = np.concatenate([solution.bits[None], solution.samples[solution.energies.argsort(kind="stable")]])
        _, first = np.unique(drawn, axis=0, return_index=True)
        bits = drawn[np.sort(first)][: self.config.tries]
        bits = bits[bits.any(axis=1)]
        shape = (trials.blocks.count, len(asked.span.directions))
        offsets = np.concatenate([np.zeros((1, *shape)), sums(bits, asked.places, shape)])
        losses = trials.losses(asked.span, offsets)
        best = int(losses.argmin())
        if losses[best] < losses[0]:
            self.counts.found += 1
            origin = [torch.zeros_like(value) for value in trials.origin]
            self._jump = asked.span.displaced(origin, offsets[best])
        return trials

    def _confirm(self, trials: Trials) -> Trials:
        """Take the jump where the loss on this batch is lower with it."""
        jump, self._jump = self._jump, []
        there = list(torch._foreach_add(trials.origin, jump))
        here, beyond = trials.at([trials.origin, there])
        if beyond < here:
            with torch.no_grad():
                torch._foreach_copy_(trials.blocks.values, there)
            self.counts.taken += 1
            self.counts.gain = float(here - beyond)
            self._watch.best, self._watch.mean, self._watch.waits = np.inf, float(beyond), 1
        return trials

    def metrics(self) -> dict[str, float]:
        """What the counts say."""
        counts = {**vars(self.counts), **self.solver.metrics()}
        return {f"escape_{name}": float(value) for name, value in counts.items()}

    def state_dict(self) -> dict[str, Any]:
        """Leaves are tensors or Python scalars. A job under way is not part of it."""
        return {
            "counts": dict(vars(self.counts)),
            "watch": {name: float(value) for name, value in vars(self._watch).items()},
            "trail": [[tensor.clone() for tensor in tensors] for tensors in self._trail],
            "jump": [tensor.clone() for tensor in self._jump],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; a job under way is dropped."""
        assert self.blocks is not None
        self.close()
        vars(self.counts).update(state["counts"])
        kinds = {name: type(value) for name, value in vars(_Watch()).items()}
        vars(self._watch).update({name: kinds[name](value) for name, value in state["watch"].items()})
        self._trail = [like(tensors, self.blocks.values) for tensors in state["trail"]]
        self._jump = like(state["jump"], self.blocks.values)

    def close(self) -> None:
        """Give up the job under way."""
        if self._asked is not None:
            self._asked.job.cancel()
            self._asked = None


def _orthogonal(way: Tensors, others: list[Tensors], blocks: Blocks) -> Tensors:
    """What a way has beside the others, in every block."""
    for other in others:
        squares = blocks.dots(other, other)
        shares = np.divide(blocks.dots(way, other), squares, out=np.zeros(blocks.count), where=squares > 0)
        way = [a - float(shares[block]) * b for a, b, block in zip(way, other, blocks.of, strict=True)]
    return way


def like(tensors: Tensors, others: Tensors) -> Tensors:
    """Copies of tensors where others are, in their precision; none of none."""
    return [a.detach().to(b.device, b.dtype, copy=True) for a, b in zip(tensors, others, strict=bool(tensors))]
