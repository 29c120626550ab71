"""Running normalisation against the statistics of everything at once."""

import torch

from tests.worldmodel.model.agents import generator
from worldmodel.model.control.normalizer import RunningNorm


def test_mean_and_deviation_are_those_of_all_rows_so_far() -> None:
    random = generator()
    batches = [5 * torch.randn(n, 7, 3, generator=random) + torch.tensor([100.0, 0.0, -1e3]) for n in (2, 5, 11)]
    norm = RunningNorm(3)
    for batch in batches:
        norm.update(batch)
    rows = torch.cat([batch.reshape(-1, 3) for batch in batches]).double()
    every = torch.cat([torch.zeros(1, 3), rows])  # it starts as one row at zero, of variance 1
    torch.testing.assert_close(norm.mean.double(), every.mean(0), rtol=1e-5, atol=1e-4)
    variance = (((every - every.mean(0)) ** 2).sum(0) + 1) / len(every)
    expected = (rows - every.mean(0)) / (variance + 1e-6).sqrt()
    torch.testing.assert_close(norm(rows.float()).double(), expected.clamp(-10, 10), rtol=1e-4, atol=1e-3)
    assert norm(torch.full((3,), 1e9)).abs().max() == 10
