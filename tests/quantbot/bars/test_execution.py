"""Worked examples: what a fill, a fee, a size and a stop are, by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quantbot.bars import ENGINE
from quantbot.engine import Job, Points, Replay, TrialStatus
from quantbot.errors import DataError, InputError, ParameterError
from quantbot.market import Bars
from quantbot.parameters import number
from quantbot.strategies.contract import Strategy, strategy
from quantbot.strategies.indicators import indicator

GROUPS = ("core", "path", "trades", "tail")


@strategy()
def follow(volume: float) -> float:
    """Hold what the volume says: the tests write the targets there."""
    return volume


def telling(bars: Bars, targets: list[float]) -> Bars:
    """Return `bars` with the targets as volume."""
    return replace(bars, volume=np.array(targets, dtype=np.float64))


def trial(bars: Bars, targets: list[float], window: tuple[int, int] | None = None, **execution: Any) -> Replay:
    """Replay `follow` through the targets, as plain Python, without costs but those given."""
    settings = {"execution.initial_cash": 1000.0, **{f"execution.{name}": value for name, value in execution.items()}}
    job = Job(follow, settings, GROUPS, plain_python=True)
    return ENGINE.replay(job, telling(bars, targets), window or (0, len(bars)), {})


def orders(replayed: Replay) -> list[tuple[int, float, float]]:
    """Return (bar, signed units, price) of each order."""
    columns = (replayed.orders[name].tolist() for name in ("bar", "side", "units", "price"))
    return [(bar, round(side * units, 9), round(price, 9)) for bar, side, units, price in zip(*columns, strict=True)]


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("next_open", [(1, 1000 / 11, 11.0), (3, -1000 / 11, 15.0)]),
        ("next_close", [(1, 1000 / 12, 12.0), (3, -1000 / 12, 16.0)]),
        ("same_close", [(0, 100.0, 10.0), (2, -100.0, 14.0)]),
    ],
)
def test_fill__is_where_the_setting_says(
    market: Callable[..., Bars], fill: str, expected: list[tuple[int, float, float]]
) -> None:
    bars = market(open=[9, 11, 13, 15], close=[10, 12, 14, 16])
    found = orders(trial(bars, [1, 1, 0, 0], fill=fill))
    assert found == [(bar, pytest.approx(units), price) for bar, units, price in expected]


def test_all_cash__pays_its_fees_out_of_the_cash(market: Callable[..., Bars]) -> None:
    bars = market(open=[100, 100, 110], close=[100, 105, 110])
    replayed = trial(bars, [1, 0, 0], fee_bps=100)
    assert orders(replayed) == [(1, round(1000 / 101, 9), 100.0), (2, -round(1000 / 101, 9), 110.0)]
    assert replayed.orders["fee"] == pytest.approx([1000 / 101, 1000 / 101 * 1.10])
    assert replayed.curves["equity"] == pytest.approx([1000, 1000 / 101 * 105, 1000 / 101 * 110 * 0.99])
    assert replayed.row["fees_paid"] == pytest.approx(1000 / 101 * 2.1)


def test_spread_and_slippage__move_the_price_against_each_fill(market: Callable[..., Bars]) -> None:
    bars = market(close=[100.0, 100.0, 100.0])
    assert [price for _, _, price in orders(trial(bars, [1, 0, 0], half_spread_bps=20, slippage_bps=30))] == [
        100.5,
        99.5,
    ]


def test_fees_by_unit_and_order__are_both_paid(market: Callable[..., Bars]) -> None:
    bars = market(close=[10.0, 10.0, 10.0])
    replayed = trial(bars, [1, 0, 0], size="fixed_units", size_value=20.0, fee_per_unit=0.5, fee_fixed=3.0)
    assert replayed.orders["fee"].tolist() == [13.0, 13.0]
    assert replayed.curves["equity"].tolist() == [1000.0, 987.0, 974.0]


def test_long_to_short__is_one_order_through_zero(market: Callable[..., Bars]) -> None:
    bars = market(open=[100, 100, 120, 120], close=[100, 110, 120, 90])
    replayed = trial(bars, [1, -1, -1, -1])
    assert orders(replayed) == [(1, 10.0, 100.0), (2, -20.0, 120.0)]
    assert replayed.trades["pnl"] == pytest.approx([200.0, 300.0])
    assert replayed.trades["open"].tolist() == [0, 1]
    assert replayed.row["n_trades"] == 2
    assert replayed.curves["equity"][-1] == pytest.approx(1500.0)


@pytest.mark.parametrize(
    ("size", "value", "expected"),
    [("fixed_cash", 500.0, 5.0), ("fixed_cash", 5000.0, 10.0), ("fixed_units", 7.0, 7.0), ("fixed_units", 70.0, 10.0)],
)
def test_fixed_sizes__never_exceed_the_largest_exposure(
    market: Callable[..., Bars], size: str, value: float, expected: float
) -> None:
    bars = market(close=[100.0, 100.0])
    assert orders(trial(bars, [1, 1], size=size, size_value=value)) == [(1, expected, 100.0)]
    assert orders(trial(bars, [-1, -1], size=size, size_value=value)) == [(1, -expected, 100.0)]


def test_lots__round_toward_zero_and_the_minimum_keeps_small_orders_home(market: Callable[..., Bars]) -> None:
    bars = market(close=[70.0, 70.0, 70.0, 70.0])
    assert orders(trial(bars, [1, 1, 0, 0], lot_size=5.0)) == [(1, 10.0, 70.0), (3, -10.0, 70.0)]
    assert orders(trial(bars, [-0.5, 0, 0, 0], lot_size=0.1)) == [(1, -7.1, 70.0), (2, 7.1, 70.0)]
    assert orders(trial(bars, [0.5, 1, 0, 0], minimum_units=10.0)) == [
        (2, round(1000 / 70, 9), 70.0),
        (3, -round(1000 / 70, 9), 70.0),
    ]


def test_rebalance_band__ignores_small_changes_of_the_target_and_position_is_the_target(
    market: Callable[..., Bars],
) -> None:
    bars = market(close=[100.0] * 5)
    replayed = trial(bars, [0.5, 0.6, 0.8, 0.75, 0.0], rebalance_band=0.2, fill="same_close")
    assert orders(replayed) == [(0, 5.0, 100.0), (2, 3.0, 100.0), (4, -8.0, 100.0)]
    assert replayed.curves["target"].tolist() == [0.5, 0.5, 0.8, 0.8, 0.0]


def test_target__unchanged_is_not_rebalanced_when_prices_drift(market: Callable[..., Bars]) -> None:
    bars = market(close=[100.0, 100.0, 200.0, 400.0])
    assert len(orders(trial(bars, [0.5] * 4))) == 1


@pytest.mark.parametrize(("direction", "expected"), [("long_only", [1.0, 0.0]), ("short_only", [0.0, -1.0])])
def test_direction__turns_the_other_side_into_flat(
    market: Callable[..., Bars], direction: str, expected: list[float]
) -> None:
    bars = market(close=[100.0, 100.0])
    assert trial(bars, [1, -1], direction=direction).curves["target"].tolist() == expected


def test_volatility_target__scales_by_the_volatility_at_the_decision(market: Callable[..., Bars]) -> None:
    close = [100.0, 101.0, 100.0, 103.0, 103.0, 103.0]
    returns = np.diff(close) / close[:-1]
    volatility = np.std(returns[1:3], ddof=1) * np.sqrt(252)
    replayed = trial(market(close=close), [1] * 6, size="volatility_target", size_value=0.1, volatility_window=2)
    first = np.std(returns[:2], ddof=1) * np.sqrt(252)
    assert replayed.orders["bar"].tolist() == [3]  # two returns are known at bar 2
    assert replayed.orders["units"][0] == pytest.approx(1000.0 * 0.1 / first / 103.0)
    assert volatility != first


# A long entered at the open of bar 1 at 100; then bar 2 as given: open, high, low, close.
STOPS = {
    "stop": ({"stop_loss": 0.05}, (99, 101, 94, 96), (2, 95.0, "stop")),
    "gap through the stop": ({"stop_loss": 0.05}, (90, 92, 88, 91), (2, 90.0, "stop")),
    "profit": ({"take_profit": 0.05}, (101, 107, 100, 102), (2, 105.0, "take profit")),
    "gap through the profit": ({"take_profit": 0.05}, (108, 109, 104, 107), (2, 108.0, "take profit")),
    "both, pessimistic": ({"stop_loss": 0.05, "take_profit": 0.05}, (100, 106, 94, 100), (2, 95.0, "stop")),
    "both, optimistic": (
        {"stop_loss": 0.05, "take_profit": 0.05, "stop_rule": "optimistic"},
        (100, 106, 94, 100),
        (2, 105.0, "take profit"),
    ),
    "the open comes first": (
        {"stop_loss": 0.05, "take_profit": 0.05}, (106, 107, 94, 100), (2, 106.0, "take profit")
    ),
    "neither": ({"stop_loss": 0.05, "take_profit": 0.05}, (100, 104.9, 95.1, 100), None),
    "trailing from the entry bar's high": ({"trailing_stop": 0.05}, (110, 112, 100, 111), (2, 0.95 * 115, "stop")),
    "trailing, not from the bar's own high": ({"trailing_stop": 0.2}, (110, 200, 93, 111), (3, 111.0, "stop")),
}  # fmt: skip


@pytest.mark.parametrize("case", list(STOPS))
def test_stop__fills_where_it_should(market: Callable[..., Bars], case: str) -> None:
    execution, (opened, high, low, close), expected = STOPS[case]
    entry_high = 115.0 if "trailing" in case else 103.0
    goal = {"take_profit": 9.0} if "trailing" in case else {}
    bars = market(
        open=[100, 100, opened, close], high=[100, entry_high, high, close], low=[100, 98, low, close],
        close=[100, 101, close, close],
    )  # fmt: skip
    replayed = trial(bars, [1, 1, 1, 1], **{**goal, **execution})
    found = replayed.orders
    stopped = [
        (bar, price, reason)
        for bar, price, reason in zip(
            found["bar"].tolist(), found["price"].tolist(), found["reason"].tolist(), strict=True
        )
        if reason != "decision"
    ]
    assert stopped == ([] if expected is None else [(expected[0], pytest.approx(expected[1]), expected[2])])


def test_stop__on_the_fill_bar_after_an_open_but_not_after_a_close(market: Callable[..., Bars]) -> None:
    bars = market(open=[100, 100, 100], high=[100, 100, 100], low=[100, 80, 100], close=[100, 100, 100])
    assert trial(bars, [1, 0, 0], stop_loss=0.1).orders["reason"].tolist() == ["decision", "stop"]
    assert trial(bars, [1, 1, 1], stop_loss=0.1, fill="next_close").orders["reason"].tolist() == ["decision"]


def test_stop__of_a_short_is_above_and_pays_slippage_while_a_profit_does_not(market: Callable[..., Bars]) -> None:
    bars = market(open=[100, 100, 100], high=[100, 100, 120], low=[100, 100, 80], close=[100, 100, 100])
    stopped = trial(bars, [-1, -1, -1], stop_loss=0.1, slippage_bps=100)
    assert stopped.orders["price"] == pytest.approx([99.0, 99.0 * 1.1 * 1.01])
    gained = trial(bars, [-1, -1, -1], take_profit=0.1, slippage_bps=100)
    assert gained.orders["price"] == pytest.approx([99.0, 99.0 * 0.9])


@strategy()
def enter_when_flat(position: float) -> float:
    """Ask for half, then for all, and start again when stopped."""
    return 0.5 if position == 0.0 else 1.0


def test_stop__lets_the_strategy_see_position_0(market: Callable[..., Bars]) -> None:
    bars = market(open=[100] * 4, high=[100] * 4, low=[100, 100, 50, 100], close=[100] * 4)
    job = Job(enter_when_flat, {"execution.stop_loss": 0.1}, GROUPS, True)
    assert ENGINE.replay(job, bars, (0, 4), {}).curves["target"].tolist() == [0.5, 1.0, 0.5, 1.0]


def test_multiplier__scales_money_not_decisions(market: Callable[..., Bars]) -> None:
    plain = trial(market(20, 3), [1.0] * 20)
    future = trial(market(20, 3, multiplier=50.0), [1.0] * 20)
    assert future.orders["units"] == pytest.approx(plain.orders["units"] / 50.0)
    assert future.curves["equity"] == pytest.approx(plain.curves["equity"])


def test_window__starts_flat_and_a_decision_before_it_does_not_count(market: Callable[..., Bars]) -> None:
    bars = market(close=[100.0, 100.0, 100.0, 100.0])
    assert orders(trial(bars, [1, 1, 1, 1], (2, 4))) == [(1, 10.0, 100.0)]
    assert orders(trial(bars, [1, 1, 0, 0], (2, 4))) == []


def test_one_bar__gives_a_row(market: Callable[..., Bars]) -> None:
    row = trial(market(close=[100.0]), [1.0]).row
    assert row["total_return"] == 0.0
    assert np.isnan(row["sharpe"])
    assert row["n_trades"] == 0


def test_flat_prices__have_no_sharpe_and_no_drawdown(market: Callable[..., Bars]) -> None:
    row = trial(market(close=[100.0] * 9), [1.0] * 9).row
    assert np.isnan(row["sharpe"])
    assert row["max_drawdown"] == 0.0
    assert np.isnan(row["hold_sharpe"])


@pytest.mark.parametrize("plain", [True, False])
def test_ruined_short__fails_from_that_bar_on(market: Callable[..., Bars], plain: bool) -> None:
    bars = telling(market(close=[100.0, 100.0, 150.0, 250.0, 100.0]), [-1.0] * 5)
    rows = ENGINE.run(Job(follow, {}, ("core",), plain), bars, (0, 5), Points(1))
    assert rows.status[0] == TrialStatus.FAILED
    assert "ruined" in rows.reasons[0]
    assert "bar 3 (1970-01-05" in rows.reasons[0]
    assert all(np.isnan(values[0]) for values in rows.measures.values())


def test_nan_target__fails_the_trial_and_says_when(market: Callable[..., Bars]) -> None:
    bars = telling(market(close=[100.0] * 4), [0.0, 1.0, np.nan, 0.0])
    rows = ENGINE.run(Job(follow, {}, ("core",), True), bars, (0, 4), Points(1))
    assert "returned NaN at bar 2" in rows.reasons[0]


def late(close: np.ndarray, start: float) -> np.ndarray:
    out = np.full(close.shape[0], np.nan)
    out[int(start) :] = 1.0
    return out


@strategy(parameters=[number("first", 3.0, 0.0, 100.0, "Bar.")], indicators={"known": indicator(late, "first")})
def at_once(known: float) -> float:
    """Buy whatever is known."""
    return 1.0


@pytest.mark.parametrize("plain", [True, False])
def test_warm_up__decides_nothing(market: Callable[..., Bars], plain: bool) -> None:
    bars = market(300, 1)
    first = np.array([0.0, 3.0, 64.0, 99.0, 299.0, 300.0] * 3)
    rows = ENGINE.run(Job(at_once, {}, ("path",), plain), bars, (0, 300), Points(18, {"first": first}))
    in_market = np.maximum(300 - first - 1, 0)  # decided at `first`, filled one bar later
    assert rows.measures["exposure"] == pytest.approx(in_market / 300)


def test_cash_and_position_and_fees__add_up(market: Callable[..., Bars], strategies: dict[str, Strategy]) -> None:
    bars = market(200, 9)
    job = Job(
        strategies["tilt"],
        {"execution.fee_bps": 7.0, "execution.fee_fixed": 2.0, "execution.stop_loss": 0.02},
        GROUPS,
        True,
    )
    replayed = ENGINE.replay(job, bars, (0, 200), {})
    found = replayed.orders
    signed = found["side"] * found["units"]
    cash = 100_000.0 - np.sum(signed * found["price"]) - np.sum(found["fee"])
    assert cash + signed.sum() * bars.close[-1] == pytest.approx(replayed.curves["equity"][-1], rel=1e-12)
    assert found["fee"].sum() == pytest.approx(replayed.row["fees_paid"], rel=1e-12)
    assert replayed.trades["pnl"].sum() == pytest.approx(replayed.curves["equity"][-1] - 100_000.0, rel=1e-9)


def test_prices__at_or_below_zero_are_refused(market: Callable[..., Bars]) -> None:
    with pytest.raises(DataError, match=r"low of TEST must be above zero .* was 0.0 at bar 1"):
        trial(market(close=[1.0, 0.0], low=[1.0, 0.0], open=[1.0, 1.0], high=[1.0, 1.0]), [1, 1])


def test_window__outside_the_bars_is_refused(market: Callable[..., Bars]) -> None:
    with pytest.raises(InputError, match="window must lie within the 3 bars"):
        trial(market(close=[1.0] * 3), [1, 1, 1], (0, 4))


def test_unknown_names__are_refused_with_the_nearest(market: Callable[..., Bars]) -> None:
    with pytest.raises(ParameterError, match=r"did you mean 'execution\.fee_bps'"):
        ENGINE.run(Job(follow, {}), market(close=[1.0]), (0, 1), Points(1, {"execution.fee_bp": np.array([1.0])}))
    with pytest.raises(ParameterError, match="no measure group 'trade'"):
        ENGINE.run(Job(follow, {}, ("trade",)), market(close=[1.0]), (0, 1), Points(1))
