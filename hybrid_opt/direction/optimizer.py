"""HybridOptimizer: every so often, the update direction of the whole network is a combinatorial choice."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hybrid_opt.direction.based import BasedOptimizer
from hybrid_opt.direction.buffers import modules_of
from hybrid_opt.direction.config import Counts, DirectionConfig, checked
from hybrid_opt.direction.escape import Escape, like
from hybrid_opt.direction.loss_model import Loss, NoReference, Trials, by_curvature, by_losses
from hybrid_opt.direction.moves import Blocks, Floats, Moves, Span, Tensors
from hybrid_opt.errors import BackendError, ProblemError
from hybrid_opt.job import Job
from hybrid_opt.notices import notice
from hybrid_opt.problem.qubo import Qubo
from hybrid_opt.solvers import Solution, Solver, check_solver, make_solver

GOOD, BAD = 0.75, 0.25  # ratios of actual to predicted gain from which the trust region grows, or shrinks
SMALLEST = 1 / 8  # trust region


class _Asked(NamedTuple):
    job: Job[Any]
    moves: Moves
    qubo: Qubo
    base: float  # the loss that the model has for the base step
    step: int


class HybridOptimizer(BasedOptimizer):
    """A base optimiser; at every so many steps its step is replaced by the best combination of moves of blocks.

    The base takes its step. Then the loss over K candidate moves of each parameter block (see `Moves`) is modelled in
    pairs, around the base step, on one batch and with common random numbers, and the choice of one move for each block
    is a Qubo with one-hot blocks for any solver on any backend. The choice is taken if the loss on that batch falls by
    at least `threshold` of what was predicted, and is not above that of before the step; else the base step stays. The
    ratio sets the length of the moves beyond the base step as in a trust region method (Conn, Gould and Toint 2000).
    All other steps are the base's own, whose state, parameter groups and hyperparameters these are.

        optimizer = HybridOptimizer(torch.optim.Adam(model.named_parameters()), solver="qaoa", every=100)
        optimizer.attach(lambda parameters, batch, generator: loss(functional_call(model, parameters, batch)))
        ...
        optimizer.step(batch=batch)

    solver: a Solver, its name, or a mapping of `name` and options. backend, ledger, budget, fallback: see
    `make_solver`. options: those of DirectionConfig. Raises ProblemError, with the key, for what is not accepted.

    A backend that is remote is never waited for: its answer is judged by the batch of the step at which it is there,
    and taken if the model's promise still holds; else it is dropped and counted. A failing backend is warned of and
    counted, and training goes on. Only with simulators does a continued run repeat one that was not stopped.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        solver: Any = "qaoa",
        backend: Any = "statevector",
        ledger: Any = None,
        budget: Any = None,
        fallback: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(base)
        self.config: DirectionConfig = checked(options)
        where = {"backend": backend, "ledger": ledger, "budget": budget, "fallback": fallback}
        self._opened: list[Solver] = []
        self.solver = self._open(solver, "optimizer.solver", where)
        wait = self.config.wait
        self.waits = not self.solver.remote if wait is None else wait
        self.counts = Counts()
        self.every, self.trust = self.config.every or 0, self.config.trust
        self._escape: Escape | None = None
        if self.config.escape is not None and self.config.escape.patience is not None:
            other = self._open(self.config.escape.solver, "optimizer.escape.solver", where)
            waits = not other.remote if wait is None else wait
            self._escape = Escape(self.config.escape, other, waits, self._record)
        self._loss: Loss | None = None
        self._modules: list[torch.nn.Module] = []  # that the loss can reach
        self._blocks: Blocks | None = None
        self._anchor: Tensors = []  # the parameters after the last choice
        self._last: Tensors = []  # the last accepted move
        self._next = self.every  # the step of the next choice
        self._asked: _Asked | None = None
        self._spent, self._begin = 0.0, time.monotonic()
        self.recorder: Callable[[Qubo, Solution], None] | None = None  # told of every problem and its solution

    def __getstate__(self) -> dict[str, Any]:
        raise ProblemError("optimizer: its loss and solver are not copied or pickled; state_dict() is accepted")

    def attach(
        self,
        loss: Loss,
        parameters: Iterable[tuple[str, Tensor]] | None = None,
        blocks: Sequence[Sequence[str]] | None = None,
    ) -> None:
        """Set the loss.

        loss(parameters, batch, generator) gives a scalar: of parameters by name, for `torch.func.functional_call`, the
        batch that `step` is given, and a seeded generator for all that is random in it. What it changes in the
        buffers of modules, such as running statistics, is put back: of those that it calls, and of those that are in
        its closure, its arguments, its object or its globals.
        parameters: those that the loss depends on, such as model.named_parameters(); by default all of the base's, by
        the names that it was given. blocks: names of parameters that move together.

        Raises ProblemError where parameters have no names or are not the base's, and where the solver cannot take
        problems of this size.
        """
        named = dict(self.named() if parameters is None else parameters)
        ours = {id(p) for group in self.param_groups for p in group["params"]}
        named = {name: p for name, p in named.items() if p.requires_grad}
        if not named or any(id(p) not in ours for p in named.values()):
            raise ProblemError("attach: parameters: those of the base optimiser, with their names, are accepted")
        self._loss, self._blocks = loss, Blocks(named, blocks or self.config.blocks)
        self._modules = modules_of(loss)
        count = len(self.config.moves)
        size = self._blocks.count * count
        one_hot = [tuple(range(b, b + count)) for b in range(0, size, count)]
        if self.config.every is not None:
            self.solver.check(Qubo(np.zeros((size, size)), one_hot=one_hot))
        if self._escape is not None and self.config.escape is not None:
            self._escape.bind(Blocks(named, self.config.escape.blocks))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, batch: Any = None, loss: Any = None) -> Any:
        """One step. batch: what the attached loss is given. loss: of this step, where no closure gives it and an escape
        wants to know. Returns what the closure gave.
        """
        assert self.base is not None
        if self.config.every is None and self._escape is None:
            return self.base.step(closure)
        blocks = self._attached()
        begin = time.perf_counter()
        self.counts.steps += 1
        if self.config.every is not None and not self._anchor and "momentum" in self.config.moves:
            self._anchor = [value.clone() for value in blocks.values]
        answered = self._asked is not None and self._asked.job.done()
        asks = self._asked is None and self._due()
        start = [value.clone() for value in blocks.values] if answered or asks else []
        between = time.perf_counter()
        value = self.base.step(closure)
        after = time.perf_counter()
        if answered:
            self._judge(self._trials(blocks, batch, 1), start)
        elif asks:
            self._ask(self._trials(blocks, batch, 0), start)
        elif self._asked is not None and self.counts.steps - self._asked.step > self.config.max_age:
            self._asked.job.cancel()
            self._asked = None
            self.counts.dropped += 1
            self._schedule(False)
        if self._escape is not None:
            given = value if value is not None else loss
            if given is None:
                raise ProblemError("optimizer.escape: needs the loss of every step; step(closure) or step(loss=...)")
            trials = self._escape.after(
                float(torch.as_tensor(given).detach()), lambda own: self._trials(own, batch, 2), self._seed(3)
            )
            self._count(trials)
        self._spent += time.perf_counter() - after + between - begin
        return value

    def _due(self) -> bool:
        if self.config.every is None or self.counts.steps < self._next:
            return False
        limit = self.config.overhead
        return limit is None or self._spent <= limit * (time.monotonic() - self._begin - self._spent)

    def _ask(self, trials: Trials, start: Tensors) -> None:
        """Model the loss and submit the problem; judge the answer at once where it is waited for."""
        moves = self._moves(trials, start)
        if not len(moves.moving) or len(moves.names) < 2:
            self._schedule(False)
            return
        try:
            qubo, base = (by_losses if self.config.model == "losses" else by_curvature)(trials, moves)
        except NoReference:
            self.counts.undefined += 1
            self._count(trials)
            self._schedule(False)
            return
        self.counts.asked += 1
        job = self.solver.submit(qubo, self._seed(4))
        self._asked = _Asked(job, moves, qubo, base, self.counts.steps)
        if self.waits:
            self._judge(trials, start)
        else:
            self._count(trials)

    def _moves(self, trials: Trials, start: Tensors) -> Moves:
        """The candidates, after the base step from `start`."""
        history: dict[str, Tensors] = {"last": self._last} if self._last else {}
        if self._anchor:
            history["momentum"] = list(torch._foreach_sub(start, self._anchor))
        step = list(torch._foreach_sub(trials.origin, start))
        return Moves(trials.blocks, self.config.moves, step, history, self.trust)

    def _judge(self, trials: Trials, start: Tensors) -> None:
        """Take the answer's moves, or leave the base step."""
        asked, self._asked = self._asked, None
        assert asked is not None
        accepted = False
        try:
            solution: Solution = asked.job.result()
        except BackendError as error:
            self.counts.failures += 1
            notice(f"no update direction was chosen: {error}", stacklevel=3)
        else:
            self._record(solution, asked.qubo)
            accepted = self._taken(trials, start, asked, solution)
        self._decided(trials, accepted)

    def _taken(self, trials: Trials, start: Tensors, asked: _Asked, solution: Solution) -> bool:
        moves = asked.moves
        if not asked.qubo.feasible(solution.bits):
            self.counts.choices += 1
            self.counts.infeasible += 1
            return False
        levels = np.full(trials.blocks.count, moves.base)
        levels[moves.moving] = solution.bits.reshape(len(moves.moving), -1).argmax(1)
        predicted = asked.base - asked.qubo.energy(solution.bits)
        return self._try(trials, start, moves.span, moves.offsets[levels], float(predicted), asked.step)

    def _try(self, trials: Trials, start: Tensors, span: Span, offsets: Floats, predicted: float, asked: int) -> bool:
        """Move by offsets [B, D] if that brings enough of the gain predicted at step `asked`; whether it did."""
        counts = self.counts
        counts.choices += 1
        counts.predicted_gain, counts.actual_gain = predicted, 0.0
        if predicted <= 0 or not offsets.any():
            counts.kept += 1
            return False
        chosen = span.displaced(trials.origin, offsets)
        before, base, after = trials.at([start, trials.origin, chosen])
        counts.actual_gain = float(base - after) if np.isfinite(base) else 0.0
        ratio = counts.actual_gain / predicted
        self._adapt(ratio, bool((offsets[:, 0] > 0).any() or offsets[:, 1:].any()))
        if not (np.isfinite(ratio) and ratio >= self.config.threshold and ratio > 0 and after <= before):
            if asked == counts.steps:
                counts.rejected += 1
            else:
                counts.dropped += 1
            return False
        torch._foreach_copy_(trials.blocks.values, chosen)
        counts.accepted += 1
        (now,) = trials.at([trials.blocks.values])
        counts.raised += bool(now > min(before, base))
        if "last" in self.config.moves:
            self._last = list(torch._foreach_sub(chosen, start))
        return True

    def _decided(self, trials: Trials, accepted: bool) -> None:
        """Count what it took, and go on."""
        self._count(trials)
        if "momentum" in self.config.moves:
            self._anchor = [value.clone() for value in trials.blocks.values]
        self._schedule(accepted)

    def _adapt(self, ratio: float, reached: bool) -> None:
        """Grow the trust region where the model holds and was followed beyond the base step, or shrink it."""
        if ratio < BAD or not np.isfinite(ratio):
            self.trust = max(SMALLEST, self.trust / 2)
        elif ratio > GOOD and reached:
            self.trust = min(self.config.max_trust, 2 * self.trust)

    def _schedule(self, accepted: bool) -> None:
        """When the next choice is due."""
        first = self.config.every or 0
        self.every = max(first, self.every // 2) if accepted else min(first * self.config.slowest, self.every * 2)
        self._next = self.counts.steps + self.every

    def _record(self, solution: Solution, qubo: Qubo | None = None) -> None:
        for name in ("shots", "circuits", "evaluations", "queries", "qpu_seconds", "dollars"):
            setattr(self.counts, name, getattr(self.counts, name) + getattr(solution.cost, name))
        if self.recorder is not None and qubo is not None:
            self.recorder(qubo, solution)

    def _count(self, trials: Trials | None) -> None:
        if trials is not None:
            self.counts.equivalents += trials.forwards / 3 + trials.gradients
            trials.forwards = trials.gradients = 0

    def _trials(self, blocks: Blocks, batch: Any, purpose: int) -> Trials:
        assert self._loss is not None
        return Trials(self._loss, blocks, batch, self._seed(purpose), self.config.chunk, self._modules)

    def _seed(self, purpose: int) -> int:
        """Of one purpose at this step."""
        words = np.random.SeedSequence((self.config.seed, self.counts.steps, purpose)).generate_state(1, np.uint64)
        return int(words[0] >> np.uint64(1))

    def metrics(self) -> dict[str, float]:
        """Gains of the last choice, the share of answers that were accepted, gradient-equivalents spent per step, the
        cadence and trust region now, and all counts."""
        counts = asdict(self.counts)
        del counts["steps"]
        own = {
            "acceptance": counts.pop("accepted") / max(1, counts["choices"]),
            "overhead": counts.pop("equivalents") / max(1, self.counts.steps),
            "every": self.every,
            "trust": self.trust,
        }
        return {**own, **counts, **self.solver.metrics(), **(self._escape.metrics() if self._escape else {})}

    @property
    def _solvers(self) -> list[Solver]:
        return [self.solver, *([self._escape.solver] if self._escape is not None else [])]

    @property
    def share(self) -> float:
        """Wall-clock that choosing took, as a share of all other since the optimiser was made or its state loaded."""
        return self._spent / max(1e-9, time.monotonic() - self._begin - self._spent)

    def state_dict(self) -> dict[str, Any]:
        """The base's state, and ours under `direction`. An answer that is waited for is not part of it."""
        assert self.base is not None
        own: dict[str, Any] = {
            "counts": asdict(self.counts),
            "every": self.every,
            "trust": self.trust,
            "next": self._next,
            "anchor": [tensor.clone() for tensor in self._anchor],
            "last": [tensor.clone() for tensor in self._last],
        }
        if self._escape is not None:
            own["escape"] = self._escape.state_dict()
        if any(learned := [solver.state_dict() for solver in self._solvers]):
            own["solvers"] = learned
        return {**self.base.state_dict(), "direction": own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state, or begin from one of the base. Raises ProblemError for one of other parameters."""
        assert self.base is not None
        rest = {key: value for key, value in state_dict.items() if key != "direction"}
        try:
            self.base.load_state_dict(rest)
        except (KeyError, ValueError) as error:
            raise ProblemError(f"state: not of these parameters ({error})") from error
        own = state_dict.get("direction")
        if own is None:
            return
        self._drop()
        self.counts = Counts(**{field.name: own["counts"][field.name] for field in fields(Counts)})
        self.every, self.trust, self._next = own["every"], own["trust"], own["next"]
        self._spent, self._begin = 0.0, time.monotonic()
        for solver, learned in zip(self._solvers, own.get("solvers", []), strict=False):
            solver.load_state_dict(learned)
        if own["anchor"] or own["last"] or own.get("escape"):
            values = self._attached().values
            try:
                self._anchor, self._last = like(own["anchor"], values), like(own["last"], values)
            except ValueError as error:
                raise ProblemError("state: of another number of parameters than are attached") from error
            if self._escape is not None and "escape" in own:
                self._escape.load_state_dict(own["escape"])

    def close(self) -> None:
        """Give up what is under way, and release the solvers that were opened here."""
        self._drop()
        for solver in self._opened:
            solver.close()
        self._opened = []

    def _drop(self) -> None:
        if self._asked is not None:
            self._asked.job.cancel()
            self._asked = None
        if self._escape is not None:
            self._escape.close()

    def _attached(self) -> Blocks:
        if self._blocks is None:
            raise ProblemError("optimizer: attach(loss) has to come first, unless every is infinite")
        return self._blocks

    def _open(self, solver: Any, key: str, where: Mapping[str, Any]) -> Solver:
        if isinstance(solver, Solver):
            return solver
        name, options = check_solver(solver, key)
        backend = options.pop("backend", where["backend"])
        made = make_solver(name, **{**where, "backend": backend}, **options)
        self._opened.append(made)
        return made
