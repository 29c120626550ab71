"""Surrogates: posteriors against dense algebra, Qubos against predictions over the whole grid, exact laws."""

from itertools import product

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from hybrid_opt import ProblemError, make_solver
from hybrid_opt.search.surrogate import SURROGATES, Observations, make_surrogate, membership
from hybrid_opt.search.surrogates.objective import robust
from hybrid_opt.search.surrogates.smooth import KERNELS, Prior, evidence
from hybrid_opt.search.surrogates.sparse import Horseshoe, coefficients

ORDERED = (True, False, True)
LEVELS = [np.linspace(0, 1, 5), np.arange(3.0), np.array([0.0, 0.1, 0.5, 1.0])]


def observations(count=30, seed=0, missing=0.0):
    """Of three parameters, the second without order, at levels and between them, some absent."""
    rng = np.random.default_rng(seed)
    positions = np.column_stack([rng.random(count), rng.integers(0, 3, count), rng.choice(LEVELS[2], count)])
    values = (positions[:, 0] - 0.3) ** 2 + (positions[:, 1] != 1) * positions[:, 2] + 0.05 * rng.normal(size=count)
    positions[rng.random((count, 3)) < missing] = np.nan
    return Observations(positions, robust(values), ORDERED)


def points(levels=LEVELS):
    return np.array(list(product(*levels)))


def dense_kernel(model, a, b):
    """The covariance of the values at points a [N, 3] and b [M, 3], entry by entry."""
    lengths, (main, pair) = np.exp(model.theta[:3]), np.exp(2 * model.theta[3:5]) / 3
    out = np.empty((len(a), len(b)))
    for n, m in product(range(len(a)), range(len(b))):
        k = []
        for i in range(3):
            if np.isnan(a[n, i]) or np.isnan(b[m, i]):
                k.append(0.0)
            elif ORDERED[i]:
                k.append(np.exp(-0.5 * ((a[n, i] - b[m, i]) / lengths[i]) ** 2))
            else:
                k.append(1.0 if a[n, i] == b[m, i] else np.exp(-1 / lengths[i]))
        out[n, m] = 1 + main * sum(k) + pair * (k[0] * k[1] + k[0] * k[2] + k[1] * k[2])
    return out


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_smooth_mean_is_the_posterior_mean_of_a_dense_solve(missing):
    seen, model = observations(missing=missing), make_surrogate("smooth")
    model.fit(seen, np.random.default_rng(0))
    noise = np.exp(2 * model.theta[5]) + 1e-6
    covariance = dense_kernel(model, seen.positions, seen.positions) + noise * np.eye(len(seen.values))
    grid = points()
    expected = dense_kernel(model, grid, seen.positions) @ np.linalg.solve(covariance, seen.values)
    qubo = model.mean(LEVELS)
    bits, energies = qubo.k_best(len(grid))
    assert qubo.one_hot == (tuple(range(5)), (5, 6, 7), (8, 9, 10, 11))
    at = np.array([[LEVELS[i][row[list(block)].argmax()] for i, block in enumerate(qubo.one_hot)] for row in bits])
    order = np.lexsort(at.T[::-1])
    np.testing.assert_allclose(energies[order], expected, atol=1e-8)
    np.testing.assert_allclose(model.predict(grid), expected, atol=1e-8)


def test_smooth_draws_have_the_mean_and_covariance_of_the_posterior():
    seen = observations(12, missing=0.1)
    model = make_surrogate("smooth", {"thompson": 1.0, "steps": 0})
    model.fit(seen, np.random.default_rng(0))
    noise = np.exp(2 * model.theta[5]) + 1e-6
    grid = points([LEVELS[0][:3], LEVELS[1], LEVELS[2][:2]])
    cross = dense_kernel(model, grid, seen.positions)
    inverse = np.linalg.inv(dense_kernel(model, seen.positions, seen.positions) + noise * np.eye(12))
    covariance = dense_kernel(model, grid, grid) - cross @ inverse @ cross.T
    rng, draws = np.random.default_rng(1), 1500
    levels = [LEVELS[0][:3], LEVELS[1], LEVELS[2][:2]]
    states = np.array(
        [[*np.eye(3)[a], *np.eye(3)[b], *np.eye(2)[c]] for a, b, c in product(range(3), range(3), range(2))]
    )
    drawn = np.array([model.qubo(levels, rng).energy(states) for _ in range(draws)])
    deviation = np.sqrt(np.diagonal(covariance))
    assert np.abs((drawn.mean(0) - cross @ inverse @ seen.values) / deviation).max() < 4.5 / np.sqrt(draws)
    scale = np.sqrt((np.outer(deviation, deviation) ** 2 + covariance**2) / draws)
    assert np.abs((np.cov(drawn.T) - covariance) / scale).max() < 5


def test_temperature_scales_the_deviation_of_a_draw():
    seen = observations()
    hot, cold = (make_surrogate("smooth", {"thompson": 1.0, "temperature": t}) for t in (1.0, 0.25))
    for model in (hot, cold):
        model.fit(seen, np.random.default_rng(0))
    grid = np.array(
        [[*np.eye(5)[a], *np.eye(3)[b], *np.eye(4)[c]] for a, b, c in product(range(5), range(3), range(4))]
    )
    far, near = (
        m.qubo(LEVELS, np.random.default_rng(3)).energy(grid) - m.mean(LEVELS).energy(grid) for m in (hot, cold)
    )
    np.testing.assert_allclose(near, 0.25 * far, atol=1e-9)


@pytest.mark.parametrize("kernel", ["rbf", "matern52", "matern32", "laplace"])
def test_gradient_of_the_evidence(kernel):
    seen = observations(missing=0.1)
    objective = evidence(seen, Prior.of(ORDERED), kernel)
    theta = Prior.of(ORDERED).mean + np.random.default_rng(2).normal(0, 0.3, 6)
    numeric = scipy.optimize.approx_fprime(theta, lambda t: objective(t)[0], 1e-6)
    np.testing.assert_allclose(objective(theta)[1], numeric, rtol=1e-3, atol=1e-3)


def test_evidence_is_the_density_of_the_observations():
    seen, model = observations(), make_surrogate("smooth", {"steps": 0})
    model.fit(seen, np.random.default_rng(0))
    objective = evidence(seen, Prior.of(ORDERED), "rbf")
    densities, values = [], []
    for noise in (-2.3, -1.0):
        model.theta = np.array([*Prior.of(ORDERED).mean[:5], noise])
        covariance = dense_kernel(model, seen.positions, seen.positions)
        covariance += (np.exp(2 * noise) + 1e-6) * np.eye(len(seen.values))
        prior = scipy.stats.norm(Prior.of(ORDERED).mean, Prior.of(ORDERED).deviation).logpdf(model.theta).sum()
        densities.append(scipy.stats.multivariate_normal(np.zeros(30), covariance).logpdf(seen.values) + prior)
        values.append(objective(model.theta)[0])
    assert values[0] - values[1] == pytest.approx(densities[1] - densities[0], abs=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_start_at_one_and_fall(kernel):
    values, slopes = KERNELS[kernel](np.linspace(0, 3, 50))
    assert values[0] == 1
    assert (np.diff(values) < 0).all()
    step = 1e-6
    numeric = (KERNELS[kernel](np.linspace(0, 3, 50) * np.exp(-step))[0] - values) / step
    np.testing.assert_allclose(slopes, numeric, atol=1e-4)


@pytest.mark.parametrize("name", SURROGATES)
def test_the_optimum_of_the_qubo_is_that_of_the_predictions(name):
    model = make_surrogate(name)
    model.fit(observations(60, missing=0.1), np.random.default_rng(0))
    qubo, grid = model.mean(LEVELS), points()
    predictions = model.predict(grid)
    bits, energy = qubo.minimum()
    at = [LEVELS[i][bits[list(block)].argmax()] for i, block in enumerate(qubo.one_hot)]
    assert energy == pytest.approx(predictions.min())
    np.testing.assert_allclose(grid[predictions.argmin()], at)
    free = make_solver("exact").solve(qubo.penalised()).bits  # constraints by penalty: the same optimum
    np.testing.assert_array_equal(free, bits)


@pytest.mark.parametrize("name", SURROGATES)
def test_surrogates_learn_a_function_of_pairs(name):
    seen = observations(100)
    rows = np.arange(100) < 80
    model = make_surrogate(name)
    train = Observations(seen.positions[rows], seen.values[rows], ORDERED)
    for _ in range(3):
        model.fit(train, np.random.default_rng(0))
    correlation = scipy.stats.spearmanr(model.predict(seen.positions[~rows]), seen.values[~rows]).statistic
    assert correlation > 0.8


def test_factorization_recovers_a_machine_without_noise():
    rng = np.random.default_rng(0)
    grid = points()
    w, v = [rng.normal(size=len(x)) for x in LEVELS], [rng.normal(size=(len(x), 2)) for x in LEVELS]
    index = np.array(list(product(range(5), range(3), range(4))))
    values = np.array(
        [
            sum(w[i][row[i]] for i in range(3))
            + sum(v[i][row[i]] @ v[j][row[j]] for i in range(3) for j in range(i + 1, 3))
            for row in index
        ]
    )
    model = make_surrogate("factorization", {"rank": 4, "penalty": 1e-6, "sweeps": 200})
    model.fit(Observations(grid, values, ORDERED), rng)
    np.testing.assert_allclose(model.predict(grid), values, atol=0.02 * values.std())


def test_factorization_goes_on_from_its_last_weights():
    seen = observations(80)
    errors = []
    model = make_surrogate("factorization", {"sweeps": 1})
    for _ in range(6):
        model.fit(seen, np.random.default_rng(0))
        errors.append(((model.predict(seen.positions) - seen.values) ** 2).sum())
    assert errors[-1] < 0.9 * errors[0]


def test_the_window_keeps_recent_points_and_the_best():
    seen = Observations(np.arange(10.0)[:, None], np.array([5, -1, 4, 3, 2, 1, 0.5, 2, 3, 4.0]), (True,))
    np.testing.assert_array_equal(seen.recent(3).positions[:, 0], [1, 8, 9])
    assert len(seen.recent(10).values) == 10


def test_coefficients_follow_the_conjugate_posterior():
    rng = np.random.default_rng(0)
    features, values = rng.normal(size=(6, 9)), rng.normal(size=6)
    variances, noise, draws = rng.uniform(0.1, 2, 9), 0.5, 5000
    precision = features.T @ features / noise + np.diag(1 / variances)
    covariance = np.linalg.inv(precision)
    mean = covariance @ features.T @ values / noise
    drawn = np.array([coefficients(features, values, variances, noise, rng) for _ in range(draws)])
    deviation = np.sqrt(np.diagonal(covariance))
    assert np.abs((drawn.mean(0) - mean) / deviation).max() < 4.5 / np.sqrt(draws)
    scale = np.sqrt((np.outer(deviation, deviation) ** 2 + covariance**2) / draws)
    assert np.abs((np.cov(drawn.T) - covariance) / scale).max() < 5


def test_the_horseshoe_finds_the_few_that_count():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 100))
    truth = np.zeros(100)
    truth[[3, 40, 77]] = 3.0, -2.0, 4.0
    chain = Horseshoe(100)
    drawn = [chain.step(features, features @ truth + 0.1 * rng.normal(size=60), rng) for _ in range(300)]
    np.testing.assert_allclose(np.mean(drawn[150:], axis=0), truth, atol=0.15)


def test_the_gibbs_sampler_leaves_the_joint_law_invariant():
    """Geweke's test: with data drawn anew given the coefficients, the priors must come out: half-Cauchy, median 1."""
    rng = np.random.default_rng(0)
    features, chain, values = rng.normal(size=(2, 2)), Horseshoe(2, noise=1.0), np.zeros(2)
    local, overall = [], []
    for _ in range(8000):
        values = features @ chain.step(features, values, rng) + rng.normal(size=2)
        local.append(chain.local < 1)
        overall.append(chain.overall < 1)
    for below in (np.array(local).T, [overall]):
        for row in below:
            batches = np.reshape(row, (40, -1)).mean(1)
            assert abs(batches.mean() - 0.5) < 4 * batches.std() / np.sqrt(39)
            assert batches.std() / np.sqrt(39) < 0.03


def test_membership_shares_a_position_between_levels():
    levels = np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(
        membership(np.array([0.0, 0.25, 0.9, 1.2, np.nan]), levels, True),
        [[1, 0, 0], [0.5, 0.5, 0], [0, 0.2, 0.8], [0, 0, 1], [0, 0, 0]],
        atol=1e-12,
    )
    np.testing.assert_array_equal(membership(np.array([1.0, 2.0, np.nan]), np.array([1.0]), False), [[1], [0], [0]])


@pytest.mark.parametrize("transform", ["rank", "normal", "log"])
def test_transforms_keep_the_order_and_bound_outliers(transform):
    y = np.array([3.0, 1.0, 2.0, 2.0, 1e9, 0.5, 4.0, 2.5])
    z = robust(y, transform)
    assert abs(z.mean()) < 1e-12
    assert z.std() == pytest.approx(1)
    assert (np.diff(z[y.argsort()]) >= 0).all()
    assert z.max() < 3
    assert np.isfinite(robust([1.0, np.inf, 0.0, np.inf, np.inf], transform)).all()
    np.testing.assert_array_equal(robust([2.0, 2.0], transform), [0, 0])


def test_what_is_not_accepted_is_named():
    with pytest.raises(ProblemError, match=r"surrogate=smoth: .*did you mean smooth"):
        make_surrogate("smoth")
    with pytest.raises(ProblemError, match=r"surrogate\.rnk: .*did you mean rank"):
        make_surrogate("factorization", {"rnk": 3})
    with pytest.raises(ProblemError, match=r"surrogate\.thompson=2: "):
        make_surrogate("smooth", {"thompson": 2})
    with pytest.raises(ProblemError, match="transform=square: rank, normal, log are accepted"):
        robust([1.0], "square")
