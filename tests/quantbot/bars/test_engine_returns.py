"""The returns of a trial are the numbers behind its row and its replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quantbot.bars import ENGINE
from quantbot.bars.rows import sharpe_ratio, tail
from quantbot.engine import Job, Points
from quantbot.market import Bars
from quantbot.parameters import number
from quantbot.strategies.contract import Strategy, strategy

EXECUTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "shared": ("cross", {"fee_bps": 3.0}),
    "unfit for shared": ("tilt", {"fee_bps": 3.0, "slippage_bps": 1.0}),
    "stops": ("tilt", {"stop_loss": 0.02, "trailing_stop": 0.025, "fee_fixed": 5.0, "lot_size": 1.0}),
    "volatility": ("tilt", {"size": "volatility_target", "size_value": 0.2, "volatility_window": 8}),
}
WINDOW = (17, 391)


@strategy(parameters=[number("at", 0.0, 0.0, 1.0, "?")])
def breaks(close: float, at: float) -> float:
    """Raise where `at` is above a half, and be undefined at a half."""
    if at > 0.5:
        raise ValueError("no")
    return 0.0 / 0.0 if at == 0.5 else 1.0


@pytest.fixture(
    params=[pytest.param(name, marks=[] if name in ("shared", "stops") else [pytest.mark.slow]) for name in EXECUTIONS]
)
def case(request: pytest.FixtureRequest, strategies: dict[str, Strategy], market: Callable[..., Bars]) -> Any:
    name, execution = EXECUTIONS[request.param]
    job = Job(strategies[name], {f"execution.{k}": v for k, v in execution.items()}, ("core", "path", "trades", "tail"))
    rng = np.random.default_rng(3)
    columns: dict[str, Any] = {"fast": rng.integers(1, 9, 150), "slow": rng.integers(2, 40, 150)}
    if name == "tilt":
        columns["lean"] = rng.choice([-1.0, 0.0, 0.4, 1.0], 150)
    return job, market(400, 5), Points(150, columns)


def test_returns__have_the_bits_of_the_row(case: Any) -> None:
    job, bars, points = case
    rows, returns = ENGINE.run(job, bars, WINDOW, points), ENGINE.returns(job, bars, WINDOW, points)
    assert returns.shape == (150, 374)
    total, squares = np.zeros(150), np.zeros(150)
    for column in returns.T:  # in the kernel's order
        total, squares = total + column, squares + column * column
    sharpe, volatility = sharpe_ratio(total, squares, 374, bars.periods_per_year)
    np.testing.assert_array_equal(sharpe, rows.measures["sharpe"])
    np.testing.assert_array_equal(volatility, rows.measures["volatility"])
    tails = np.array([tail(own) for own in returns])
    np.testing.assert_array_equal(tails[:, 0], rows.measures["var_95"])
    np.testing.assert_array_equal(tails[:, 1], rows.measures["cvar_95"])


def test_returns__compound_to_the_replayed_equity(case: Any) -> None:
    job, bars, points = case
    returns = ENGINE.returns(job, bars, WINDOW, points)
    for row in (0, 77, 149):
        replayed = ENGINE.replay(job, bars, WINDOW, points.point(row))
        equity = 100_000.0 * np.cumprod(1.0 + returns[row])
        np.testing.assert_allclose(replayed.curves["equity"], equity, rtol=1e-11)


def test_returns__do_not_depend_on_the_crowd_the_groups_or_the_way_they_are_run(
    case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, bars, points = case
    crowd = ENGINE.returns(job, bars, WINDOW, points)
    for row in (0, 63, 64, 149):
        np.testing.assert_array_equal(ENGINE.returns(job, bars, WINDOW, points[row : row + 1])[0], crowd[row])
    bare = Job(job.strategy, job.settings, ("core",))
    np.testing.assert_array_equal(ENGINE.returns(bare, bars, WINDOW, points), crowd)
    plain = Job(job.strategy, job.settings, plain_python=True)
    np.testing.assert_array_equal(ENGINE.returns(plain, bars, WINDOW, points[:12]), crowd[:12])
    monkeypatch.setattr("quantbot.bars.engine.RETURNS_BYTES", 40 * 400 * 8)
    np.testing.assert_array_equal(ENGINE.returns(job, bars, WINDOW, points), crowd)


@pytest.mark.parametrize("n", [5, 40])
def test_returns__of_failed_trials_are_not_numbers(n: int, market: Callable[..., Bars]) -> None:
    at = np.resize([0.0, 1.0, 0.5], n)
    job, points = Job(breaks, {}, plain_python=True), Points(n, {"at": at})
    rows, returns = ENGINE.run(job, market(50, 1), (0, 50), points), ENGINE.returns(job, market(50, 1), (0, 50), points)
    np.testing.assert_array_equal(np.isnan(returns).all(axis=1), rows.status != 0)
    np.testing.assert_array_equal(np.isfinite(returns).all(axis=1), at == 0.0)


def test_returns__of_no_point_have_a_shape(strategies: dict[str, Strategy], market: Callable[..., Bars]) -> None:
    assert ENGINE.returns(Job(strategies["cross"], {}), market(50, 1), (10, 50), Points(0)).shape == (0, 40)
