"""The engine does what the slow, obvious one does, over markets, settings and strategies."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantbot.bars import ENGINE
from quantbot.engine import Job, Points, TrialStatus
from quantbot.market import Bars
from quantbot.strategies.contract import Strategy

GROUPS = ("core", "path", "trades", "tail")
MONEY = {"fee_bps": [0.0, 10.0, 400.0], "half_spread_bps": [0.0, 7.0], "slippage_bps": [0.0, 30.0]}


def sparse(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


execution = st.fixed_dictionaries(
    {},
    optional={
        "fill": sparse(["next_open", "same_close", "next_close"]),
        **{name: sparse(values) for name, values in MONEY.items()},
        "fee_per_unit": sparse([0.01, 2.0]),
        "fee_fixed": sparse([1.0, 500.0]),
        "direction": sparse(["long_only", "short_only"]),
        "max_exposure": sparse([0.4, 1.0, 3.0]),
        "rebalance_band": sparse([0.1, 0.7, 1.5]),
        "lot_size": sparse([0.1, 7.0]),
        "minimum_units": sparse([3.0, 800.0]),
        "stop_loss": sparse([0.005, 0.03]),
        "take_profit": sparse([0.005, 0.03]),
        "trailing_stop": sparse([0.005, 0.03]),
        "stop_rule": sparse(["pessimistic", "optimistic"]),
        "initial_cash": sparse([1.0, 1e6]),
    },
)
sizes = st.sampled_from(
    [
        {},
        {"size": "fixed_cash", "size_value": 40_000.0},
        {"size": "fixed_cash", "size_value": 1e9},
        {"size": "fixed_units", "size_value": 300.0},
        {"size": "volatility_target", "size_value": 0.1, "volatility_window": 3},
    ]
)


def check(
    oracle: ModuleType,
    strategy: Strategy,
    bars: Bars,
    window: tuple[int, int],
    execution: dict[str, Any],
    own: dict[str, Any],
    *,
    plain_python: bool = True,
) -> None:
    """Compare the engine's row, curves and orders with the oracle's."""
    job = Job(strategy, {f"execution.{k}": v for k, v in execution.items()} | own, GROUPS, plain_python)
    rows = ENGINE.run(job, bars, window, Points(1))
    everything = {p.name: p.default for p in ENGINE.sections["execution"]} | execution
    parameters = strategy.defaults() | own
    series = {
        name: indicator.function(bars.close, *(parameters[argument] for argument in indicator.arguments))
        for name, indicator in strategy.indicators.items()
    }
    known_from = max(int(np.argmax(np.isfinite(s))) if np.isfinite(s).any() else len(bars) for s in series.values())

    def decide(t: int, position: float) -> float:
        at_bar = {field: float(getattr(bars, field)[t]) for field in ("open", "high", "low", "close", "volume")}
        known = at_bar | {name: float(values[t]) for name, values in series.items()} | parameters
        known["position"] = position
        return strategy.decide(*(known[name] for name in strategy.arguments))

    expected = oracle.backtest(bars, window, everything, decide, known_from)
    assert bool(rows.status[0] == TrialStatus.FAILED) == expected.failed, rows.reasons
    if expected.failed:
        assert all(np.isnan(values[0]) for values in rows.measures.values())
        return
    for name, values in rows.measures.items():
        # Ratios of rounding errors to rounding errors are not compared: a flat path's deviation is noise over there.
        wanted = expected.measures[name]
        even = any(abs(pnl) < 1e-9 * everything["initial_cash"] for pnl in expected.pnl)
        if even and name in ("hit_rate", "profit_factor"):  # whether a round trip without a profit has one is rounding
            continue
        if name in ("sharpe", "sortino", "calmar", "hold_sharpe", "profit_factor") and not abs(wanted) < 1e6:
            continue
        assert values[0] == pytest.approx(wanted, rel=1e-7, abs=1e-9, nan_ok=True), name
    replayed = ENGINE.replay(job, bars, window, {})
    np.testing.assert_allclose(replayed.curves["equity"], expected.equity, rtol=1e-9)
    orders = replayed.orders
    start = window[0]
    assert [start + bar for bar in orders["bar"].tolist()] == [order[0] for order in expected.orders]
    np.testing.assert_allclose(orders["side"] * orders["units"], [o[1] for o in expected.orders], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(orders["price"], [order[2] for order in expected.orders], rtol=1e-12)
    np.testing.assert_allclose(orders["fee"], [order[3] for order in expected.orders], rtol=1e-7, atol=1e-9)
    assert orders["reason"].tolist() == [order[4] for order in expected.orders]
    np.testing.assert_allclose(replayed.trades["pnl"], expected.pnl, rtol=1e-6, atol=1e-6 * everything["initial_cash"])


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), execution=execution, size=sizes, seed=st.integers(0, 1000), n=st.integers(1, 40))
def test_engine__does_what_the_oracle_does(
    oracle: ModuleType,
    strategies: dict[str, Strategy],
    market: Callable[..., Bars],
    data: st.DataObject,
    execution: dict[str, Any],
    size: dict[str, Any],
    seed: int,
    n: int,
) -> None:
    strategy = strategies[data.draw(st.sampled_from(["cross", "tilt"]))]
    own: dict[str, Any] = {"fast": data.draw(st.integers(1, 3)), "slow": data.draw(st.integers(2, 6))}
    if strategy.name == "tilt":
        own |= {
            "lean": data.draw(st.sampled_from([-1.0, 0.3, 0.9, 2.5])),
            "mode": data.draw(st.sampled_from(["trend", "revert"])),
        }
    bars = market(
        n,
        seed,
        spread=data.draw(st.sampled_from([0.004, 0.02, 0.3])),
        multiplier=data.draw(st.sampled_from([1.0, 50.0])),
    )
    start = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(start + 1, n))
    check(oracle, strategy, bars, (start, stop), execution | size, own)
