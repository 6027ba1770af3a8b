"""What trading costs beyond prices: recorded delays, fee tiers, own impact; and schedules against their benchmark."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantbot.book.delays import recorded_table, samples_of
from quantbot.book.events import Action
from quantbot.book.session import BookSession
from quantbot.engine import Job, Points, get_engine
from quantbot.errors import ParameterError
from quantbot.strategies.execution_schedule import execution_schedule
from quantbot.strategies.loader import load_strategy

_SPEC = importlib.util.spec_from_file_location("rides_book", Path(__file__).parents[2] / "rides_book.py")
rides: Any = importlib.util.module_from_spec(_SPEC)  # type: ignore[arg-type]
_SPEC.loader.exec_module(rides)  # type: ignore[union-attr]

ENGINE = get_engine("book")
GROUPS = (*ENGINE.default_groups, "benchmark")
EVENTS = rides.random_market(4, 3_000, kind="by_price")
DATA = BookSession.of(EVENTS, step_ns=10**8)
WHOLE = (0, len(DATA))
SETTINGS = {"execution.period_ms": 10.0, "execution.maker_bps": 2.0, "execution.taker_bps": 5.0, "lots": 3}


strategy = cache(load_strategy)


def job(name: str = "market_maker", delays: Any = None, **settings: Any) -> Job:
    settings = {key.replace("__", "."): value for key, value in settings.items()}
    tables = {"execution.delays": delays} if delays else {}
    return Job(strategy(name), {**SETTINGS, **settings}, GROUPS, tables=tables)


def measures(work: Job, **columns: Any) -> Any:
    made = {key.replace("__", "."): np.asarray(value) for key, value in columns.items()}
    return ENGINE.run(work, DATA, WHOLE, Points(len(next(iter(made.values()), [0])), made)).measures


# -- delays ----------------------------------------------------------------------------------------------------------


def test_recorded_delays__that_never_change_are_constant_ones() -> None:
    work = job(delays={"00:00:00": {"entry_us": 250.0, "answer_us": 400.0}})
    recorded = measures(work, execution__latency=["recorded"] * 2, execution__latency_scale=[1.0, 20.0])
    constant = measures(work, execution__entry_us=[250.0, 5000.0], execution__answer_us=[400.0, 8000.0])
    assert all(np.array_equal(recorded[name], constant[name], equal_nan=True) for name in constant)
    assert constant["total_return"][0] != constant["total_return"][1]


def test_recorded_delays__lie_between_the_samples_around_the_moment() -> None:
    delays = {f"00:00:0{at:.2f}": {"entry_us": us, "answer_us": 50.0} for at, us in ((1.0, 100.0), (1.04, 500.0))}
    work = job(delays=delays, execution__latency="recorded")
    book = ENGINE.book_replay(work, DATA, (0, 1), Points(1), curves=False)  # type: ignore[attr-defined]
    placed = book.orders["placed_ns"][book.orders["placed_ns"] > 0]
    start_ns, table = DATA.bounds_ns((0, 1))[0], recorded_table(samples_of(delays), DATA.bounds_ns((0, 1)))
    sent = placed - (placed - start_ns) % 10_000_000
    assert (placed - sent).tolist() == np.interp(sent, table[:, 0], table[:, 1] - table[:, 0]).astype(int).tolist()
    assert len(set(placed - sent)) > 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "needs samples"),
        ({"9:30": {"entry_us": 1.0, "answer_us": 1.0}}, "no time of day"),
        ({"09:30": {"entry_us": 1.0}}, "has no answer_us"),
        ({"09:30": {"entry_us": 1.0, "answer_us": 1.0}, "09:30:00": {"entry_us": 1.0, "answer_us": 1.0}}, "same time"),
    ],
)
def test_recorded_delays__say_what_is_wrong_with_them(rows: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        samples_of(rows)
    asked = Job(strategy("market_maker"), {"execution.latency": "recorded"}, tables={"execution.delays": rows})
    assert message in ENGINE.problems(asked, lambda: DATA, [WHOLE], Points(1))[0][0]


def test_recorded_delays__hold_on_every_day_and_never_let_an_arrival_overtake() -> None:
    samples = np.array([[0.0, 9e9, 1e6], [1e9, 1e6, 1e6], [2e9, 1e6, 2e6]])
    table = recorded_table(samples, (0, 86_400 * 10**9 + 5))
    assert len(table) == 6
    assert (np.diff(table[:, :2], axis=0) > 0).all()
    assert (table[:, 2] >= table[:, 1]).all()
    assert table[1, 1] == 9 * 10**9 + 1


# -- fees and impact -------------------------------------------------------------------------------------------------


def test_tiers__take_their_fees_from_the_value_traded_before() -> None:
    work = job(
        execution__tier_maker_bps=1.0, execution__tier2_value=3_500.0, execution__tier2_maker_bps=-0.5,
        execution__tier_taker_bps=4.0, execution__tier2_taker_bps=3.0,
    )  # fmt: skip
    point = {"execution.tier_value": 2_000.0, "execution.traded_before": 1_000.0}
    replay = ENGINE.replay(work, DATA, WHOLE, point)
    fees, traded = 0.0, 1_000.0
    rates = {True: (2.0, 1.0, -0.5), False: (5.0, 4.0, 3.0)}
    orders = replay.orders
    for price, units, maker, fee in zip(*(orders[name] for name in ("price", "units", "maker", "fee")), strict=True):
        value = float(price * units)
        parts = np.diff(np.clip([traded, 2_000.0, 3_500.0, traded + value], traded, traded + value))
        own = float(parts @ np.array(rates[bool(maker)])) * 1e-4
        assert fee == pytest.approx(own, abs=1e-9)
        fees, traded = fees + own, traded + value
    assert traded > 4_000.0
    assert replay.row["fees_paid"] == pytest.approx(fees, abs=1e-9)
    flat = measures(job(), execution__tier_value=[0.0, 1e15])
    assert flat["fees_paid"][0] == flat["fees_paid"][1] > replay.row["fees_paid"]


def test_impact__grows_as_the_square_root_of_what_an_order_takes() -> None:
    work = job("imbalance_taker", threshold=0.1, execution__impact_lots=4.0)
    m = measures(work, execution__impact_bps=[0.0, 8.0, 16.0])
    assert m["pnl_impact"][0] == 0.0 > m["pnl_impact"][1]
    assert m["pnl_impact"][2] == 2 * m["pnl_impact"][1]
    orders = ENGINE.replay(work, DATA, WHOLE, {"execution.impact_bps": 8.0}).orders
    _moments, of = np.unique(orders["ts_ns"], return_inverse=True)
    lots, value = (np.bincount(of, w) for w in (orders["lots"].astype(float), orders["price"] * orders["units"]))
    assert m["pnl_impact"][1] == pytest.approx(-float((8e-4 * value * np.sqrt(lots / 4.0)).sum()))
    total = m["pnl_spread"] + m["pnl_inventory"] + m["pnl_fees"] + m["pnl_impact"]
    assert total == pytest.approx(m["final_equity"] - 100_000.0, abs=1e-7)


# -- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("curve", "shares"), [(0.0, (0.25, 0.5, 0.75)), (1.0, (0.34375, 0.5, 0.65625))])
def test_schedule__follows_the_day_or_its_volume(curve: float, shares: tuple[float, ...]) -> None:
    """By VWAP a share x + x (1 - x) (1 - 2 x) is due after x of the day; the maker is always filled here."""
    for x, share in zip((0.25, 0.5, 0.75), shares, strict=True):
        memory, quote = np.ones(2), np.zeros(1, np.int64)
        nothing = [np.zeros(1, np.int64) for _ in range(5)]
        execution_schedule.decide(
            int(x * 10**9), 0, 10**9, 100, 101, 5, 5, 0, 0, 0, 0, 10_000, 0.0, curve, 1.0, 10**9, memory, nothing[0],
            quote, *nothing[1:],
        )  # fmt: skip
        assert quote[0] == int(share * 10_000)


def test_slippage_vwap__compares_with_what_the_market_traded_at() -> None:
    replay = ENGINE.replay(job("execution_schedule", parent_lots=40), DATA, WHOLE, {})
    at = (EVENTS.action == Action.TRADE) & (EVENTS.ts_exchange_ns > DATA.bounds_ns(WHOLE)[0])
    vwap = np.average(EVENTS.price_ticks[at], weights=EVENTS.size_lots[at])
    own = np.average(replay.orders["ticks"], weights=replay.orders["lots"])
    assert replay.row["slippage_vwap"] == pytest.approx(own - vwap)
