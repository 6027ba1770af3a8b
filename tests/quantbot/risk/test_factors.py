"""Factors: least squares by its normal equations, risk by factor that sums, singular factors refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from quantbot.errors import InputError
from quantbot.portfolio import Scenarios
from quantbot.risk import factor_risk, regress, risk_contributions
from quantbot.risk.contributions import METHODS, Method


def market(n_scenarios: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    factors = rng.standard_t(5, (n_scenarios, 2)) * 0.01
    own = rng.standard_t(5, (n_scenarios, 4)) * [0.004, 0.008, 0.01, 0.0]
    return factors @ np.array([[1.0, 0.5, 1.5, 0.8], [0.0, 0.3, -0.4, 0.2]]) + own + 0.0002, factors


def test_regression__solves_the_normal_equations() -> None:
    returns, factors = market()
    found = regress(returns, factors)
    design = np.column_stack([np.ones(300), factors])
    solved = np.linalg.solve(design.T @ design, design.T @ returns)
    assert found.alpha == pytest.approx(solved[0], abs=1e-15)
    assert found.exposures == pytest.approx(solved[1:].T, abs=1e-12)
    residuals = returns - design @ solved
    assert found.residuals == pytest.approx(residuals, abs=1e-15)
    variance = (residuals**2).sum(axis=0) / (300 - 3)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design))[1:, None] * variance).T
    assert found.standard_errors == pytest.approx(errors, rel=1e-9, abs=1e-15)
    assert found.r_squared == pytest.approx(1 - residuals.var(axis=0) / returns.var(axis=0), abs=1e-12)
    assert found.r_squared[3] == pytest.approx(1.0, abs=1e-12)


def test_probabilities__count_as_repeated_periods_do() -> None:
    returns, factors = market(12)
    repeated = np.repeat(np.arange(12), np.arange(1, 13))
    weighted = regress(returns, factors, probabilities=np.arange(1, 13) / 78)
    assert weighted.exposures == pytest.approx(regress(returns[repeated], factors[repeated]).exposures, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_risk_by_factor__sums_to_the_risk(method: Method) -> None:
    returns, factors = market()
    weights = np.array([0.4, 0.3, -0.2, 0.5])
    scenarios = Scenarios.of(returns, probabilities=np.random.default_rng(1).dirichlet(np.full(300, 3.0)))
    found = factor_risk(weights, scenarios, factors, method=method, names=("market", "size"))
    whole = risk_contributions(weights, scenarios, method=method)
    assert found.total == whole.total
    assert found.component.sum() + found.specific + found.constant == pytest.approx(whole.total, abs=1e-12)
    assert found.specific_by_asset.sum() == pytest.approx(found.specific, abs=1e-15)
    assert found.exposures == pytest.approx(weights @ found.fit.exposures, abs=1e-15)
    if method == "volatility":  # least squares leave no covariance between factors and residuals
        losses = found.fit.residuals @ weights
        assert found.specific * found.total == pytest.approx(scenarios.probabilities @ losses**2, rel=1e-9)
        assert found.constant == pytest.approx(0.0, abs=1e-15)


def test_systematic_share__is_all_of_a_factor_and_none_of_noise() -> None:
    rng = np.random.default_rng(0)
    factor, noise = rng.normal(0, 0.01, (2000, 1)), rng.normal(0, 0.01, (2000, 1))
    scenarios = Scenarios.of(np.hstack([2 * factor, noise]))
    assert factor_risk([1.0, 0.0], scenarios, factor).systematic_share == pytest.approx(1.0, abs=1e-12)
    assert abs(factor_risk([0.0, 1.0], scenarios, factor).systematic_share) < 0.1


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        (lambda f: np.column_stack([f, np.ones(300)]), "singular: c is constant"),
        (lambda f: np.column_stack([f, f[:, 0] - 2 * f[:, 1] + 1]), "singular: c is a combination of the factors"),
        (lambda f: f[:-1], "of the 300 periods of the returns, found 299"),
        (lambda f: np.where(f == f[3, 1], np.nan, f), "found nan in period 3, column 1"),
    ],
)
def test_singular_factors__are_refused_by_name(factors: object, words: str) -> None:
    returns, known = market()
    table = factors(known)  # type: ignore[operator]
    with pytest.raises(InputError, match=words):
        regress(returns, table, names=("a", "b", "c")[: table.shape[1]])


def test_too_few_periods__are_refused() -> None:
    with pytest.raises(InputError, match="2 factors need at least 4 periods, found 3"):
        regress(np.zeros((3, 1)), np.eye(3, 2))
