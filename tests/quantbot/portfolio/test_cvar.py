"""Least CVaR: published, against the textbook's linear program, and in every corner."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from quantbot.errors import InputError
from quantbot.portfolio import (
    Constraints,
    Linear,
    Optimum,
    Scenarios,
    cvar_of,
    maximise_return,
    maximise_utility,
    minimise_cvar,
)
from quantbot.portfolio import cvar as module
from quantbot.portfolio.cvar import Problem
from quantbot.portfolio.kernels import STALLED


def market(n_assets: int, n_scenarios: int, seed: int = 0) -> Scenarios:
    rng = np.random.default_rng(seed)
    factors = rng.standard_t(4, (n_scenarios, 3)) * 0.01
    own = rng.standard_t(4, (n_scenarios, n_assets)) * 0.01
    return Scenarios.of(factors @ rng.uniform(0.2, 1, (3, n_assets)) + own + rng.uniform(0, 0.001, n_assets))


def agrees(found: Optimum, oracle: Any, constraints: Constraints) -> None:
    """Hold an answer against the linear program's, and against its own words."""
    if oracle.status == 2:
        assert found.status == "infeasible"
        assert found.conflict
        return
    assert found.status == "optimal"
    assert found.objective == pytest.approx(oracle.fun, abs=1e-9)
    assert -1e-12 <= found.gap <= 1e-9
    assert found.violation <= 1e-10
    assert found.method == "active set"
    if constraints.budget is not None:
        assert found.weights.sum() == pytest.approx(constraints.budget, abs=1e-10)
    if constraints.gross is not None:
        assert np.abs(found.weights).sum() <= constraints.gross + 1e-10
    if constraints.turnover is not None:
        assert np.abs(found.weights - np.asarray(constraints.previous)).sum() <= constraints.turnover + 1e-10


@pytest.mark.parametrize("first", range(0, 500, 100))
def test_minimise__agrees_with_the_linear_program_on_random_and_degenerate_problems(
    oracles: ModuleType, first: int
) -> None:
    for seed in range(first, first + 100):
        scenarios, beta, constraints, benchmark = oracles.random_problem(seed)
        found = minimise_cvar(scenarios, beta=beta, constraints=constraints, benchmark=benchmark)
        agrees(found, oracles.least_cvar(scenarios, beta, constraints, benchmark), constraints)


@pytest.mark.slow
def test_minimise__agrees_with_the_linear_program_on_two_thousand_problems(oracles: ModuleType) -> None:
    for seed in range(1_000, 3_000):
        scenarios, beta, constraints, benchmark = oracles.random_problem(seed)
        found = minimise_cvar(scenarios, beta=beta, constraints=constraints, benchmark=benchmark)
        agrees(found, oracles.least_cvar(scenarios, beta, constraints, benchmark), constraints)


@pytest.mark.parametrize(("many", "first"), [(10, 0), (10_000, 75)])
def test_part_of_the_scenarios__gives_what_all_give(
    oracles: ModuleType, monkeypatch: pytest.MonkeyPatch, many: int, first: int
) -> None:
    monkeypatch.setattr(module, "_SMALL", 10)
    monkeypatch.setattr(module, "_MANY", many)
    monkeypatch.setattr(module, "_SAMPLE", 10)
    monkeypatch.setattr(module, "_KEPT", 1.1)
    for seed in range(first, first + 75):
        scenarios, beta, constraints, benchmark = oracles.random_problem(seed, n_scenarios=(100, 150, 300, 400))
        found = minimise_cvar(scenarios, beta=beta, constraints=constraints, benchmark=benchmark)
        agrees(found, oracles.least_cvar(scenarios, beta, constraints, benchmark), constraints)


@pytest.mark.parametrize("half_life", [3.0, 40.0])
def test_part_of_the_scenarios__holds_a_tail_of_unlikely_ones(half_life: float) -> None:
    returns = market(5, 1_200).returns.copy()
    returns[:800] *= 3.0  # the worst by far, long ago, and together less likely than the tail
    chances = np.exp2(-np.arange(1_200)[::-1] / half_life)
    found = minimise_cvar(Scenarios.of(returns, probabilities=chances / chances.sum()))
    assert (found.status, found.method) == ("optimal", "active set")
    assert abs(found.gap) < 1e-12


@pytest.mark.parametrize(("n_assets", "n_scenarios", "beta"), [(45, 600, 0.9), (25, 200, 0.5), (37, 1_500, 0.9)])
def test_no_position__is_found_to_be_the_best_although_all_scenarios_tie(
    n_assets: int, n_scenarios: int, beta: float
) -> None:
    constraints = Constraints(lower=-0.5, upper=0.5, budget=0.0, gross=1.6)
    for seed in range(4):
        found = minimise_cvar(market(n_assets, n_scenarios, seed), beta=beta, constraints=constraints)
        assert (found.status, found.method) == ("optimal", "active set")
        assert found.weights == pytest.approx(np.zeros(n_assets), abs=1e-9)
        assert abs(found.gap) < 1e-11


def test_minimise__of_many_scenarios_is_what_their_losses_say() -> None:
    scenarios = market(20, 20_000)
    found = minimise_cvar(scenarios, beta=0.99)
    losses = -scenarios.returns @ found.weights
    assert (found.cvar, found.var) == pytest.approx(cvar_of(losses, 0.99), abs=1e-12)
    assert found.gap < 1e-12
    assert found.cvar < cvar_of(-scenarios.returns.mean(1), 0.99)[0]


def test_minimise__does_not_depend_on_how_often_it_is_asked() -> None:
    scenarios = market(30, 400)
    first, second = minimise_cvar(scenarios), minimise_cvar(scenarios)
    assert first.weights.tobytes() == second.weights.tobytes()


def test_highs__comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    scenarios = market(12, 200)
    constraints = Constraints(upper=0.3, linear=(Linear("half", [1.0] * 6 + [0.0] * 6, high=0.4),), cost=0.001)
    own = minimise_cvar(scenarios, constraints=constraints)
    monkeypatch.setattr(module, "settle_among", lambda *_: STALLED)
    monkeypatch.setattr(module, "optimise", lambda *_: STALLED)
    other = minimise_cvar(scenarios, constraints=constraints)
    assert (own.method, other.method) == ("active set", "highs")
    assert other.status == "optimal"
    assert other.objective == pytest.approx(own.objective, abs=1e-9)


@pytest.mark.parametrize("aversion", [0.01, 0.1, 1.0, 100.0])
def test_utility__has_no_better_portfolio_nearby(aversion: float) -> None:
    scenarios, rng = market(6, 300), np.random.default_rng(1)
    found = maximise_utility(scenarios, aversion=aversion)

    def utility(weights: np.ndarray) -> float:
        return float(scenarios.mean @ weights) - aversion * cvar_of(-scenarios.returns @ weights, 0.95)[0]

    best = utility(found.weights)
    assert best == pytest.approx(-aversion * found.objective, abs=1e-10)
    for _ in range(300):
        other = found.weights + rng.uniform(0, 1) * (rng.dirichlet(np.ones(6)) - found.weights)
        assert utility(other) <= best + 1e-10


@pytest.mark.parametrize("cost", [0.0, 0.002])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99, 1.5])
def test_return__under_a_limit_is_the_frontiers(share: float, cost: float) -> None:
    scenarios, constraints = market(8, 250), Constraints(upper=0.5, cost=cost, previous=[0.125] * 8)
    low = minimise_cvar(scenarios, constraints=constraints)
    high, _ = Problem.of(scenarios, 0.95, constraints).solve(np.inf)
    limit = low.cvar + share * (high.cvar - low.cvar)
    found = maximise_return(scenarios, limit=limit, constraints=constraints)
    assert found.status == "optimal"
    assert found.cvar <= limit + 1e-12
    assert 0 <= found.gap + 1e-12 <= 1e-9
    if not cost:  # else the frontier, whose targets are before costs, is another
        target = float(scenarios.mean @ found.weights)
        again = minimise_cvar(scenarios, constraints=replace(constraints, target_return=target))
        assert again.cvar == pytest.approx(found.cvar, abs=1e-9)


def test_return__under_a_limit_that_nothing_keeps_says_so() -> None:
    scenarios = market(4, 100)
    least = minimise_cvar(scenarios)
    found = maximise_return(scenarios, limit=least.cvar / 2)
    assert (found.status, found.conflict) == ("infeasible", ("cvar_limit",))
    assert found.cvar == least.cvar


@pytest.mark.parametrize(
    ("options", "conflict"),
    [
        ({"upper": 0.2}, {"budget"}),
        ({"target_return": 0.5}, {"budget", "target_return"}),
        ({"linear": (Linear("a", [1, 1, 0, 0], high=0.3), Linear("b", [0, 0, 1, 1], high=0.3))},
         {"budget", "a (at most 0.3)", "b (at most 0.3)"}),
        ({"previous": [0.0] * 4, "turnover": 0.5}, {"budget", "turnover"}),
        ({"gross": 0.5}, {"budget", "gross"}),
    ],
)  # fmt: skip
def test_infeasible__names_what_cannot_hold_together(options: dict[str, Any], conflict: set[str]) -> None:
    found = minimise_cvar(market(4, 50), constraints=Constraints(**options))
    assert found.status == "infeasible"
    assert set(found.conflict) == conflict


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 1.0}, r"beta must be in \(0, 1\), was 1.0"),
        ({"beta": 0.0}, r"beta must be in \(0, 1\), was 0.0"),
        ({"constraints": Constraints(lower=[0, 0, 0])}, r"lower must be one number or of shape \(4,\), was of shape"),
        ({"constraints": Constraints(upper=np.inf)}, r"upper must be finite, found inf for asset 0"),
        ({"constraints": Constraints(lower=1, upper=[1, 0, 1, 1])}, r"lower must not be above upper.* for asset 1"),
        ({"constraints": Constraints(cost=-1)}, r"cost must be 0 or more, found -1"),
        ({"constraints": Constraints(gross=-1.0)}, r"gross must be a number of 0 or more, found -1.0"),
        ({"constraints": Constraints(target_return=np.nan)}, r"target_return must be a finite number"),
        ({"constraints": Constraints(linear=(Linear("tech", [1, 0, 0, 0], 2, 1),))}, r"tech must have low <= high"),
        ({"constraints": Constraints(linear=(Linear("tech", [0, 0, 0, 0]),))}, r"tech must not all be 0"),
        ({"benchmark": [0.0]}, r"benchmark must be 50 finite numbers"),
    ],
)
def test_impossible_input__is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        minimise_cvar(market(4, 50), **change)


@pytest.mark.parametrize(
    ("returns", "options", "message"),
    [
        ([1.0, 2.0], {}, r"shape \(n_scenarios, n_assets\), was of shape \(2,\)"),
        (np.empty((0, 3)), {}, r"was of shape \(0, 3\)"),
        ([[0.1, np.nan]], {}, r"returns must be finite, found nan in scenario 0, asset 1"),
        ([[0.1], [0.2]], {"probabilities": [0.5, 0.6]}, r"sum 1.1"),
        ([[0.1], [0.2]], {"probabilities": [1.5, -0.5]}, r"least -0.5"),
        ([[0.1], [0.2]], {"assets": ("a", "b")}, r"must name 1 columns, found 2"),
    ],
)
def test_scenarios__are_refused_by_place(returns: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scenarios.of(returns, **options)


def test_cvar__splits_the_scenario_at_the_boundary() -> None:
    losses = np.array([3.0, 1.0, 2.0, 0.0])
    assert cvar_of(losses, 0.5) == (2.5, 2.0)
    assert cvar_of(losses, 0.625) == pytest.approx(((3 * 0.25 + 2 * 0.125) / 0.375, 2.0))
    assert cvar_of(losses, 0.9) == (3.0, 3.0)


def test_minimise__comes_to_what_rockafellar_and_uryasev_published() -> None:
    """Their (2000) example: S&P 500, long US bonds and small caps, jointly normal, monthly return of 0.011 or more.

    Of a normal loss the portfolio of least CVaR is that of least variance, whose weights, VaR and CVaR they print;
    theirs and ours come from samples, of which a low-discrepancy one comes nearer.
    """
    from scipy.stats import norm, qmc

    mean = np.array([0.0101110, 0.0043532, 0.0137058])
    covariance = np.array(
        [[0.00324625, 0.00022983, 0.00420395],
         [0.00022983, 0.00049937, 0.00019247],
         [0.00420395, 0.00019247, 0.00764097]]
    )  # fmt: skip
    published = {0.90: (0.067847, 0.096975), 0.95: (0.090200, 0.115908), 0.99: (0.132128, 0.152977)}
    draws = norm.ppf(qmc.Sobol(3, seed=1).random(2**15))
    scenarios = Scenarios.of(mean + draws @ np.linalg.cholesky(covariance).T)
    for beta, (var, cvar) in published.items():
        found = minimise_cvar(scenarios, beta=beta, constraints=Constraints(target_return=0.011))
        assert found.weights == pytest.approx([0.452013, 0.115573, 0.432414], abs=0.02)
        assert found.cvar == pytest.approx(cvar, rel=5e-4)
        assert found.var == pytest.approx(var, rel=5e-3)
        assert found.gap < 1e-12
