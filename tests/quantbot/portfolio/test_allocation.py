"""Allocators: by hand, against slow oracles, with every constraint, and refused by name."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from scipy.optimize import minimize

from quantbot.errors import InputError
from quantbot.portfolio import ALLOCATORS, Constraints, Linear, Optimum, Scenarios, allocate, minimise_cvar
from quantbot.portfolio.constraints import limits

ASKED = {
    "max_return": {"limit": 0.05},
    "max_utility": {"aversion": 2.0},
    "mean_variance": {"aversion": 2.0},
}


def market(n_assets: int, n_scenarios: int, seed: int = 0) -> Scenarios:
    rng = np.random.default_rng(seed)
    factors = rng.standard_t(4, (n_scenarios, 3)) * 0.01
    own = rng.standard_t(4, (n_scenarios, n_assets)) * 0.01 * rng.uniform(0.5, 2.0, n_assets)
    return Scenarios.of(factors @ rng.uniform(0.2, 1, (3, n_assets)) + own + rng.uniform(0, 0.001, n_assets))


def kept(weights: np.ndarray, scenarios: Scenarios, constraints: Constraints) -> bool:
    """Whether weights keep all constraints, said the slow way."""
    checked = limits(constraints, len(weights))
    rules = [bool((weights >= checked.lower - 1e-10).all()), bool((weights <= checked.upper + 1e-10).all())]
    if checked.budget is not None:
        rules.append(abs(weights.sum() - checked.budget) <= 1e-10)
    rules += [low - 1e-9 <= coefficients @ weights <= high + 1e-9 for _, coefficients, low, high in checked.linear]
    if checked.target_return is not None:
        rules.append(scenarios.mean @ weights >= checked.target_return - 1e-10)
    if checked.gross is not None:
        rules.append(np.abs(weights).sum() <= checked.gross + 1e-10)
    if checked.turnover is not None:
        rules.append(np.abs(weights - checked.previous).sum() <= checked.turnover + 1e-10)
    return all(rules)


def variance(weights: np.ndarray, scenarios: Scenarios) -> float:
    """Variance of the portfolio's returns, from the returns themselves."""
    path = scenarios.returns @ weights
    return float(scenarios.probabilities @ (path - scenarios.probabilities @ path) ** 2)


def test_two_assets__have_the_minimum_variance_of_the_textbook() -> None:
    scenarios = Scenarios.of([[0.02, 0.01], [-0.02, 0.01], [0.02, -0.01], [-0.02, -0.01]])  # uncorrelated, 2 % and 1 %
    found = allocate("min_variance", scenarios)
    assert found.weights == pytest.approx([0.2, 0.8], abs=1e-15)
    assert found.objective == pytest.approx(0.2**2 * 4e-4 + 0.8**2 * 1e-4, rel=1e-14)
    for name in ("risk_parity", "inverse_volatility"):
        assert allocate(name, scenarios).weights == pytest.approx([1 / 3, 2 / 3], abs=1e-15)
    assert allocate("equal_weight", scenarios).weights.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_least_variance__is_certified_where_the_linear_program_is_feasible(oracles: ModuleType, first: int) -> None:
    statuses = set()
    for seed in range(first, first + 50):
        scenarios, beta, constraints, benchmark = oracles.random_problem(seed)
        oracle = oracles.least_cvar(scenarios, beta, constraints, benchmark)
        found = allocate("min_variance", scenarios, beta=beta, constraints=constraints, benchmark=benchmark)
        statuses.add(found.status)
        if oracle.status == 2:
            assert found.status == "infeasible", seed
            assert found.conflict
            assert np.isnan(found.weights).all()
            continue
        assert found.status == "optimal", seed
        assert -1e-15 <= found.gap <= 1e-11
        assert kept(found.weights, scenarios, constraints)
        own = scenarios if benchmark is None else replace(scenarios, returns=np.c_[scenarios.returns, -benchmark])
        weights = found.weights if benchmark is None else np.append(found.weights, 1.0)
        assert found.objective == pytest.approx(variance(weights, own), abs=1e-15)
        # A vertex of the same constraints can't be below what is said to be the least.
        other = np.asarray(oracle.x[: len(found.weights)])
        assert variance(other if benchmark is None else np.append(other, 1.0), own) >= found.bound - 1e-11
    assert statuses == {"optimal", "infeasible"}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", ["min_variance", "mean_variance"])
def test_quadratic_ones__agree_with_sequential_programming(name: str, seed: int) -> None:
    scenarios = market(6, 80, seed)
    n, cost = 6, 0.001 * (seed % 2)
    previous = np.random.default_rng(seed).dirichlet(np.ones(n))
    group = np.repeat([1.0, 0.0], 3)
    constraints = Constraints(lower=-0.3, upper=0.6, linear=(Linear("first", group, low=0.2, high=0.5),), gross=1.4,
                              previous=previous, turnover=0.9, cost=cost,
                              target_return=float(np.median(scenarios.mean)))  # fmt: skip
    found = allocate(name, scenarios, aversion=5.0, constraints=constraints)
    price = 0.2 if name == "mean_variance" else 0.0
    covariance, mean = 1e4 * scenarios.covariance, 1e4 * scenarios.mean

    def objective(z: np.ndarray) -> float:  # z: long, short, bought, sold
        w = z[:n] - z[n : 2 * n]
        return float(w @ covariance @ w - price * mean @ w + 1e4 * price * cost * z[2 * n :].sum())

    def slope(z: np.ndarray) -> np.ndarray:
        w = z[:n] - z[n : 2 * n]
        own = 2 * covariance @ w - price * mean
        return np.concatenate([own, -own, np.full(2 * n, 1e4 * price * cost)])

    one = np.eye(n)
    net = np.hstack([one, -one, np.zeros((n, 2 * n))])
    equal = np.vstack([net.sum(axis=0), np.hstack([one, -one, -one, one])])
    sides = np.concatenate([[1.0], previous])
    above = np.vstack([group @ net, -group @ net, net, -net, 1e3 * scenarios.mean @ net,
                       -np.repeat([1.0, 1.0, 0.0, 0.0], n), -np.repeat([0.0, 0.0, 1.0, 1.0], n)])  # fmt: skip
    assert constraints.target_return is not None
    least = np.concatenate([[0.2, -0.5], np.full(n, -0.3), np.full(n, -0.6),
                            [1e3 * constraints.target_return, -1.4, -0.9]])  # fmt: skip
    oracle = minimize(
        objective, np.concatenate([previous, np.zeros(3 * n)]), jac=slope, bounds=[(0, None)] * (4 * n), method="SLSQP",
        constraints=[{"type": "eq", "fun": lambda z: equal @ z - sides, "jac": lambda _: equal},
                     {"type": "ineq", "fun": lambda z: above @ z - least, "jac": lambda _: above}],
        options={"ftol": 1e-13, "maxiter": 500},
    )  # fmt: skip
    assert found.status == "optimal"
    assert kept(found.weights, scenarios, constraints)
    assert oracle.status in (0, 8)  # 8: no step is better to the last digit
    assert found.objective == pytest.approx(oracle.fun / 1e4, abs=2e-10)
    assert found.weights == pytest.approx(net @ oracle.x, abs=2e-4)


def test_mean_variance__goes_from_the_least_variance_to_the_greatest_return() -> None:
    scenarios = market(8, 300)
    bold, timid = (allocate("mean_variance", scenarios, aversion=aversion) for aversion in (1e-4, 1e9))
    assert bold.weights.argmax() == scenarios.mean.argmax()
    assert bold.weights.max() == 1.0
    assert timid.weights == pytest.approx(allocate("min_variance", scenarios).weights, abs=1e-7)


def test_risk_parity__gives_every_asset_the_same_contribution() -> None:
    scenarios = market(12, 400)
    found = allocate("risk_parity", scenarios, constraints=Constraints(budget=0.8))
    contributions = found.weights * (scenarios.covariance @ found.weights)
    assert contributions == pytest.approx(contributions.mean(), rel=1e-12)
    assert found.weights.sum() == pytest.approx(0.8, abs=1e-15)
    assert found.gap <= 1e-15

    def barrier(weights: np.ndarray) -> float:
        return float(np.log(variance(weights, scenarios)) / 2 - np.log(weights).mean())

    assert found.objective == pytest.approx(barrier(found.weights / 0.8), abs=1e-14)
    rng = np.random.default_rng(0)
    assert all(barrier(found.weights * rng.uniform(0.9, 1.1, 12)) > found.objective for _ in range(20))


def test_risk_parity__agrees_with_coordinate_descent() -> None:
    """Griveau-Billion, Richard & Roncalli (2013), "A fast algorithm for computing high-dimensional risk parity"."""
    scenarios = market(9, 12, seed=3)  # barely more scenarios than assets
    covariance = scenarios.covariance
    x = np.ones(9)
    for _ in range(3000):
        for j in range(9):
            rest = covariance[j] @ x - covariance[j, j] * x[j]
            x[j] = (-rest + np.sqrt(rest * rest + 4 * covariance[j, j] / 9)) / (2 * covariance[j, j])
    assert allocate("risk_parity", scenarios).weights == pytest.approx(x / x.sum(), abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(ALLOCATORS) - {"tracking"}))
def test_every_method__moves_with_its_assets_and_tells_what_it_risks(name: str) -> None:
    scenarios = market(7, 150, seed=5)
    order = np.random.default_rng(1).permutation(7)
    asked = ASKED.get(name, {})
    found = allocate(name, scenarios, **asked)
    moved = allocate(name, Scenarios.of(scenarios.returns[:, order]), **asked)
    assert found.status == "optimal"
    assert moved.weights == pytest.approx(found.weights[order], abs=1e-8)
    assert np.isnan(found.gap) or found.gap <= 1e-12
    assert found.mean == pytest.approx(scenarios.mean @ found.weights, abs=1e-15)
    assert found.cvar >= minimise_cvar(scenarios).cvar - 1e-15
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-14)


def test_cvar_methods__are_those_of_the_solver() -> None:
    scenarios = market(5, 120)
    benchmark = scenarios.returns.mean(axis=1)
    found = allocate("tracking", scenarios, beta=0.9, benchmark=benchmark)
    assert found.weights == pytest.approx(np.full(5, 0.2), abs=1e-9)
    assert allocate("min_cvar", scenarios).weights.tolist() == minimise_cvar(scenarios).weights.tolist()


def test_a_benchmark__is_tracked_with_no_variance_where_it_can_be_held() -> None:
    scenarios = market(5, 120)
    held = np.array([0.3, 0.1, 0.2, 0.4, 0.0])
    found = allocate("min_variance", scenarios, benchmark=scenarios.returns @ held)
    assert found.weights == pytest.approx(held, abs=1e-7)
    assert abs(found.objective) < 1e-15


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("min_varience", {}, "did you mean 'min_variance'"),
        ("max_return", {}, "max_return needs limit"),
        ("mean_variance", {}, "mean_variance needs aversion"),
        ("mean_variance", {"aversion": -1.0}, "aversion must be a number above 0"),
        ("tracking", {}, "tracking needs benchmark"),
        ("equal_weight", {"benchmark": np.zeros(20)}, "equal_weight can't be measured against a benchmark"),
        ("risk_parity", {"constraints": Constraints(turnover=0.1)}, "risk_parity can't honour turnover; min_cvar"),
        ("inverse_volatility", {"constraints": Constraints(linear=[Linear("x", [1, 1, 0])])}, "can't honour linear"),
        ("equal_weight", {"constraints": Constraints(target_return=0.0)}, "can't honour target_return"),
        ("min_variance", {"beta": 1.0}, "beta must be in"),
    ],
)
def test_what_a_method_cannot_honour__is_refused_by_name(name: str, asked: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        allocate(name, market(3, 20), **asked)  # type: ignore[arg-type]


def test_bounds_that_shares_break__are_named() -> None:
    found = allocate("equal_weight", market(4, 20), constraints=Constraints(upper=0.2))
    assert (found.status, found.conflict) == ("infeasible", ("upper",))
    assert allocate("min_variance", market(4, 20), constraints=Constraints(upper=0.2)).status == "infeasible"


@pytest.mark.parametrize("name", ["inverse_volatility", "risk_parity"])
def test_an_asset_that_never_moves__is_named(name: str) -> None:
    scenarios = Scenarios.of(np.c_[market(2, 20).returns, np.full(20, 0.0001)], assets=("a", "b", "cash"))
    found = allocate(name, scenarios)
    assert (found.status, found.conflict) == ("infeasible", ("no variance: cash",))


@pytest.mark.parametrize("n_scenarios", [1, 2])
def test_too_few_scenarios__still_have_a_certified_answer_or_a_reason(n_scenarios: int) -> None:
    scenarios = market(6, n_scenarios)
    for name in sorted(set(ALLOCATORS) - {"tracking"}):
        found: Optimum = allocate(name, scenarios, **ASKED.get(name, {}))
        assert found.status == "optimal" or found.conflict, name


def test_fixed_weights__need_no_search() -> None:
    held = np.array([0.5, 0.3, 0.2])
    found = allocate("min_variance", market(3, 20), constraints=Constraints(lower=held, upper=held))
    assert found.weights.tolist() == held.tolist()
    assert found.status == "optimal"
    wrong = allocate("min_variance", market(3, 20), constraints=Constraints(lower=held, upper=held, budget=0.9))
    assert (wrong.status, wrong.conflict) == ("infeasible", ("budget",))


def test_covariance__is_that_of_numpy() -> None:
    for n_scenarios in (1, 2, 31):
        chances = np.random.default_rng(0).dirichlet(np.ones(n_scenarios))
        returns = market(5, n_scenarios).returns
        expected = np.cov(returns.T, aweights=chances, ddof=0)
        assert Scenarios.of(returns, probabilities=chances).covariance == pytest.approx(expected, abs=1e-17)
