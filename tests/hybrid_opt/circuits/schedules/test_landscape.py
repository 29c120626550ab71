"""The landscape of a policy: cubics, what is fitted, where it sends evaluations, and what the shipped one is worth."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from worldmodel.envs.circuits.instances import draw_spins, qubo_of
from worldmodel.envs.circuits.qaoa_angles import TuningConfig

from hybrid_opt.circuits.schedules.features import ABOUT
from hybrid_opt.circuits.schedules.landscape import (
    Landscape,
    LandscapeSearch,
    cubic,
    fitted,
    improvement,
    least_in_ball,
    offsets,
)
from hybrid_opt.circuits.schedules.learned import Learned, TuningPolicy, learned
from hybrid_opt.errors import ProblemError
from hybrid_opt.simulator.qaoa import QaoaSimulator
from worldmodel.tune.landscape import with_landscape

A, M = 4, 35


def landscape(seed: int = 0, rank: int = 3) -> Landscape:
    """A bowl whose place and shape vary."""
    rng, terms = np.random.default_rng(seed), cubic(A)
    weights = np.zeros((1 + ABOUT, M))
    weights[0, terms._second[np.arange(A), np.arange(A)]] = 8.0
    root = rng.normal(size=(M, rank)) * np.array([0.1] + [0.5] * A + [0.3] * 10 + [0.5] * 20)[:, None]
    return Landscape(weights, root, 0.0)


def test_a_cubic_has_the_derivatives_that_are_its_coefficients() -> None:
    """Against differences, which are exact for a cubic but for the third derivative in the first."""
    rng, terms = np.random.default_rng(0), cubic(A)
    coefficients, h = rng.normal(size=M), 0.5
    slope, curvature, third = terms.derivatives(coefficients)

    def value(*axes: int) -> float:
        """The mixed central difference along these axes at 0."""
        total = 0.0
        for signs in np.ndindex(*[2] * len(axes)):
            point = sum((h * (1 - 2 * s) * np.eye(A)[a] for s, a in zip(signs, axes, strict=True)), np.zeros(A))
            total += (-1) ** sum(signs) * float((terms(point[None]) @ coefficients)[0])
        return total / (2 * h) ** len(axes)

    assert terms(np.zeros((1, A)))[0] == pytest.approx(np.eye(M)[0])
    assert value(1, 2) == pytest.approx(curvature[1, 2]) and value(3, 3) == pytest.approx(curvature[3, 3])
    assert value(0, 1, 2) == pytest.approx(third[0, 1, 2]) and value(2, 2, 2) == pytest.approx(third[2, 2, 2])
    assert value(0) == pytest.approx(slope[0] + h**2 / 6 * third[0, 0, 0])


@pytest.mark.parametrize("radius", [0.1, 1.0, 30.0])
def test_the_least_in_a_ball(radius: float) -> None:
    """No point that SLSQP finds from 10 starts is lower; curvatures of both signs."""
    rng = np.random.default_rng(1)
    for _ in range(5):
        root = rng.normal(size=(3, 3))
        curvature, slope = root + root.T + 2 * np.eye(3), rng.normal(size=3)
        found = least_in_ball(slope, curvature, radius)
        assert np.linalg.norm(found) <= radius * (1 + 1e-9)

        def value(x: Any, slope: Any = slope, curvature: Any = curvature) -> float:
            return float(slope @ x + x @ curvature @ x / 2)

        inside = {"type": "ineq", "fun": lambda x: radius**2 - x @ x}
        starts = radius * rng.uniform(-0.5, 0.5, (10, 3))
        tries = [minimize(value, start, method="SLSQP", constraints=inside) for start in starts]
        least = min(value(t.x * min(1, radius / max(float(np.linalg.norm(t.x)), 1e-12))) for t in tries)
        assert value(found) <= least + 1e-4 * (1 + abs(least))


def test_expected_improvement_is_the_mean_of_the_gains() -> None:
    """Against 400,000 draws, to 4 standard errors."""
    rng = np.random.default_rng(0)
    for gain, std in ((0.5, 1.0), (-1.0, 0.7), (0.0, 2.0)):
        drawn = np.maximum(rng.normal(gain, std, 400_000), 0)
        expected = improvement(np.array([gain]), np.array([std]))[0]
        assert expected == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 400_000**0.5)


def test_fitting_gives_the_law_that_made_the_problems() -> None:
    """Means linear in the description, and a covariance of rank 3, from 4,000 cubics: to 5 standard errors."""
    rng, law = np.random.default_rng(2), landscape()
    about = rng.normal(size=(4000, ABOUT))
    weights = law.weights.copy()
    weights[1:4, :5] = rng.normal(size=(3, 5))
    around = offsets(A, 70, 0.2, rng)
    means = weights[0] + about @ weights[1:]
    coefficients = means + rng.normal(size=(4000, 3)) @ law.root.T
    found = fitted(about, around, coefficients @ cubic(A)(around).T, ridge=0.0)
    covariance = law.root @ law.root.T
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(found.weights - weights) < 5.5 * spread / 4000**0.5 + 1e-6).all()
    assert found.root @ found.root.T == pytest.approx(covariance, abs=6 * 2**0.5 * spread.max() ** 2 / 4000**0.5)
    assert found.misfit < 1e-12
    with pytest.raises(ProblemError, match="at least 36 are needed"):
        fitted(about, around[:35], np.zeros((4000, 35)))


def test_a_search_in_a_known_family_needs_few_evaluations() -> None:
    """Of rank 3: after about as many evaluations as that, the least of each cubic nearby is found to 1e-3."""
    law, terms = landscape(), cubic(A)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        coefficients = law.mean(np.zeros(ABOUT)) + law.root @ rng.normal(size=3)

        def energy(point: Any, coefficients: Any = coefficients) -> float:
            return float((terms(np.asarray(point)[None]) @ coefficients)[0])

        origin = np.full(A, 0.1)
        search, values = LandscapeSearch(law, np.zeros(ABOUT), origin, rng), []
        point: Any = origin
        for _ in range(8):
            values.append(energy(point - origin))
            search.note(point, values[-1], 0.0)
            point = search.step()
        assert energy(search.best() - origin) == pytest.approx(min(values))
        least = minimize(energy, search.best() - origin, method="BFGS").fun
        assert min(values) < least + 1e-3 < values[0]


def test_with_errors_the_best_is_the_least_expected() -> None:
    """A lucky measurement far from the bowl's ground does not win, an exact one does."""
    law = replace(landscape(), root=landscape().root * 1e-3)
    for error, place in ((1.0, 0.0), (0.0, 0.5)):
        search = LandscapeSearch(law, np.zeros(ABOUT), np.zeros(A), np.random.default_rng(0))
        search.note(np.zeros(A), 0.0, error)
        search.note(np.full(A, 0.5), -0.5, error)
        assert search.best()[0] == place


def _problem(rng: np.random.Generator, size: int = 9) -> Any:
    return qubo_of(draw_spins([["sk", "maxcut"][rng.integers(2)]], np.array([size]), size, "uniform", rng), 0)


def test_the_landscape_that_ships_is_worth_its_evaluations() -> None:
    """At 16 evaluations, ahead of COBYLA after the same policy: the mean over 16 problems, by 2 standard errors."""
    policy, rng, gains = learned().policy, np.random.default_rng(77), []
    assert policy.landscape is not None and policy.about["landscape"] == 105_000
    for _ in range(16):
        qubo = _problem(rng)
        simulator, values = QaoaSimulator(qubo, threads=1), []
        for file in (policy, replace(policy, landscape=None)):
            calls: list[float] = []

            def evaluate(gammas: Any, betas: Any, calls: list[float] = calls, s: Any = simulator) -> float:
                calls.append(float(s.value(gammas, betas)[0]))
                return calls[-1]

            angles = Learned(file)(qubo, 3, evaluate, 16)
            assert len(calls) == 16
            values.append(float(simulator.value(*angles)[0]) / simulator.std[0])
            assert values[-1] == pytest.approx(min(calls) / simulator.std[0], abs=1e-5)
        gains.append(values[1] - values[0])
    assert np.mean(gains) > 2 * np.std(gains) / 4


def test_cobyla_goes_on_after_the_landscape() -> None:
    simulator = QaoaSimulator(_problem(np.random.default_rng(0), 6), threads=1)
    qubo, values = _problem(np.random.default_rng(0), 6), []

    def evaluate(gammas: Any, betas: Any) -> float:
        values.append(float(simulator.value(gammas, betas)[0]))
        return values[-1]

    angles = learned()(qubo, 3, evaluate, 45)
    assert 31 < len(values) <= 45
    assert float(simulator.value(*angles)[0]) == pytest.approx(min(values))


def test_a_landscape_is_measured_kept_and_checked(tmp_path: Path) -> None:
    """Around the first guess its mean is the mean energy there, of the problems it was measured on."""
    policy = replace(learned().policy, landscape=None)
    made = with_landscape(policy, TuningConfig(families=("sk",), sizes=(5, 6)), 60)
    assert made.landscape is not None and made.about["landscape"] == 60 * 210
    made.save(tmp_path / "a.npz")
    back = TuningPolicy.load(tmp_path / "a.npz").landscape
    assert back is not None
    assert back.weights == pytest.approx(made.landscape.weights.astype(np.float32))
    assert back.root @ back.root.T == pytest.approx(made.landscape.root @ made.landscape.root.T, rel=1e-3, abs=1e-3)
    again = with_landscape(policy, TuningConfig(families=("sk",), sizes=(5, 6)), 60).landscape
    assert again is not None and np.array_equal(again.weights, made.landscape.weights)
    for wrong in (
        replace(made.landscape, root=made.landscape.root[:-1]),
        replace(made.landscape, weights=made.landscape.weights * np.nan),
        replace(made.landscape, misfit=-1.0),
    ):
        with pytest.raises(ProblemError, match="landscape"):
            replace(policy, landscape=wrong)
