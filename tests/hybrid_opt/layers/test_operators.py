"""Plans by PyTorch's operators against matrices written out."""

import numpy as np
import pytest
import torch

from hybrid_opt.layers.operators import means
from hybrid_opt.layers.plan import Plan

pytestmark = pytest.mark.filterwarnings("ignore:Casting complex")


def matrix(gate):
    a, b, c, d = gate
    return np.array([[a + 1j * b, -c + 1j * d], [c + 1j * d, a - 1j * b]])


@pytest.mark.parametrize("readout", ["z", "zz", "probabilities"])
def test_a_plan_is_its_matrices(readout):
    """Oracle: Kronecker products, permutations and diagonal matrices, row by row."""
    n, slots, rows, rng = 3, 2, 4, np.random.default_rng(0)
    gates = rng.normal(size=(rows, slots, n, 4))
    gates /= np.linalg.norm(gates, axis=-1, keepdims=True)
    source = np.stack([rng.permutation(1 << n) for _ in range(slots)])
    sign = rng.choice([-1.0, 1.0], (slots, 1 << n))
    phases = rng.normal(size=(rows, 1, 1 << n))
    start = rng.normal(size=(rows, 2, 1 << n))
    start /= np.linalg.norm(start, axis=(1, 2), keepdims=True)
    plan = Plan(n, torch.tensor(source), torch.tensor(sign), (1,), readout)
    found = means(plan, torch.tensor(gates), torch.tensor(phases), torch.tensor(start))
    assert found.shape == (rows, plan.outputs)
    z = [np.diag([1.0 - 2 * (k >> q & 1) for k in range(1 << n)]) for q in range(n)]
    pairs = [z[q] @ z[q + 1] for q in range(n - 1)]
    projectors = [np.diag(row) for row in np.eye(1 << n)]
    observables = {"z": z, "zz": z + pairs, "probabilities": projectors}[readout]
    for row in range(rows):
        psi = start[row, 0] + 1j * start[row, 1]
        for s in range(slots):
            if s == 1:
                psi = np.exp(1j * phases[row, 0]) * psi
            whole = np.eye(1)
            for q in range(n):
                whole = np.kron(matrix(gates[row, s, q]), whole)
            psi = sign[s] * (whole @ psi)[source[s]]
        expected = [np.vdot(psi, observable @ psi).real for observable in observables]
        np.testing.assert_allclose(found[row], expected, atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    plan = Plan(
        2, torch.tensor([[0, 3, 2, 1], [1, 0, 3, 2]]), torch.tensor([[1.0, 1, 1, -1], [1, 1, -1, 1]]).double(), (0,)
    )
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 2, 2, 4), (3, 1, 4), (3, 2, 4))
    inputs = [torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *x: means(plan, *x), inputs)
