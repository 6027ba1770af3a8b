"""Scenarios: by hand, against slow oracles, seeded by words alone, refused by name."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from quantbot.errors import InputError
from quantbot.risk import SCENARIO_PARAMETERS, SCENARIOS, make_scenarios, principal_factors, seed_of
from quantbot.risk.garch import fit_garch
from quantbot.risk.student import StudentT, fit_student_t


def history(n_periods: int = 120, n_assets: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, (n_periods, 1)) * 0.01
    return np.asarray(common + rng.standard_t(5, (n_periods, n_assets)) * 0.01)


def clustered(n_periods: int, calm: float, last: float) -> np.ndarray:
    """Return returns whose volatility is `calm` but for the last tenth."""
    rng = np.random.default_rng(3)
    size = np.full(n_periods, calm)
    size[-n_periods // 10 :] = last
    return np.asarray(rng.standard_normal((n_periods, 2)) * size[:, None])


def test_historical__is_the_window_and_no_more() -> None:
    returns = history()
    found = make_scenarios("historical", returns, window=50)
    assert np.array_equal(found.returns, returns[-50:])
    assert np.allclose(found.probabilities, 1 / 50)
    with pytest.raises(InputError, match="window needs 121 periods of returns, found 120"):
        make_scenarios("historical", returns, window=121)


def test_exponential__halves_in_a_half_life() -> None:
    found = make_scenarios("exponential", history(), window=100, half_life=7.0)
    assert found.probabilities[-8] / found.probabilities[-1] == pytest.approx(0.5, rel=1e-14)
    assert found.probabilities.sum() == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_method__is_a_function_of_its_input_and_seed(name: str) -> None:
    returns = history()
    settings = {"window": 120, "n_scenarios": 60}
    one = make_scenarios(name, returns, seed=seed_of("run", 1), **settings)
    np.random.default_rng(5).normal(size=10)
    again = make_scenarios(name, returns.copy(), seed=seed_of("run", 1), **settings)
    other = make_scenarios(name, returns, seed=seed_of("run", 2), **settings)
    assert np.array_equal(one.returns, again.returns)
    assert np.array_equal(one.returns, other.returns) != SCENARIOS[name].draws
    assert np.isfinite(one.returns).all()
    assert {parameter.name for parameter in SCENARIOS[name].parameters} <= set(SCENARIO_PARAMETERS)


@pytest.mark.parametrize("name", ["stationary_bootstrap", "block_bootstrap"])
def test_bootstraps__draw_rows_of_the_window_in_blocks(name: str) -> None:
    returns = history()
    found = make_scenarios(name, returns, seed=1, window=100, n_scenarios=250, block_length=10)
    assert found.returns.shape == (250, 3)
    rows = [int(np.flatnonzero((returns == row).all(axis=1))[0]) for row in found.returns]
    assert min(rows) >= 20
    in_order = np.mean([(b - a) % 100 == 1 for a, b in pairwise(rows)])
    assert 0.8 < in_order < 0.97


def test_bootstrap__compounds_what_lies_within_the_horizon() -> None:
    returns = np.full((40, 1), 0.01)
    found = make_scenarios("block_bootstrap", returns, window=40, n_scenarios=7, horizon=5)
    assert found.returns == pytest.approx(np.full((7, 1), 1.01**5 - 1), abs=1e-15)
    with pytest.raises(InputError, match="horizon must be at most the window of 40"):
        make_scenarios("block_bootstrap", returns, window=40, horizon=41)


def test_garch__is_the_recursion_of_its_numbers() -> None:
    returns = clustered(400, 0.01, 0.03)
    found = fit_garch(returns, ("a", "b"))
    for j in range(2):
        shock = returns[:, j] - found.mean[j]
        variance = np.square(shock / found.residuals[:, j])
        expected = found.omega[j] + found.alpha[j] * shock[:-1] ** 2 + found.beta[j] * variance[:-1]
        assert variance[1:] == pytest.approx(expected, rel=1e-9)
        last = found.omega[j] + found.alpha[j] * shock[-1] ** 2 + found.beta[j] * variance[-1]
        assert found.variance[j] == pytest.approx(last, rel=1e-12)
    one = np.array([[[1.0, -1.0], [0.5, 2.0]]])  # one path of two periods
    first = found.mean + np.sqrt(found.variance) * one[0, 0]
    then = found.omega + found.alpha * found.variance + found.beta * found.variance
    second = found.mean + np.sqrt(then) * one[0, 1]
    assert found.simulate(one)[0] == pytest.approx((1 + first) * (1 + second) - 1, rel=1e-12)


def test_filtered_history__is_wilder_after_wild_days() -> None:
    settings = {"window": 400, "n_scenarios": 2000}
    wild = make_scenarios("filtered_historical", clustered(400, 0.01, 0.03), **settings).returns.std(axis=0)
    calm = make_scenarios("filtered_historical", clustered(400, 0.01, 0.003), **settings).returns.std(axis=0)
    assert (wild > 0.02).all()
    assert (calm < 0.6 * wild).all()


def test_student_fit__is_that_of_scipy_for_one_asset() -> None:
    values = stats.t.rvs(4, loc=0.001, scale=0.01, size=1500, random_state=2)
    degrees, location, scale = stats.t.fit(values)
    found = fit_student_t(values[:, None])
    assert found.degrees == pytest.approx(degrees, rel=1e-3)
    assert found.location[0] == pytest.approx(location, abs=1e-6)
    assert np.sqrt(found.scale[0, 0]) == pytest.approx(scale, rel=1e-3)


def test_student_draws__are_fitted_by_what_they_were_drawn_from() -> None:
    scale = 1e-4 * np.array([[1.0, 0.6], [0.6, 2.0]])
    drawn = StudentT(np.array([0.001, -0.002]), scale, 5.0).draw(20_000, np.random.default_rng(0))
    found = fit_student_t(drawn)
    assert found.degrees == pytest.approx(5.0, rel=0.06)
    assert found.scale == pytest.approx(scale, rel=0.04)
    assert np.cov(drawn.T) == pytest.approx(5 / 3 * scale, rel=0.06)


def test_factor_model__keeps_what_is_common_and_parts_what_is_not() -> None:
    rng = np.random.default_rng(0)
    factor = rng.normal(0, 0.02, (800, 1))
    twin = rng.normal(0, 0.01, 800)  # asset 0 and 1 share a residual, which the model takes apart
    returns = factor @ np.array([[1.0, 0.5, 2.0]]) + np.c_[twin, twin, rng.normal(0, 0.01, 800)]
    found = make_scenarios("factor_model", returns, factors=factor, window=800, n_scenarios=40_000).returns
    covariance = np.cov(found.T)
    common = 4e-4 * np.outer([1.0, 0.5, 2.0], [1.0, 0.5, 2.0])
    assert covariance == pytest.approx(common + 1e-4 * np.eye(3), rel=0.1)
    assert np.cov(returns.T)[0, 1] > 1.3 * covariance[0, 1]


def test_principal_factors__are_uncorrelated_and_move_most() -> None:
    returns = history(300, 5)
    found = principal_factors(returns, 3)
    covariance = np.cov(found.T)
    assert covariance - np.diag(np.diag(covariance)) == pytest.approx(np.zeros((3, 3)), abs=1e-16)
    assert np.diag(covariance) == pytest.approx(np.linalg.eigvalsh(np.cov(returns.T))[::-1][:3], rel=1e-10)
    with pytest.raises(InputError, match="n_factors must be at most 1"):
        principal_factors(np.outer(np.arange(10.0), [1.0, 2.0]), 2)


def test_seeds__come_from_words_in_their_order() -> None:
    seeds = {seed_of(*words) for words in ((1, 2), (2, 1), ("1", 2), ((1, 2),), (12,), ({"a": 1},))}
    assert len(seeds) == 6
    assert seed_of({"a": 1, "b": 2}) == seed_of({"b": 2, "a": 1})
    assert 0 <= min(seeds) < max(seeds) < 2**128


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("historic", {}, "did you mean 'historical'"),
        ("historical", {"windw": 5}, "windw is no parameter of scenarios; did you mean 'window'"),
        ("historical", {"window": 0}, "window must be a whole number"),
        ("student_t", {"window": 100, "degrees": 1.5}, "degrees must be 0"),
        ("student_t", {"window": 4}, "needs more than 4 periods, found 4"),
        ("filtered_historical", {"window": 20}, "at least 50 periods, found 20"),
        ("historical", {"seed": -1, "window": 5}, "seed must be from 0"),
        ("factor_model", {"window": 100, "factors": np.zeros((3, 1))}, "factors must be finite, of shape"),
    ],
)
def test_what_cannot_be__is_refused_by_name(name: str, settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_scenarios(name, history(), **settings)  # type: ignore[arg-type]


def test_what_is_missing_or_still__is_refused_by_name() -> None:
    returns = history()
    returns[70, 1] = np.nan
    with pytest.raises(InputError, match="found nan in scenario 20, asset 1"):
        make_scenarios("historical", returns, window=70)
    still = np.c_[history(), np.zeros(120)]
    for name in ("filtered_historical", "student_t"):
        with pytest.raises(InputError, match="do not"):
            make_scenarios(name, still, window=120)
    double = np.c_[history(), history()[:, :1]]
    with pytest.raises(InputError, match="combination of the others"):
        make_scenarios("student_t", double, window=120)
