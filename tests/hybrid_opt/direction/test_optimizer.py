"""HybridOptimizer against torch's own contract, and its choices against brute force."""

import copy
import io
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from hybrid_opt import ProblemError
from hybrid_opt.direction.optimizer import HybridOptimizer

Batch = tuple[Tensor, Tensor]
BASES: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
}


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


def batch(number: int) -> Batch:
    random = torch.Generator().manual_seed(number)
    x = torch.randn(32, 3, generator=random)
    return x, x.prod(1, keepdim=True)


def noisy(model: nn.Module) -> Callable[[Mapping[str, Tensor], Batch, torch.Generator], Tensor]:
    """A loss with noise in it: comparable only under common random numbers."""

    def loss(parameters: Mapping[str, Tensor], data: Batch, generator: torch.Generator) -> Tensor:
        x, y = data
        x = x + 0.3 * torch.randn(x.shape, generator=generator)
        return (functional_call(model, dict(parameters), (x,)) - y).square().mean()

    return loss


class Training:
    """A model, its optimiser, and steps on numbered batches."""

    def __init__(self, base: str = "adam", solver: Any = "exact", hybrid: bool = True, **options: Any) -> None:
        self.model = network()
        self.base = BASES[base](self.model.named_parameters())
        self.optimizer: Any = HybridOptimizer(self.base, solver=solver, **options) if hybrid else self.base
        self.hybrid = hybrid
        if hybrid:
            self.optimizer.attach(noisy(self.model))
        self.noise = torch.Generator().manual_seed(9)

    def steps(self, first: int, last: int) -> list[float]:
        losses = []
        for number in range(first, last):
            self.optimizer.zero_grad()
            loss = noisy(self.model)(dict(self.model.named_parameters()), batch(number), self.noise)
            loss.backward()
            given = {"batch": batch(number), "loss": loss.detach()} if self.hybrid else {}
            self.optimizer.step(**given)
            losses.append(loss.item())
        return losses

    @property
    def weights(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])


@pytest.mark.parametrize("every", [None, float("inf"), 1000])
@pytest.mark.parametrize("base", BASES)
def test_it_is_its_base_while_no_choice_is_due(base: str, every: Any) -> None:
    ours, other = Training(base, every=every), Training(base, hybrid=False)
    assert ours.steps(0, 12) == other.steps(0, 12)
    assert torch.equal(ours.weights, other.weights)
    theirs = other.base.state_dict()["state"]
    mine = ours.optimizer.state_dict()["state"]
    for number, state in theirs.items():
        assert all(
            torch.equal(torch.as_tensor(value), torch.as_tensor(mine[number][key])) for key, value in state.items()
        )


@pytest.mark.parametrize("base", BASES)
def test_a_choice_that_is_refused_leaves_the_step_of_the_base(base: str) -> None:
    ours, other = Training(base, every=2), Training(base, hybrid=False)
    ours.optimizer._taken = lambda *_: False
    assert ours.steps(0, 10) == other.steps(0, 10)
    assert torch.equal(ours.weights, other.weights)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["losses", "curvature"])
@pytest.mark.parametrize("base", BASES)
def test_accepted_moves_never_raise_the_loss_on_their_own_batch(base: str, model: str) -> None:
    ours = Training(base, every=2, slowest=1, model=model, blocks=3)
    ours.steps(0, 40)
    counts = ours.optimizer.counts
    assert counts.accepted >= 3 and counts.raised == 0
    assert counts.choices == counts.accepted + counts.rejected + counts.kept


def test_an_accepted_move_is_the_best_combination() -> None:
    """With two blocks the pairwise model is exact: the choice is the best of all combinations, by brute force."""
    ours = Training("sgd", every=1, blocks=2, moves=("skip", "half", "base", "double"), trust=3.0)
    model, optimizer = ours.model, ours.optimizer
    for number in range(5):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        data, counts = batch(number), optimizer.counts
        accepted, trust = counts.accepted, optimizer.trust
        optimizer.zero_grad()
        noisy(model)(dict(model.named_parameters()), data, ours.noise).backward()
        base = {name: before[name] - 0.05 * p.grad for name, p in model.named_parameters() if p.grad is not None}
        optimizer.step(batch=data, loss=0.0)
        blocks, losses = optimizer._blocks, {}
        assert blocks is not None and blocks.count == 2
        seed = optimizer._seed(0)
        for factors in product((0.0, 0.5, 1.0, 1.0 + trust), repeat=2):
            point = {
                name: before[name] + factors[block] * (base[name] - before[name])
                for name, block in zip(blocks.names, blocks.of, strict=True)
            }
            losses[factors] = noisy(model)(point, data, torch.Generator().manual_seed(seed)).item()
        best = min(losses.values())
        now = noisy(model)(dict(model.named_parameters()), data, torch.Generator().manual_seed(seed)).item()
        if counts.accepted > accepted:
            assert now == pytest.approx(best, rel=1e-5)
            assert counts.predicted_gain == pytest.approx(losses[1.0, 1.0] - best, rel=1e-3, abs=1e-6)
            assert counts.actual_gain == pytest.approx(losses[1.0, 1.0] - best, rel=1e-3, abs=1e-6)
        else:
            assert now == pytest.approx(losses[1.0, 1.0], rel=1e-5)
    assert optimizer.counts.accepted >= 2


@pytest.mark.parametrize("solver", ["exact", "annealing", {"name": "qaoa", "layers": 2, "shots": 128}])
def test_the_same_seed_gives_the_same_training(solver: Any) -> None:
    options = {"every": 3, "blocks": 2, "solver": solver}
    one, two = Training(**options), Training(**options)
    assert one.steps(0, 15) == two.steps(0, 15) and torch.equal(one.weights, two.weights)
    assert one.optimizer.metrics() == two.optimizer.metrics()
    assert one.optimizer.counts.choices > 0


def test_torchs_random_state_is_left_alone() -> None:
    """The loss may draw from torch's own generators too: that is seeded for it, and not seen outside."""
    ours = Training(every=1, blocks=2)

    def loss(parameters: Mapping[str, Tensor], data: Batch, generator: torch.Generator) -> Tensor:
        x, y = data
        y = y + 0.1 * torch.randn_like(y)
        return (functional_call(ours.model, dict(parameters), (x,)) - y).square().mean()

    ours.optimizer.attach(loss)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    ours.steps(0, 4)
    assert torch.equal(before, torch.get_rng_state())
    assert ours.optimizer.counts.accepted > 0 and ours.optimizer.counts.raised == 0


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_continues_from_its_state_to_the_bit(base: str) -> None:
    escape = {"patience": 4, "blocks": 2, "tolerance": 0.5}
    options: dict[str, Any] = {"every": 3, "blocks": 3, "slowest": 1, "escape": escape}
    whole = Training(base, **options)
    whole.steps(0, 30)
    first = Training(base, **options)
    first.steps(0, 17)
    file = io.BytesIO()
    torch.save({"optimizer": first.optimizer.state_dict(), "model": first.model.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second = Training(base, **options)
    second.model.load_state_dict(state["model"])
    second.optimizer.load_state_dict(state["optimizer"])
    second.noise.set_state(first.noise.get_state())
    assert second.optimizer.param_groups is second.base.param_groups and second.optimizer.state is second.base.state
    second.steps(17, 30)
    assert torch.equal(second.weights, whole.weights)
    assert second.optimizer.metrics() == whole.optimizer.metrics()
    assert whole.optimizer.counts.accepted > 0 and whole.optimizer._escape.counts.attempts > 0


def test_state_is_a_copy_and_takes_that_of_the_base() -> None:
    ours = Training("adam", every=2)
    ours.steps(0, 6)
    state = copy.deepcopy(ours.optimizer.state_dict())
    ours.steps(6, 12)
    assert state["direction"]["counts"]["steps"] == 6 and ours.optimizer.counts.steps == 12
    assert not torch.equal(state["direction"]["anchor"][0], ours.optimizer._anchor[0])
    base = Training("adam", hybrid=False)
    base.steps(0, 6)
    fresh = Training("adam", every=None)
    fresh.model.load_state_dict(base.model.state_dict())
    fresh.noise.set_state(base.noise.get_state())
    fresh.optimizer.load_state_dict(copy.deepcopy(base.base.state_dict()))  # torch takes the tensors themselves
    assert fresh.steps(6, 9) == base.steps(6, 9)


def test_parameter_groups_schedulers_and_new_groups() -> None:
    model = network()
    one, two = [list(model[i].named_parameters(prefix=str(i))) for i in (0, 2)]  # type: ignore[index]
    groups: Any = [{"params": one, "lr": 0.1}, {"params": two, "lr": 0.0}]
    optimizer = HybridOptimizer(
        torch.optim.SGD(groups, lr=0.05), solver="exact", every=1, blocks=2, moves=["base", "skip"]
    )
    optimizer.attach(noisy(model), [*one, *two])
    still = [p.detach().clone() for _, p in two]
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    for number in range(3):
        optimizer.zero_grad()
        noisy(model)(dict(model.named_parameters()), batch(number), torch.Generator()).backward()
        optimizer.step(batch=batch(number))
        scheduler.step()
    assert all(torch.equal(p, before) for (_, p), before in zip(two, still, strict=True))  # of learning rate 0
    assert [group["lr"] for group in optimizer.param_groups] == [0.1 / 8, 0.0]
    optimizer.add_param_group({"params": list(model[4].named_parameters(prefix="4")), "lr": 0.2})  # type: ignore[index]
    assert len(optimizer.param_groups) == 3 and optimizer.param_groups[2]["params"][0] is model[4].weight  # type: ignore[index]
    before = model[4].weight.detach().clone()  # type: ignore[index]
    noisy(model)(dict(model.named_parameters()), batch(3), torch.Generator()).backward()
    optimizer.step(batch=batch(3))
    assert not torch.equal(before, model[4].weight)  # type: ignore[index]


def test_parameters_that_the_loss_does_not_name_take_the_base_step() -> None:
    ours, other = Training("sgd", every=1, blocks=1), Training("sgd", hybrid=False)
    last = [(f"4.{name}", p) for name, p in ours.model[4].named_parameters()]  # type: ignore[index]
    others = dict(ours.model.named_parameters())

    def loss(parameters: Mapping[str, Tensor], data: Batch, generator: torch.Generator) -> Tensor:
        assert set(parameters) == {"4.weight", "4.bias"}
        return noisy(ours.model)({**others, **parameters}, data, generator)

    ours.optimizer.attach(loss, last)
    ours.steps(0, 1)
    other.steps(0, 1)
    same = [torch.equal(a, b) for a, b in zip(ours.model.parameters(), other.model.parameters(), strict=True)]
    assert same == [True] * 4 + [False] * 2 and ours.optimizer.counts.accepted == 1


@pytest.mark.parametrize("base", ["sgd", "adam"])
def test_closures(base: str) -> None:
    ours, other = Training(base, every=2, escape={"patience": 2}), Training(base, hybrid=False)
    for training in (ours, other):

        def closure(training: Training = training) -> Tensor:
            assert torch.is_grad_enabled()
            training.optimizer.zero_grad()
            generator = torch.Generator().manual_seed(0)
            loss = noisy(training.model)(dict(training.model.named_parameters()), batch(0), generator)
            loss.backward()
            return loss

        given = {"batch": batch(0)} if training is ours else {}
        losses = [float(training.optimizer.step(closure, **given)) for _ in range(8)]
        training.final = losses  # type: ignore[attr-defined]
    assert ours.final[:2] == other.final[:2] and ours.final[-1] < other.final[-1]  # type: ignore[attr-defined]


def test_lbfgs_as_base() -> None:
    model = network()
    base = torch.optim.LBFGS(model.named_parameters(), lr=0.1, max_iter=4)  # type: ignore[arg-type]
    optimizer = HybridOptimizer(base, solver="exact", every=1, blocks=2)
    optimizer.attach(noisy(model))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = noisy(model)(dict(model.named_parameters()), batch(0), torch.Generator().manual_seed(0))
        loss.backward()
        return loss

    losses = [float(optimizer.step(closure, batch=batch(0))) for _ in range(5)]
    assert losses[-1] < losses[0] and optimizer.counts.choices > 0


def test_mixed_precision_with_a_scaler_and_clipping() -> None:
    ours = Training("sgd", every=2, blocks=2)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)

    def loss(parameters: Mapping[str, Tensor], data: Batch, generator: torch.Generator) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return noisy(ours.model)(parameters, data, generator).float()

    ours.optimizer.attach(loss)
    for number in range(8):
        ours.optimizer.zero_grad()
        value = loss(dict(ours.model.named_parameters()), batch(number), ours.noise)
        scaler.scale(value).backward()
        if number == 5:
            next(ours.model.parameters()).grad.fill_(float("inf"))  # type: ignore[union-attr]
        before = ours.weights
        scaler.unscale_(ours.optimizer)
        nn.utils.clip_grad_norm_(ours.model.parameters(), 0.5)
        scaler.step(ours.optimizer, batch=batch(number))
        scaler.update()
        assert torch.equal(before, ours.weights) == (number == 5)
    assert ours.optimizer.counts.steps == 7 and ours.optimizer.counts.accepted > 0
    assert ours.optimizer.counts.raised == 0


def test_a_loss_that_is_not_finite_leaves_the_base_alone() -> None:
    ours, other = Training("sgd", every=1, blocks=2), Training("sgd", hybrid=False)
    ours.optimizer.attach(lambda parameters, data, generator: parameters["0.weight"].sum() * float("nan"))
    assert ours.steps(0, 4) == other.steps(0, 4)
    assert ours.optimizer.counts.undefined > 0 and ours.optimizer.counts.choices == 0


def test_cadence_adapts() -> None:
    ours = Training("sgd", every=2, slowest=4)
    ours.optimizer._taken = lambda *_: False
    ours.steps(0, 40)
    assert ours.optimizer.every == 8 and ours.optimizer.counts.asked == 6  # at 2, 6, 14, 22, 30, 38
    del ours.optimizer._taken
    ours.optimizer._taken = lambda *_: True
    ours.steps(40, 60)
    assert ours.optimizer.every == 2


def test_wall_clock_is_kept_within_the_limit() -> None:
    ours = Training("sgd", every=1, slowest=1, overhead=1e-9)
    ours.steps(0, 30)
    assert ours.optimizer.counts.asked <= 1  # the first is due before anything was spent


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "optimizer.every=0"),
        ({"evry": 3}, "optimizer.evry: no such option"),
        ({"moves": ("skip", "half")}, "optimizer.moves="),
        ({"model": "hessian"}, "optimizer.model='hessian'"),
        ({"solver": "qaoaa"}, "solver=qaoaa: no such solver; did you mean qaoa"),
        ({"solver": {"layers": 2}}, "optimizer.solver="),
        ({"solver": {"name": "qaoa", "layer": 2}}, "solver.layer: no such option"),
        ({"escape": {"patience": 0}}, "optimizer.escape.patience=0"),
        ({"solver": "annealing", "backend": "aer"}, "backend=aer: runs no anneals"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemError, match=message.replace("(", r"\(")) as caught:
        Training(**options)
    assert caught.value.exit_code == 2


def test_wrong_use() -> None:
    model = network()
    unnamed = HybridOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), solver="exact", every=1)
    with pytest.raises(ProblemError, match="named_parameters"):
        unnamed.attach(noisy(model))
    model(batch(0)[0]).sum().backward()
    with pytest.raises(ProblemError, match="attach"):
        unnamed.step()
    with pytest.raises(ProblemError, match="those of the base"):
        unnamed.attach(noisy(model), network(1).named_parameters())
    with pytest.raises(ProblemError, match="blocks"):
        unnamed.attach(noisy(model), model.named_parameters(), blocks=[["0.weight"], ["0.weight"]])
    with pytest.raises(ProblemError, match="36 qubits"):
        base = torch.optim.SGD(model.named_parameters(), lr=0.1)  # type: ignore[arg-type]
        HybridOptimizer(base, solver="vqe", blocks=99).attach(noisy(model))


def _partial(model: Any, parameters: Any, batch: Any, generator: torch.Generator) -> Tensor:
    return torch.func.functional_call(model, parameters, (batch,)).square().mean()


@pytest.mark.parametrize("how", ["closure", "partial", "list"])
@pytest.mark.parametrize("model_of_loss", ["losses", "curvature"])
def test_running_statistics_are_put_back(how: str, model_of_loss: str) -> None:
    """Every batch counts once, whatever was tried on it."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    base = torch.optim.SGD(model.named_parameters(), lr=0.1)
    optimizer = HybridOptimizer(base, solver="exact", every=4, model=model_of_loss)
    hidden = [model]
    losses: dict[str, Any] = {
        "closure": lambda parameters, batch, generator: _partial(model, parameters, batch, generator),
        "partial": partial(_partial, model),
        "list": lambda parameters, batch, generator: _partial(hidden[0], parameters, batch, generator),
    }
    optimizer.attach(losses[how], model.named_parameters())
    for step in range(10):
        batch = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step(batch=batch)
    assert optimizer.counts.asked >= 1
    assert int(model[1].num_batches_tracked) == 10  # type: ignore[arg-type]


class _Centred(torch.nn.Module):
    """Its running statistics are assigned, not changed in place."""

    mean: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        self.count = self.count + 1
        return x - self.mean


def test_buffers_that_are_assigned_are_put_back() -> None:
    centred = _Centred()
    model = torch.nn.Sequential(centred, torch.nn.Linear(3, 1))
    base = torch.optim.SGD(model.named_parameters(), lr=0.1)  # type: ignore[arg-type]
    optimizer = HybridOptimizer(base, solver="exact", every=2)
    optimizer.attach(partial(_partial, model), model.named_parameters())
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().mean().backward()
        optimizer.step(batch=torch.ones(4, 3))
    assert optimizer.counts.asked >= 1 and centred.count == 6
    torch.testing.assert_close(centred.mean, torch.full((3,), 1 - 0.9**6))


class _Counting(torch.nn.Module):
    """Its buffers change in methods, without a call of the module."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)
        self.register_buffer("count", torch.zeros(()))

    def encode(self, x: Tensor) -> Tensor:
        self.count += 1
        return x + 0.1 * self.count

    def forward(self, x: Tensor) -> Tensor:
        encoded: Tensor = self.linear(self.encode(x))
        return encoded


class _Encoding(torch.nn.Module):
    def __init__(self, model: _Counting) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        encoded: Tensor = self.model.linear(self.model.encode(x))
        return encoded


class _Trained:
    def __init__(self, model: _Counting) -> None:
        self.parts = {"model": model}

    def loss(self, parameters: Any, batch: Tensor, generator: Any) -> Tensor:
        model = self.parts["model"]
        return torch.func.functional_call(model.linear, _of_linear(parameters), (model.encode(batch),)).square().mean()


def _of_linear(parameters: Any) -> dict[str, Tensor]:
    return {name.removeprefix("linear."): value for name, value in parameters.items()}


MODEL = _Counting()


def _of_a_global(parameters: Any, batch: Tensor, generator: Any) -> Tensor:
    return torch.func.functional_call(MODEL.linear, _of_linear(parameters), (MODEL.encode(batch),)).square().mean()


@pytest.mark.parametrize("how", ["forward", "wrapped", "closure", "method", "global"])
@pytest.mark.parametrize("options", [{"every": 2}, {"every": 2, "model": "curvature"}, {"every": 2, "chunk": 4}])
def test_buffers_that_methods_change_are_put_back(how: str, options: dict[str, Any]) -> None:
    """In the module that is called, in one inside of it, and in one that is not called."""
    model = MODEL if how == "global" else _Counting()
    model.count.zero_()
    wrapped = _Encoding(model)

    def of_wrapped(parameters: Any, batch: Tensor, generator: Any) -> Tensor:
        named = {f"model.{name}": value for name, value in parameters.items()}
        return torch.func.functional_call(wrapped, named, (batch,)).square().mean()

    def of_closure(parameters: Any, batch: Tensor, generator: Any) -> Tensor:
        return torch.func.functional_call(model.linear, _of_linear(parameters), (model.encode(batch),)).square().mean()

    losses: dict[str, Any] = {
        "forward": partial(_partial, model),
        "wrapped": of_wrapped,
        "closure": of_closure,
        "method": _Trained(model).loss,
        "global": _of_a_global,
    }
    base = torch.optim.SGD(model.named_parameters(), lr=0.01)  # type: ignore[arg-type]
    optimizer = HybridOptimizer(base, solver="exact", **options)
    optimizer.attach(losses[how], model.named_parameters())
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().mean().backward()
        optimizer.step(batch=torch.ones(4, 3))
    assert optimizer.counts.asked >= 1 and model.count == 6


def test_what_is_no_optimiser_no_state_and_no_copy_is_refused() -> None:
    with pytest.raises(ProblemError, match="^base: a list; an optimiser"):
        HybridOptimizer([torch.ones(1)])  # type: ignore[arg-type]
    optimizer = HybridOptimizer(torch.optim.SGD([torch.ones(2)], lr=0.1), solver="exact", every=None)
    with pytest.raises(ProblemError, match="^optimizer: .*state_dict"):
        copy.deepcopy(optimizer)
    for state in ({}, torch.optim.SGD([torch.ones(2), torch.ones(2)], lr=0.1).state_dict()):
        with pytest.raises(ProblemError, match="^state: not of these parameters"):
            optimizer.load_state_dict(state)


def test_a_state_that_the_base_loads_is_that_of_both() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    base = torch.optim.SGD([("weight", weight)], lr=0.01)
    optimizer = HybridOptimizer(base, solver="exact", every=None)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1e-5)
    base.load_state_dict(base.state_dict())
    assert optimizer.param_groups is base.param_groups and optimizer.state is base.state
    scheduler.step()
    assert base.param_groups[0]["lr"] == pytest.approx(1e-7)
