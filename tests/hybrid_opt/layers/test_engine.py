"""The compiled engine against PyTorch's operators in float64, which are tested against matrices."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hybrid_opt.circuits.gate import Gate
from hybrid_opt.layers import engine, operators
from hybrid_opt.layers.gradients import adjoint
from hybrid_opt.layers.layer import CircuitLayer
from hybrid_opt.layers.plan import Plan, Readout
from hybrid_opt.layers.slots import SlotGates, slots
from hybrid_opt.layers.slots import plan_of as plan_of_slots

READOUTS: list[Readout] = ["z", "zz", "probabilities"]
Arguments = tuple[Tensor, Tensor | None, Tensor | None]


def plan_of(n: int, slots: int, phased: tuple[int, ...] = (), readout: Readout = "z", seed: int = 0) -> Plan:
    """A random plan. Even slots have signs, and those that 3 divides no permutation."""
    rng, size = np.random.default_rng(seed), 1 << n
    source = np.stack([rng.permutation(size) if s % 3 else np.arange(size) for s in range(slots)])
    sign = np.stack([np.ones(size) if s % 2 else rng.choice([-1.0, 1.0], size) for s in range(slots)])
    return Plan(n, torch.from_numpy(source), torch.from_numpy(sign), phased, readout)


def arguments_of(plan: Plan, rows: int, start: bool = False, seed: int = 1) -> Arguments:
    """Gates, phases and start in float64."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(rows, *shape, generator=generator, dtype=torch.float64)

    size = 1 << plan.qubits
    gates = normalize(random(plan.slots, plan.qubits, 4), dim=-1)
    phases = 10 * random(len(plan.phased), size) if plan.phased else None
    return gates, phases, normalize(random(2 * size), dim=-1).view(rows, 2, size) if start else None


def given(arguments: Arguments, dtype: torch.dtype) -> list[Tensor | None]:
    return [None if x is None else x.detach().to(dtype, copy=True).requires_grad_() for x in arguments]


def gradients(out: Tensor, arguments: list[Tensor | None], **options: bool) -> list[Tensor]:
    """Of a random sum of the outputs."""
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(out)
    return list(torch.autograd.grad((out * weights).sum(), [x for x in arguments if x is not None], **options))


def assert_agrees(plan: Plan, arguments: Arguments) -> None:
    exact, single = given(arguments, torch.float64), given(arguments, torch.float32)
    expected, found = operators.means(plan, *exact), engine.means(plan, *single)
    assert found.dtype == torch.float32 and found.shape == expected.shape
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
    for mine, theirs in zip(gradients(found, single), gradients(expected, exact), strict=True):
        assert mine.dtype == torch.float32 and mine.shape == theirs.shape
        assert (mine - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6 * len(theirs)


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 100])
@pytest.mark.parametrize("readout", READOUTS)
def test_it_is_the_operators(readout: Readout, rows: int) -> None:
    for n in range(1, 9):
        assert_agrees(plan := plan_of(n, 4, (), readout, seed=n), arguments_of(plan, rows))


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("phased", [(), (0,), (2,), (0, 1, 2)])
def test_it_is_the_operators_with_phases_and_start(phased: tuple[int, ...], start: bool) -> None:
    for n in (1, 2, 5):
        assert_agrees(plan := plan_of(n, 3, phased, "zz", seed=n), arguments_of(plan, 17, start))


@pytest.mark.parametrize(("n", "slots"), [(12, 2), (10, 3), (3, 1), (2, 40)])
def test_it_is_the_operators_of_large_and_of_long_circuits(n: int, slots: int) -> None:
    assert_agrees(plan := plan_of(n, slots), arguments_of(plan, 9))


def circuit_of(qubits: int, count: int, seed: int) -> tuple[list[Gate], int, int]:
    """Random gates, and how many angles are of the data and are trained."""
    rng, names, kinds = np.random.default_rng(seed), list[str](), ("h", "rx", "ry", "rz", "cx", "cz", "rzz")
    names += rng.choice(kinds[: 7 if qubits > 1 else 4], count).tolist()
    turned = [number for number, name in enumerate(names) if name.startswith("r")]
    of_data = set(rng.permutation(turned)[: len(turned) // 2].tolist())
    places = {number: place for place, number in enumerate(sorted(turned, key=lambda k: k not in of_data))}
    gates = [
        Gate(name, tuple(rng.permutation(qubits)[: 2 if name in kinds[4:] else 1].tolist()), places.get(number, -1))
        for number, name in enumerate(names)
    ]
    return gates, len(of_data), len(turned) - len(of_data)


@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize("seed", range(6))
def test_gates_of_angles_are_the_operators(seed: int, rows: int) -> None:
    """Also where there are no angles of one kind."""
    qubits = 1 + seed % 4
    gates, of_data, of_weights = circuit_of(qubits, (40, 40, 12, 12, 6, 4)[seed], seed)
    found = slots(gates, of_data)
    plan, slot_gates = plan_of_slots(found, qubits, "zz"), SlotGates(found, qubits, of_data, of_weights)
    generator = torch.Generator().manual_seed(seed)
    angles = [
        4 * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((rows, of_data), of_weights)
    ]

    def run(dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        data, trained = (x.to(dtype, copy=True).requires_grad_() for x in angles)
        out = engine.turned_means(plan, slot_gates, data, trained, slot_gates.phases(data, trained))
        return out, gradients(out, [data, trained], allow_unused=True, materialize_grads=True)

    (expected, slopes), (found_means, found_slopes) = run(torch.float64), run(torch.float32)
    torch.testing.assert_close(found_means.double(), expected, rtol=0, atol=1e-5)
    for mine, theirs in zip(found_slopes, slopes, strict=True):
        assert mine.dtype == torch.float32 and mine.shape == theirs.shape
        assert (mine - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6 * rows


@pytest.mark.parametrize("rows", [1, 100])
def test_angles_that_are_multiples_of_inputs(rows: int) -> None:
    """Two of an input, none of another, with all other kinds of gradients beside them."""
    gates, of_data, of_weights = circuit_of(3, 40, 1)
    found = slots(gates, of_data)
    plan, slot_gates = plan_of_slots(found, 3, "z"), SlotGates(found, 3, of_data, of_weights)
    random = {"generator": torch.Generator().manual_seed(1), "dtype": torch.float64}
    shapes = [(rows, 4), (of_weights,), (rows, len(plan.phased), 8), (rows, 2, 8), (of_data,)]
    values, origin = [torch.randn(shape, **random) for shape in shapes], torch.arange(of_data, dtype=torch.int32) % 3
    values[3] = normalize(values[3].flatten(1), dim=1).view(shapes[3])

    def run(dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
        given = [x.to(dtype, copy=True).requires_grad_() for x in values]
        out = engine.turned_means(plan, slot_gates, *given, origin)
        return out, gradients(out, given)

    (expected, slopes), (found_means, found_slopes) = run(torch.float64), run(torch.float32)
    torch.testing.assert_close(found_means.double(), expected, rtol=0, atol=1e-5)
    for mine, theirs in zip(found_slopes, slopes, strict=True):
        assert mine.shape == theirs.shape and (mine - theirs).norm() <= 1e-4 * theirs.norm() + 1e-6 * rows


def test_shared_angles_get_the_same_gradients_from_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adjoint, "SHARE", 1)
    layer = CircuitLayer(3, qubits=3, layers=2)
    x, before, found = torch.randn(1000, 3), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(torch.autograd.grad(layer(x).square().sum(), layer.weights)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_one_gradient_alone() -> None:
    """The start's, or the phases', where nothing else has one; none without any."""
    plan = plan_of(3, 2, (1,))
    gates, phases, start = given(arguments_of(plan, 5, start=True), torch.float32)
    assert gates is not None and phases is not None and start is not None
    out = engine.means(plan, gates, phases, start)
    expected = gradients(out, [gates, phases, start])
    for place, x in enumerate((gates, phases, start)):
        alone = [y if y is x else y.detach() for y in (gates, phases, start)]
        (found,) = gradients(engine.means(plan, *alone), [x])
        assert torch.equal(found, expected[place])
    without = engine.means(plan, gates.detach(), phases.detach(), start.detach())
    assert not without.requires_grad and torch.equal(without, out)


def test_a_second_backward_pass_is_the_first_and_second_derivatives_are_refused() -> None:
    """The saved states are not used up. A graph that PyTorch has freed raises its own error."""
    plan = plan_of(3, 2)
    arguments = given(arguments_of(plan, 5), torch.float32)
    out = engine.means(plan, *arguments)
    first = gradients(out, arguments, retain_graph=True)
    assert torch.equal(first[0], gradients(out, arguments)[0])
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        gradients(out, arguments)
    (found,) = gradients(engine.means(plan, *arguments), arguments, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives of a circuit"):
        found.sum().backward()


def test_not_a_number_stays_in_its_row() -> None:
    for what in range(3):
        plan = plan_of(4, 3, (0, 2), "zz")
        clean = arguments_of(plan, 20, start=True)
        dirty = [x.clone() for x in clean if x is not None]
        dirty[what].view(20, -1)[7, 0] = torch.nan
        single = [given((x, y, z), torch.float32) for x, y, z in (clean, dirty)]
        outs = [engine.means(plan, *arguments) for arguments in single]
        others = torch.arange(20) != 7
        assert outs[1][7].isnan().any() and torch.equal(outs[0][others], outs[1][others])
        for expected, found in zip(*(gradients(out, x) for out, x in zip(outs, single, strict=True)), strict=True):
            assert found[7].isnan().any() and torch.equal(expected[others], found[others])


def test_rows_are_alone() -> None:
    """A row has the same digits in every batch."""
    plan = plan_of(5, 3, (1,))
    arguments = [x for x in arguments_of(plan, 33) if x is not None]
    whole = engine.means(plan, *(x.float() for x in arguments))
    for rows in (slice(3, 4), slice(10, 30)):
        assert torch.equal(engine.means(plan, *(x[rows].float() for x in arguments)), whole[rows])


def test_threads_change_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adjoint, "SHARE", 1)
    plan = plan_of(4, 3, (1,))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            arguments = given(arguments_of(plan, 100, start=True), torch.float32)
            out = engine.means(plan, *arguments)
            found.append([out, *gradients(out, arguments)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], other, strict=True))


def test_tensors_need_not_be_contiguous() -> None:
    plan = plan_of(3, 2, (1,))
    tight = [x for x in given(arguments_of(plan, 9, start=True), torch.float32) if x is not None]
    loose = [x.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for x in tight]
    assert not any(x.is_contiguous() for x in loose)
    out, other = engine.means(plan, *tight), engine.means(plan, *loose)
    assert torch.equal(out, other)
    sums = [torch.autograd.grad(y.sum(), x) for y, x in ((out, tight), (other, loose))]  # of an expanded gradient
    assert all(torch.equal(x, y) for x, y in zip(*sums, strict=True))


def test_no_rows() -> None:
    plan = plan_of(3, 2)
    gates = torch.zeros(0, 2, 3, 4, requires_grad=True)
    out = engine.means(plan, gates)
    assert out.shape == (0, 3)
    out.sum().backward()
    assert gates.grad is not None and gates.grad.shape == gates.shape


def test_angles_beyond_all_precision_stay_phases() -> None:
    plan = plan_of(2, 1, (0,), "probabilities")
    gates, _, start = arguments_of(plan, 3, start=True)
    assert start is not None
    for angle, valid in ((1e6, True), (1e12, True), (3e38, True), (torch.inf, False)):
        found = engine.means(plan, gates.float(), torch.full((3, 1, 4), angle), start.float())
        assert torch.isfinite(found).all() == valid and found.isnan().all() != valid
        if valid:
            torch.testing.assert_close(found.sum(1), torch.ones(3))


def test_operators_take_the_rest() -> None:
    """float64, and the transforms of torch.func."""
    plan = plan_of(1, 2)
    gates, _, _ = arguments_of(plan, 2)
    assert torch.autograd.gradgradcheck(lambda x: engine.means(plan, x), gates.clone().requires_grad_())
    single = gates.float()
    expected = torch.autograd.functional.jacobian(lambda x: engine.means(plan, x), single)
    torch.testing.assert_close(torch.func.jacrev(lambda x: engine.means(plan, x))(single), expected)


@pytest.mark.slow
def test_operators_take_forward_differentiation() -> None:
    plan = plan_of(1, 2)
    gates = arguments_of(plan, 2)[0].float()
    expected = torch.autograd.functional.jacobian(lambda x: engine.means(plan, x), gates)
    (_, slope) = torch.func.jvp(lambda x: engine.means(plan, x), (gates,), (torch.ones_like(gates),))
    torch.testing.assert_close(slope, expected.flatten(2).sum(2))
