"""The sampler of a search, as its configuration gives it."""

import pytest

from hybrid_opt.search.sampler import QuboSampler
from worldmodel.cli.compose import configured
from worldmodel.search.config import SearchConfig

NOISE = ["noise=depolarizing", "noise.p=0.02"]


@pytest.mark.parametrize(
    ("words", "noisy"),
    [
        (["sampler.solver=qaoa", "sampler.options.layers=2"], True),
        (["sampler.solver=vqe", "sampler.backend=aer"], True),
        (["sampler.solver=qaoa", "sampler.backend='ibm:fake_torino'"], False),  # it has the noise of its device
        (["sampler.solver=annealing"], False),
        ([], False),
    ],
)
def test_circuits_of_a_search_have_the_noise_of_the_run(words: list[str], noisy: bool) -> None:
    config = configured("search", SearchConfig, ["space=rates", "sampler=qubo", *words, *NOISE])
    assert isinstance(config.proposer.make(), QuboSampler)
    given = {"noise": {"name": "depolarizing", "p": 0.02}} if noisy else {}
    assert config.proposer.options == config.sampler.options | given
    quiet = configured("search", SearchConfig, ["space=rates", "sampler=qubo", *words])
    assert quiet.proposer is quiet.sampler
