"""Frontiers and rolling windows: each point is what it would be alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantbot.errors import InputError
from quantbot.portfolio import Constraints, Linear, Scenarios, efficient_frontier, minimise_cvar, rolling_cvar
from quantbot.portfolio import cvar as module
from quantbot.portfolio.rolling import windows_cvar

RNG = np.random.default_rng(3)
RETURNS = RNG.standard_t(4, (400, 12)) * 0.01 + RNG.uniform(-0.0005, 0.001, 12)
HALF = Linear("half", [1.0] * 6 + [0.0] * 6, high=0.4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"upper": 0.3, "linear": (HALF,)},
        {"lower": -0.3, "gross": 1.6},
        {"previous": [1 / 12] * 12, "cost": 0.001, "turnover": 1.0},
    ],
)
def test_frontier__is_what_each_target_gives_alone(options: dict[str, Any]) -> None:
    scenarios, constraints = Scenarios.of(RETURNS), Constraints(**options)
    found = efficient_frontier(scenarios, n_points=15, constraints=constraints)
    assert [point.status for point in found.points] == ["optimal"] * 15
    assert np.all(np.diff(found.cvar) >= -1e-12)
    for target, point in zip(found.targets, found.points, strict=True):
        alone = minimise_cvar(scenarios, constraints=Constraints(**options, target_return=float(target)))
        assert point.objective == pytest.approx(alone.objective, abs=1e-11)
        assert point.gap < 1e-11
        assert scenarios.mean @ point.weights >= target - 1e-10


def test_frontier__of_many_scenarios_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    scenarios = Scenarios.of(RETURNS)
    whole = efficient_frontier(scenarios, n_points=6)
    monkeypatch.setattr(module, "_SMALL", 10)
    monkeypatch.setattr("quantbot.portfolio.frontier._MOST_ROWS", 10)
    part = efficient_frontier(scenarios, n_points=6)
    assert part.cvar == pytest.approx(whole.cvar, abs=1e-12)


def test_frontier__says_which_targets_cannot_be_met() -> None:
    found = efficient_frontier(Scenarios.of(RETURNS), targets=[0.0, 1.0, 0.0002])
    assert [point.status for point in found.points] == ["optimal", "infeasible", "optimal"]
    with pytest.raises(InputError, match="can't hold together: budget"):
        efficient_frontier(Scenarios.of(RETURNS), constraints=Constraints(upper=0.01))


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 7, 120])
@pytest.mark.parametrize(
    "options", [{}, {"upper": 0.2, "linear": (HALF,), "target_return": 0.0}, {"lower": -0.5, "gross": 1.5}]
)
def test_rolling__is_what_each_window_gives_alone(options: dict[str, Any], step: int) -> None:
    constraints = Constraints(**options)
    found = rolling_cvar(RETURNS[:260], window=120, step=step, beta=0.9, constraints=constraints)
    assert found.ends.tolist() == list(range(120, 261, step))
    for end, point in zip(found.ends.tolist()[::5], found.points[::5], strict=True):
        scenarios = Scenarios.of(RETURNS[end - 120 : end])
        alone = minimise_cvar(scenarios, beta=0.9, constraints=constraints)
        assert point.status == alone.status
        if alone.status == "optimal":
            assert point.objective == pytest.approx(alone.objective, abs=1e-11)
            assert point.mean == pytest.approx(float(scenarios.mean @ point.weights), abs=1e-15)


def test_rolling__goes_on_after_a_window_that_cannot_be_solved() -> None:
    returns = RETURNS[:100].copy()
    returns[45:55] = -0.05  # in windows with many of these no portfolio has this mean
    found = rolling_cvar(returns, window=30, step=5, constraints=Constraints(target_return=0.0))
    states = [point.status for point in found.points]
    assert {"optimal", "infeasible"} == set(states)
    assert states[-1] == "optimal"
    for end, point in zip(found.ends.tolist(), found.points, strict=True):
        scenarios = Scenarios.of(returns[end - 30 : end])
        alone = minimise_cvar(scenarios, constraints=Constraints(target_return=0.0))
        assert point.status == alone.status


@pytest.mark.parametrize("change", [{"window": 0}, {"window": 500}, {"window": 10, "step": 0}])
def test_rolling__refuses_what_is_no_window(change: dict[str, int]) -> None:
    with pytest.raises(InputError, match="window must be from 1 to 400"):
        rolling_cvar(RETURNS, **change)


def test_rolling__says_where_a_return_is_missing_and_passes_by_gaps_between_windows() -> None:
    returns = RETURNS.copy()
    returns[110, 3] = np.nan
    begins = np.array([0, 111], dtype=np.int64)
    assert [point.status for point in windows_cvar(returns, 100, begins, 0.95, None)] == ["optimal", "optimal"]
    with pytest.raises(InputError, match="found nan in scenario 60, asset 3"):
        windows_cvar(returns, 100, np.array([0, 50], dtype=np.int64), 0.95, None)
