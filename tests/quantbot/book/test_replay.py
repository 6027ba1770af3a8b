"""What holds of every replay, whatever the market does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.book.events import Action, BookInstrument, Events, Flag
from quantbot.book.layout import Reason
from quantbot.book.replay import BookReplay
from quantbot.book.strategy import book_strategy
from quantbot.errors import StrategyError
from quantbot.parameters import integer
from quantbot.strategies.market_maker import market_maker

_SPEC = importlib.util.spec_from_file_location("rides_book", Path(__file__).parents[2] / "rides_book.py")
rides: Any = importlib.util.module_from_spec(_SPEC)  # type: ignore[arg-type]
_SPEC.loader.exec_module(rides)  # type: ignore[union-attr]

MS = rides.MS
MAKERS = [
    {"half_spread": h, "skew": s, "lots": q, "most": 12}
    for h, s, q in ((0.5, 0.0, 1), (0.5, 0.2, 3), (1.0, 0.0, 2), (1.5, 0.1, 5))
]
models = st.sampled_from(["risk_averse", "optimistic", "power3", "log2", "pro_rata", "fifo"])


@book_strategy(parameters=[integer("lots", 2, 1, 99, "Size.")], wake=("book", "trade", "answer"))
def chaser(
    now_ns: Any, bid_ticks: Any, ask_ticks: Any, bid_lots: Any, ask_lots: Any, position_lots: Any, trade_side: Any,
    volume_lots: Any, lots: Any, memory: Any, buy_ticks: Any, buy_lots: Any, sell_ticks: Any, sell_lots: Any,
    take_ticks: Any, take_lots: Any,
) -> None:  # fmt: skip
    """Join the touch at every change, and take against the last trade now and then."""
    memory[0] = memory[0] + 1.0
    if bid_lots > 0 and ask_lots > 0:
        if position_lots < 9:
            buy_ticks[0], buy_lots[0] = bid_ticks, lots
        if position_lots > -9:
            sell_ticks[0], sell_lots[0] = ask_ticks, lots
        if volume_lots % 7 == 3:
            take_ticks[0], take_lots[0] = (bid_ticks, -1) if trade_side > 0 else (ask_ticks, 1)


def log_of(replay: BookReplay) -> np.ndarray:
    return replay.fills[: int(replay.state[0]["n_fills"])]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), queue=models, partial=st.booleans(), awake=st.booleans())
def test_replay__conserves_cash_and_lots_and_never_fills_worse_or_earlier(
    seed: int, queue: str, partial: bool, awake: bool
) -> None:
    events = rides.random_market(seed, 300, kind="by_order" if queue == "fifo" else "by_price")
    strategy, points = (chaser, [{"lots": n} for n in (1, 2, 3, 7)]) if awake else (market_maker, MAKERS)
    fees = {"maker_bps": np.full(4, -0.7), "taker_bps": np.full(4, 3.0), "trade_fee": np.full(4, 0.01)}
    replay = rides.ride(events, strategy, points, queue=queue, partial=partial, to_grid=True, **fees)
    log, unit = log_of(replay), 0.5 * 0.1
    for a, agent in enumerate(replay.agents):
        own = log[log["agent"] == a]
        signed = own["side"].astype(np.int64) * own["lots"]
        assert agent["position"] == signed.sum() == agent["known_position"]
        assert agent["cash"] == -(signed * own["tick"]).sum() == agent["known_cash"]
        value = own["lots"] * own["tick"]
        paid = (np.where(own["maker"] == 1, -0.7, 3.0) * 1e-4 * value).sum() * unit + 0.01 * len(own)
        mid2 = float(replay.state[0]["mid2"])
        whole = 1e6 + unit * (agent["cash"] + 0.5 * mid2 * agent["position"]) - paid
        assert agent["equity"] == pytest.approx(whole, abs=1e-9)
    assert (own["ts_ns"] >= own["placed_ns"]).all()
    assert (log["lots"] > 0).all()
    assert (log["ts_ns"] >= events.ts_exchange_ns[0] + 500_000).all()
    crossed = log["reason"] == Reason.TAKEN
    assert (log["maker"][crossed] == 0).all()
    assert (log["maker"][~crossed] == 1).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), queue=models, cuts=st.lists(st.integers(1, 299), max_size=4, unique=True))
def test_replay__is_the_same_bits_however_the_day_is_cut(seed: int, queue: str, cuts: list[int]) -> None:
    events = rides.random_market(seed, 300, kind="by_order" if queue == "fifo" else "by_price")
    for strategy, points in ((market_maker, MAKERS), (chaser, [{"lots": 2}] * 2)):
        asked = {"queue": queue, "partial": True, "curves": True, "horizons": (20 * MS, 200 * MS)}
        whole = rides.ride(events, strategy, points, **asked)
        parts = rides.ride(events, strategy, points, parts=sorted(c for c in cuts if c < len(events)), **asked)
        assert whole.agents.tobytes() == parts.agents.tobytes()
        assert whole.marks.tobytes() == parts.marks.tobytes()
        assert whole.curve.tobytes() == parts.curve.tobytes()
        assert rides.fills(whole) == rides.fills(parts)


@pytest.mark.parametrize("queue", ["fifo", "risk_averse", "power3", "pro_rata"])
def test_agent__is_the_same_alone_as_among_others(queue: str) -> None:
    events = rides.random_market(11, 800)
    together = rides.ride(events, market_maker, MAKERS * 3, queue=queue, partial=True, entry_us=[500, 600, 700] * 4)
    assert len(log_of(together)) > 50
    for a in (0, 4, 11):
        alone = rides.ride(
            events, market_maker, [(MAKERS * 3)[a]], queue=queue, partial=True, entry_us=500 + a % 3 * 100
        )
        assert rides.fills(alone) == rides.fills(together, a)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), partial=st.booleans())
def test_partial__never_takes_more_than_was_there(seed: int, partial: bool) -> None:
    events = rides.random_market(seed, 300, kind="by_price")
    replay = rides.ride(events, chaser, [{"lots": 50}], partial=True)
    log = log_of(replay)
    traded = events.size_lots[events.action == Action.TRADE].sum()
    made = log[(log["maker"] == 1) & (log["reason"] != Reason.DEPTH_CROSSED)]
    assert made["lots"].sum() <= traded


def scripted(rows: list[tuple[int, ...]], kind: Any = "by_price") -> Events:
    """Return events at milliseconds."""
    return Events.of(BookInstrument("T", 1.0, 1.0, kind), "t", [(row[0] * MS, *row[1:]) for row in rows])


SET, TRADE = Action.SET, Action.TRADE
QUOTED = [(1, SET, 1, 100, 10), (1, SET, -1, 104, 10)]
ONE = {"half_spread": 2.0, "skew": 0.0, "lots": 4, "most": 4}  # buys 4 at 100, sells 4 at 104


def maker(rows: list[tuple[int, ...]], **asked: Any) -> BookReplay:
    """Return one maker, asked first at 11 ms, its orders at the exchange at 11.5 ms."""
    return rides.ride(scripted([*QUOTED, *rows, (1000, SET, 1, 90, 1)]), market_maker, [ONE], **asked)  # type: ignore[no-any-return]


def test_partial__credits_each_part_to_the_position() -> None:
    # 10 lots ahead; 12 trade: 2 of our 4 fill; 1 more trades, then 9: the last lot, no more.
    replay = maker([(20, TRADE, -1, 100, 12), (21, TRADE, -1, 100, 1), (22, TRADE, -1, 100, 9)], partial=True)
    assert [fill[3] for fill in rides.fills(replay)] == [2, 1, 1]
    assert replay.agents[0]["position"] == replay.agents[0]["known_position"] == 4
    assert replay.agents[0]["cash"] == -400


def test_halt__fills_nothing_and_cancels_what_rests() -> None:
    trades = [(20, Action.HALT, 0, 0, 0), (21, TRADE, -1, 100, 50), (22, Action.RESUME, 0, 0, 0)]
    for gap in (True, False):
        replay = maker([*trades, (23, SET, 1, 90, 5)], gap=gap)
        assert rides.fills(replay) == []
        assert replay.state[0]["halts"] == 1


def test_halt__ends_with_what_the_book_came_to() -> None:
    rows = [(19, Action.HALT, 0, 0, 0), (20, SET, -1, 99, 5), (21, Action.RESUME, 0, 0, 0)]
    kept, cancelled = (rides.fills(maker(rows, gap=gap)) for gap in (False, True))
    assert [fill[:3] for fill in kept][:1] == [(21 * MS, 1, 100)]
    assert [fill for fill in cancelled if fill[0] <= 21 * MS] == []


def test_gap__is_never_filled_through() -> None:
    lost = int(Flag.GAP | Flag.LAST)
    kept, cancelled = (maker([(20, SET, -1, 99, 5, 0, lost)], gap=gap, period_ms=900) for gap in (False, True))
    assert [fill[2] for fill in rides.fills(kept)] == []  # asked once, after the gap
    kept, cancelled = (maker([(20, SET, -1, 99, 5, 0, lost)], gap=gap) for gap in (False, True))
    assert [fill[2] for fill in rides.fills(kept)] == [100]
    assert [fill for fill in rides.fills(cancelled) if fill[0] == 20 * MS] == []
    assert cancelled.state[0]["gaps"] == 1


def test_position_limit__counts_what_is_on_its_way() -> None:
    events = rides.random_market(2, 1_000)
    replay = rides.ride(events, chaser, [{"lots": 7}], partial=False, limit_lots=np.array([5]))
    assert 0 < replay.agents[0]["abs_position_max"] <= 5
    assert replay.agents[0]["n_clipped"] > 0


def test_kill_switch__closes_the_position_and_stays_out() -> None:
    falls = [(30 + 10 * i, SET, 1, 100 - i, 0) for i in range(5)] + [(85, SET, 1, 80, 50), (86, SET, -1, 82, 50)]
    rows = [(20, TRADE, -1, 100, 50), *sorted(falls)]
    replay = maker(rows, kill_at=np.array([30.0]))
    assert replay.agents[0]["killed"] == 1
    assert replay.agents[0]["position"] == 0
    assert rides.fills(replay)[-1][4] == 0
    assert maker(rows).agents[0]["killed"] == 0


def test_strategy__wakes_on_what_it_asked_for() -> None:
    events = rides.random_market(8, 500)
    replay = rides.ride(events, chaser, [{"lots": 2}])
    assert replay.memory[0, 0] == replay.agents[0]["n_wakes"] > 100


def test_book_strategy__names_what_is_not_received() -> None:
    with pytest.raises(StrategyError, match=r"asks for 'bid_tick', which is neither.*did you mean 'bid_ticks'"):

        @book_strategy()
        def wrong(bid_tick: int) -> None:
            """Ask for the wrong thing."""


def test_replay__keeps_no_morning_for_an_agent_that_sleeps() -> None:
    events = rides.random_market(1, 2_000)
    replay = rides.ride(events, market_maker, MAKERS, period_ms=10**6, parts=[500, 1_000, 1_900])
    assert len(replay._carried) < 120
