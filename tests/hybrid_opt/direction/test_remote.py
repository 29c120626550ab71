"""Update directions from backends that queue, fail or answer late: training never waits."""

import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from hybrid_opt.backends import open_backend
from hybrid_opt.backends.ledger.store import Ledger
from hybrid_opt.errors import BackendError
from hybrid_opt.solvers import make_solver
from tests.hybrid_opt.direction.test_optimizer import Training
from tests.hybrid_opt.flaky.client import KINDS, NAME, Flaky

QUIET = "&".join(f"{kind}=0" for kind in KINDS)


class Late:
    """A solver whose answer comes when the test says so."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.ready, self.cancelled = inner, False, 0
        self.remote, self.key = True, "late"

    def submit(self, qubo: Any, seed: int = 0) -> Any:
        self.job, self.ready = self.inner.submit(qubo, seed), False
        return self

    def check(self, qubo: Any) -> None:
        self.inner.check(qubo)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self.inner.state_dict()
        return state

    def done(self) -> bool:
        return self.ready

    def result(self, timeout: float | None = None) -> Any:
        assert self.ready, "it was waited for"
        if isinstance(self.ready, Exception):
            raise self.ready
        return self.job.result()

    def cancel(self) -> bool:
        self.cancelled += 1
        return True


def late(**options: Any) -> tuple[Training, Any]:
    solver: Any = Late(make_solver("exact"))
    training = Training("sgd", every=None)
    from hybrid_opt.direction.optimizer import HybridOptimizer
    from hybrid_opt.solvers.solver import Solver
    from tests.hybrid_opt.direction.test_optimizer import noisy

    Solver.register(Late)
    training.optimizer = HybridOptimizer(training.base, solver=solver, every=4, slowest=1, blocks=2, **options)
    training.optimizer.attach(noisy(training.model))
    return training, solver


def test_an_answer_that_comes_later_is_judged_by_the_batch_of_then() -> None:
    ours, solver = late()
    other = Training("sgd", hybrid=False)
    assert ours.steps(0, 12) == other.steps(0, 12)  # asked at step 4, and never waited for
    assert torch.equal(ours.weights, other.weights) and ours.optimizer.counts.asked == 1
    solver.ready = True
    ours.steps(12, 13)
    other.steps(12, 13)
    counts = ours.optimizer.counts
    assert counts.choices == 1 and counts.accepted + counts.dropped == 1 and counts.raised == 0
    assert (counts.accepted == 1) != torch.equal(ours.weights, other.weights)
    for number in range(13, 60):
        solver.ready = number % 3 == 0
        ours.steps(number, number + 1)
    assert counts.accepted >= 2 and counts.raised == 0


def test_an_answer_that_is_too_old_is_dropped() -> None:
    ours, solver = late(max_age=5)
    ours.steps(0, 10)
    assert ours.optimizer.counts.dropped == 1 and solver.cancelled == 1 and ours.optimizer._asked is None
    ours.steps(10, 14)
    assert ours.optimizer.counts.asked == 2
    ours.optimizer.close()
    assert solver.cancelled == 2


def test_a_failure_is_warned_of_and_counted() -> None:
    ours, solver = late()
    other = Training("sgd", hybrid=False)
    assert ours.steps(0, 6) == other.steps(0, 6)
    solver.ready = BackendError("the fridge is warm")
    with pytest.warns(RuntimeWarning, match="the fridge is warm"):
        warnings.simplefilter("error")  # as the code of a user may
        assert ours.steps(6, 7) == other.steps(6, 7)
    assert ours.optimizer.counts.failures == 1 and torch.equal(ours.weights, other.weights)
    assert ours.steps(7, 9) == other.steps(7, 9)


def test_loading_a_state_drops_what_is_under_way() -> None:
    ours, solver = late()
    ours.steps(0, 6)
    state = ours.optimizer.state_dict()
    ours.optimizer.load_state_dict(state)
    assert solver.cancelled == 1 and ours.optimizer._asked is None


@pytest.mark.slow
def test_a_faulty_annealer_behind_a_ledger(tmp_path: Path) -> None:
    """The whole way: an annealer with delays and lost replies, its jobs booked, training not held up."""
    name = f"{NAME}?inner=dwave:mock&{QUIET.replace('delay=0', 'delay=0.3').replace('lose=0', 'lose=0.1')}&latency=0.1"
    backend = open_backend(f"{name}&folder={tmp_path / 'vendor'}", ledger=str(tmp_path / "ledger.sqlite"))
    ours = Training("sgd", solver={"name": "annealing", "reads": 32, "backend": backend}, every=2, blocks=2, slowest=1)
    assert not ours.optimizer.waits
    counts, number = ours.optimizer.counts, 0
    deadline = time.monotonic() + 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        while counts.choices < 3:
            assert time.monotonic() < deadline
            ours.steps(number, number + 1)
            number += 1
            time.sleep(0.02)
    ours.optimizer.close()
    backend.close()
    Flaky(inner="dwave:mock", folder=str(tmp_path / "vendor")).stop()
    assert counts.raised == 0 and number > counts.choices * 2
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent.shots >= 3 * 32
