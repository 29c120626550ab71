"""Fronts: principal components against NumPy's, the autoencoder against its promise."""

import numpy as np
import pytest
import torch

from worldmodel.model.config import FrontOptions
from worldmodel.model.fronts.autoencoder import Autoencoder
from worldmodel.model.fronts.pca import Pca


def rows(count: int, seed: int = 0) -> torch.Tensor:
    """Correlated rows [count, 5] with a mean."""
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(count, 5)) @ rng.normal(size=(5, 5)) + 3.0)


def test_components_are_eigenvectors_of_the_covariance() -> None:
    """Oracle: numpy.linalg.eigh. Whitened: of variance 1. Explained: the share of the greatest eigenvalues."""
    front, x = Pca(5, 2, FrontOptions()).double(), rows(200)
    front.refit(x.view(4, 50, 5))
    values, vectors = np.linalg.eigh(np.cov(x.numpy().T, bias=True))
    found = front.components.numpy()
    np.testing.assert_allclose(np.abs(np.sum(found * vectors[:, [4, 3]].T, 1)), 1.0, atol=1e-10)
    np.testing.assert_allclose(np.cov(front(x).numpy().T, bias=True), np.eye(2), atol=1e-10)
    assert front.auxiliary(x)[1]["explained_variance"].item() == pytest.approx(values[3:].sum() / values.sum())


def test_they_are_frozen_between_refits_and_see_the_last_rows() -> None:
    front, seen = Pca(5, 2, FrontOptions(every=3, rows=100)).double(), [rows(40, seed) for seed in range(4)]
    front.refit(seen[0])
    first = front.components.clone()
    for x in seen[1:3]:
        front.refit(x)
        assert torch.equal(front.components, first)
    front.refit(seen[3])
    other = Pca(5, 2, FrontOptions(rows=100)).double()
    other.refit(torch.cat(seen)[-100:])
    np.testing.assert_allclose((front.components * other.components).sum(1).abs(), 1.0, atol=1e-10)
    assert ((front.components * first).sum(1) >= 0).all()


def test_few_or_constant_rows_give_finite_codes() -> None:
    front = Pca(5, 4, FrontOptions()).double()
    front.refit(torch.ones(2, 5))
    assert front(rows(3)).isfinite().all() and front(torch.ones(1, 5).double()).abs().max() == 0


def test_a_state_continues_to_the_bit() -> None:
    one, other = (Pca(5, 2, FrontOptions(every=2)).double() for _ in range(2))
    one.refit(rows(30, 1))
    other.load_state_dict(one.state_dict())
    for seed in (2, 3):
        one.refit(rows(30, seed))
        other.refit(rows(30, seed))
    assert all(torch.equal(*pair) for pair in zip(one.buffers(), other.buffers(), strict=True))


def test_the_task_does_not_train_the_autoencoder() -> None:
    torch.manual_seed(0)
    front, x = Autoencoder(5, 2, FrontOptions(units=3, weight=2.0)), rows(9).float().requires_grad_()
    front(x).sum().backward()
    assert x.grad is not None and x.grad.any()  # the gradient of the task passes
    assert all(p.grad is None for p in front.parameters())
    x.grad = None
    losses, metrics = front.auxiliary(x)
    error = (front.decoder(front.encoder(x)) - x).square().mean()
    assert losses["autoencoder"].item() == pytest.approx(2 * error.item()) == 2 * metrics["reconstruction"].item()
    losses["autoencoder"].backward()
    assert all(p.grad is not None and p.grad.any() for p in front.parameters()) and x.grad is None
    x = rows(3).requires_grad_()
    assert torch.autograd.gradcheck(front.double(), x, eps=1e-3, atol=1e-3)  # its norms are in float32
