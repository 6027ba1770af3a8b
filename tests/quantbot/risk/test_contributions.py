"""Contributions to risk: by hand, by finite differences, and summing to the whole whatever the weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quantbot.errors import InputError
from quantbot.portfolio import Scenarios, cvar_of
from quantbot.risk import (
    contribution_intervals,
    diversification_ratio,
    incremental_risk,
    risk_contributions,
)
from quantbot.risk.contributions import METHODS, Method


def market(n_assets: int = 6, n_scenarios: int = 400, seed: int = 0) -> Scenarios:
    rng = np.random.default_rng(seed)
    common = rng.standard_t(4, (n_scenarios, 1)) * 0.01
    returns = common + rng.standard_t(4, (n_scenarios, n_assets)) * 0.01
    return Scenarios.of(returns, probabilities=rng.dirichlet(np.full(n_scenarios, 5.0)))


def risk(weights: np.ndarray, scenarios: Scenarios, method: str, beta: float) -> float:
    """The risk as the field defines it, the slow way."""
    losses = -scenarios.returns @ weights
    if method == "volatility":
        mean = scenarios.probabilities @ losses
        return float(np.sqrt(scenarios.probabilities @ (losses - mean) ** 2))
    cvar, var = cvar_of(losses, beta, scenarios.probabilities)
    return cvar if method == "cvar" else var


@given(
    seed=st.integers(0, 10_000),
    method=st.sampled_from(METHODS),
    beta=st.sampled_from([0.01, 0.5, 0.8, 0.95, 0.99, 0.999]),
    rounded=st.booleans(),
)
@example(seed=2634, method="volatility", beta=0.5, rounded=False)  # one scenario, which rounding alone moves
@settings(max_examples=60)
def test_components__sum_to_the_risk_with_ties_and_shorts(
    seed: int, method: Method, beta: float, rounded: bool
) -> None:
    rng = np.random.default_rng(seed)
    n_scenarios, n_assets = int(rng.integers(1, 40)), int(rng.integers(1, 6))
    returns = rng.normal(0, 0.02, (n_scenarios, n_assets))
    returns = returns.round(2) if rounded else returns
    scenarios = Scenarios.of(returns, probabilities=rng.dirichlet(np.full(n_scenarios, 0.7)))
    weights = rng.normal(0, 1, n_assets).round(1)
    found = risk_contributions(weights, scenarios, method=method, beta=beta)
    assert found.component.sum() == pytest.approx(found.total, abs=1e-12)
    assert found.total == pytest.approx(risk(weights, scenarios, method, beta), abs=1e-12)
    assert found.component == pytest.approx(weights * found.marginal, abs=1e-15)


@pytest.mark.parametrize("method", METHODS)
def test_marginals__are_finite_differences(method: Method) -> None:
    scenarios, step = market(), 1e-7
    weights = np.array([0.3, 0.2, 0.4, -0.1, 0.1, 0.1])
    found = risk_contributions(weights, scenarios, method=method, beta=0.9)
    differences = [
        (risk(weights + step * one, scenarios, method, 0.9) - risk(weights - step * one, scenarios, method, 0.9))
        / (2 * step)
        for one in np.eye(6)
    ]
    assert found.marginal == pytest.approx(differences, abs=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_components__scale_with_the_weights_and_move_with_the_assets(method: Method) -> None:
    scenarios = market()
    weights = np.array([0.3, 0.2, 0.4, -0.1, 0.1, 0.1])
    found = risk_contributions(weights, scenarios, method=method)
    double = risk_contributions(2 * weights, scenarios, method=method)
    assert double.component == pytest.approx(2 * found.component, rel=1e-12)
    assert double.share == pytest.approx(found.share, rel=1e-12)
    order = np.random.default_rng(1).permutation(6)
    other = Scenarios.of(scenarios.returns[:, order], probabilities=scenarios.probabilities)
    moved = risk_contributions(weights[order], other, method=method)
    assert moved.component == pytest.approx(found.component[order], rel=1e-12)


def test_ties_at_the_boundary__share_its_fraction() -> None:
    # Losses 4, 2, 2, 0 %; a tail of half: the first whole, and a quarter of the four from both of the second together.
    scenarios = Scenarios.of([[-0.04, -0.04], [-0.04, 0.0], [0.0, -0.04], [0.0, 0.0]])
    cvar = risk_contributions([0.5, 0.5], scenarios, beta=0.5)
    assert cvar.total == pytest.approx(0.03, abs=1e-16)
    assert cvar.component == pytest.approx([0.015, 0.015], abs=1e-16)
    var = risk_contributions([0.5, 0.5], scenarios, beta=0.5, method="var")
    assert var.total == pytest.approx(0.02, abs=1e-16)
    assert var.component == pytest.approx([0.01, 0.01], abs=1e-16)


def test_groups_and_strategies__are_sums_of_their_assets() -> None:
    scenarios = market()
    weights = np.array([0.3, 0.2, 0.4, -0.1, 0.1, 0.1])
    whole = risk_contributions(weights, scenarios)
    groups = risk_contributions(weights, scenarios, groups=["b", "a", "b", "c", "a", "b"])
    assert groups.names == ("b", "a", "c")
    assert groups.component == pytest.approx(
        [whole.component[[0, 2, 5]].sum(), whole.component[[1, 4]].sum(), whole.component[3]], abs=1e-15
    )
    parts = np.array([weights - 0.05, np.full(6, 0.05)])
    found = risk_contributions(parts, scenarios, names=("trend", "carry"))
    assert found.names == ("trend", "carry")
    assert found.total == pytest.approx(whole.total, abs=1e-15)
    assert found.component == pytest.approx(parts @ whole.marginal, abs=1e-15)


@pytest.mark.parametrize("method", METHODS)
def test_incremental_risk__is_the_risk_less_that_without(method: Method) -> None:
    scenarios = market()
    weights = np.array([0.3, 0.2, 0.4, -0.1, 0.1, 0.1])
    found = incremental_risk(weights, scenarios, method=method)
    for j in range(6):
        without = np.where(np.arange(6) == j, 0.0, weights)
        expected = risk(weights, scenarios, method, 0.95) - risk(without, scenarios, method, 0.95)
        assert found[j] == pytest.approx(expected, abs=1e-15)


def test_diversification__is_1_where_all_move_together_and_more_where_not() -> None:
    together = Scenarios.of(np.outer([0.01, -0.02, 0.03], [1.0, 2.0]))
    for method in METHODS:
        assert diversification_ratio([0.4, 0.6], together, method=method, beta=0.8) == pytest.approx(1.0, rel=1e-12)
        assert diversification_ratio(np.full(6, 1 / 6), market(), method=method) > 1.05


def test_intervals__cover_the_truth_as_often_as_they_say() -> None:
    truth = risk_contributions([0.5, 0.5], normal(200_000, 99), method="volatility").component
    hits = np.array([
        [found.low[0] <= truth[0] <= found.high[0], found.total_low <= truth.sum() <= found.total_high]
        for found in (
            contribution_intervals([0.5, 0.5], normal(250, seed), method="volatility", confidence=0.9, n_draws=100,
                                   block_length=1.0, seed=seed)
            for seed in range(60)
        )
    ])  # fmt: skip
    assert (hits.mean(axis=0) > 0.75).all()
    assert (hits.mean(axis=0) < 0.99).all()


def normal(n: int, seed: int) -> Scenarios:
    covariance = 1e-4 * np.array([[1.0, 0.3], [0.3, 2.0]])
    return Scenarios.of(np.random.default_rng(seed).multivariate_normal([0, 0], covariance, n))


def test_intervals__are_the_same_for_the_same_seed_and_hold_the_value() -> None:
    scenarios = market()
    weights = np.full(6, 1 / 6)
    one, again, other = (contribution_intervals(weights, scenarios, n_draws=100, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.low, again.low)
    assert not np.array_equal(one.low, other.low)
    assert (one.low < one.value.component).all()
    assert (one.value.component < one.high).all()
    assert one.total_low < one.value.total < one.total_high


def test_no_risk__has_no_shares() -> None:
    found = risk_contributions([0.0, 0.0], market(2), method="volatility")
    assert found.total == 0.0
    assert np.isnan(found.share).all()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"weights": [0.5, 0.5]}, r"weights must match the 3 assets"),
        ({"weights": [0.5, np.nan, 0.5]}, "found nan for asset 1"),
        ({"beta": 1.0}, "beta must be in"),
        ({"method": "variance"}, "method must be one of volatility, var, cvar"),
        ({"groups": ["a", "b"]}, "label for each of the 3 assets, found 2"),
        ({"weights": [[0.1, 0.2, 0.3]], "groups": ["a"] * 3}, "by strategy or by group"),
        ({"weights": [[0.1, 0.2, 0.3]], "names": ["a", "b"]}, "names must name 1 strategies"),
    ],
)
def test_what_cannot_be__is_refused_by_name(asked: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        risk_contributions(**{"weights": [0.2, 0.3, 0.5], "scenarios": market(3), **asked})  # type: ignore[arg-type]
